"""Shards: their files byte for byte, whatever the blocks, threads, kills and failing writes; and what is refused."""

import builtins
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlm
from fastlm.corpus import job_folder as job
from fastlm.corpus import job_storage, text_blocks
from fastlm.corpus.block_encoder import is_validation
from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.manifest import read_manifest, with_checksum
from fastlm.corpus.megatron import megatron_index
from fastlm.corpus.read import Corpus
from fastlm.corpus.shard_formats import ids_dtype, ids_header
from fastlm.corpus.shard_writer import SplitWriter
from fastlm.corpus.verify import verify_shards
from fastlm.vocabulary.vocabulary import Rules
from tests import texts
from tests.reference import shards as reference

SEPARATOR = "<|endoftext|>"
DOCUMENTS = [*texts.DOCUMENTS[:60], "", "", "x" * 3000, "a <|user|> b", "the last"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    path = tmp_path_factory.mktemp("corpus") / "text"
    path.write_text(SEPARATOR.join(DOCUMENTS), "utf-8", newline="")
    return Corpus([path], separator=SEPARATOR)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """No power is cut here, which is what fsync is for; where it fails is tried with one that does."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 2000)


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> content of what is in a folder, the manifest left out."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


@pytest.mark.parametrize("shard_format", ["bin", "npy", "megatron"])
@pytest.mark.parametrize("end_of_text", [None, SEPARATOR])
@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_files_are_the_defined_ones(corpus, trained, tmp_path, monkeypatch, shard_format, end_of_text, fraction):
    after = [] if end_of_text is None else [trained.special_tokens[end_of_text]]
    documents = [trained.encode(document) + after for document in DOCUMENTS]
    for block_bytes, threads, shard_tokens in ((1000, 1, 500), (1 << 22, 2, 500), (5000, 3, 10**6), (700, 2, 1)):
        if shard_tokens == 1 and (end_of_text or shard_format != "bin"):
            continue
        monkeypatch.setattr(text_blocks, "BLOCK_BYTES", block_bytes)
        size = shard_tokens if shard_tokens > 1 else 97
        out = tmp_path / f"{block_bytes}-{threads}"
        options = {"format": shard_format, "end_of_text": end_of_text, "validation_fraction": fraction}
        manifest = encode_corpus(trained, corpus, out, num_threads=threads, shard_tokens=size, **options)
        assert contents(out) == reference.files_of(documents, shard_format, "<u2", size, fraction)
        sums = {}
        for shard in (shard for shards in manifest.splits.values() for shard in shards):
            sums |= shard.sha256
        assert sums == reference.sums_of(contents(out))
        assert manifest.documents == len(documents)
        assert manifest.tokens == sum(map(len, documents))
        assert verify_shards(out) == read_manifest(out) == manifest
        maps = [ids for split in manifest.splits for ids in manifest.map(out, split)]
        assert sum(map(len, maps)) == manifest.tokens


documents_of_ids = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=12)


# where the ids are divided, and whether documents without ids that end there come with what is before it
divisions = st.lists(st.tuples(st.integers(0, 72), st.sampled_from(["left", "right"])), max_size=5).map(sorted)


@given(documents_of_ids, st.integers(1, 9), st.sampled_from(["bin", "npy", "megatron"]), divisions)
@settings(max_examples=150)
def test_shards_do_not_depend_on_how_ids_come(tmp_path_factory, documents, shard_tokens, shard_format, divided):
    folder = tmp_path_factory.mktemp("writer")
    writer = SplitWriter(folder, "train", shard_format, np.dtype("<u2"), shard_tokens)
    ids = np.array([token_id for document in documents for token_id in document], "<u2")
    ends = np.cumsum([len(document) for document in documents])
    start = ended = 0
    for place, side in [*divided, (len(ids), "right")]:
        place = min(place, len(ids))
        upto = max(ended, int(np.searchsorted(ends, place, side)))
        writer.write(ids[start:place], ends[ended:upto] - start)
        start, ended = place, upto
    writer.finish()
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    if shard_format == "megatron":
        found = {name: content for name, content in found.items() if not name.endswith(".index")}
    assert found == reference.files_of(documents, shard_format, "<u2", shard_tokens)


def test_nanogpt_reads_bin_and_numpy_reads_npy(corpus, trained, tmp_path):
    end = trained.special_tokens[SEPARATOR]
    expected = [token_id for document in DOCUMENTS for token_id in [*trained.encode(document), end]]
    encode_corpus(trained, corpus, tmp_path / "bin", format="bin", end_of_text=SEPARATOR)
    assert np.memmap(tmp_path / "bin" / "train-00000.bin", dtype=np.uint16, mode="r").tolist() == expected
    encode_corpus(trained, corpus, tmp_path / "npy", end_of_text=SEPARATOR)
    assert np.load(tmp_path / "npy" / "train-00000.npy", mmap_mode="r").tolist() == expected


def test_megatron_reads_and_writes_the_same(corpus, trained, tmp_path):
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset", reason="megatron-core is not installed")
    encode_corpus(trained, corpus, tmp_path / "ours", format="megatron", end_of_text=SEPARATOR, shard_tokens=700)
    eot = trained.special_tokens[SEPARATOR]
    documents = [[*trained.encode(document), eot] for document in DOCUMENTS]
    read = []
    for path in sorted((tmp_path / "ours").glob("*.bin")):
        dataset = indexed.IndexedDataset(str(path.with_suffix("")))
        read += [dataset[number].tolist() for number in range(len(dataset))]
        assert dataset.document_indices.tolist() == list(range(len(dataset) + 1))
        builder = indexed.IndexedDatasetBuilder(str(tmp_path / path.name), np.uint16)
        for number in range(len(dataset)):
            builder.add_document(dataset[number], [len(dataset[number])])
        builder.finalize(str(tmp_path / f"{path.stem}.idx"))
        assert (tmp_path / f"{path.stem}.idx").read_bytes() == path.with_suffix(".idx").read_bytes()
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert read == documents


def test_ids_take_the_type_that_their_readers_expect(tmp_path):
    assert [ids_dtype("bin", size) for size in (65_536, 65_537)] == [np.uint16, np.uint32]
    assert [ids_dtype("megatron", size) for size in (65_499, 65_500)] == [np.uint16, np.int32]
    with pytest.raises(ValueError, match="31 bits"):
        ids_dtype("megatron", 2**31 + 1)
    with pytest.raises(ValueError, match="counts in 32 bits"):
        megatron_index(np.array([5, 5 + 2**31]), np.dtype("<u2"))
    wide = fastlm.Tokenizer({i: bytes([i]) for i in range(256)} | {70_000: b"ab"}, [(b"a", b"b")], ["<|end|>"])
    (tmp_path / "text").write_text("abab")
    for shard_format, dtype in (("npy", "<u4"), ("bin", "<u4"), ("megatron", "<i4")):
        out = tmp_path / shard_format
        encode_corpus(wide, tmp_path / "text", out, format=shard_format, end_of_text="<|end|>")
        assert contents(out) == reference.files_of([[70_000, 70_000, 70_001]], shard_format, dtype, 10)
    sizes = {len(ids_header("npy", np.dtype("<u4"), length)) for length in (0, 9, 10**8, 10**18)}
    assert len(sizes) == 1


def test_the_largest_ids_of_two_bytes(tmp_path):
    vocab = {i: bytes([i]) for i in range(256)} | {65_535: b"ab", 65_534: b"cd"}
    tokenizer = fastlm.Tokenizer(vocab, [(b"a", b"b"), (b"c", b"d")])
    manifest = encode_corpus(tokenizer, [b"abcd", b"cdab"], tmp_path / "out")
    assert manifest.map(tmp_path / "out")[0].dtype == np.uint16
    assert contents(tmp_path / "out") == reference.files_of([[65_535, 65_534], [65_534, 65_535]], "npy", "<u2", 10)


def test_special_tokens_in_documents(trained, tmp_path):
    documents = ["a<|user|>b", "<|endoftext|>"]
    for on_special in ("token", "text"):
        manifest = encode_corpus(trained, documents, tmp_path / on_special, on_special=on_special)
        expected = [token for document in documents for token in trained.encode(document, on_special=on_special)]
        assert manifest.map(tmp_path / on_special)[0].tolist() == expected
    with pytest.raises(ValueError, match=r"document 0: byte 1: the special token '<\|user\|>'"):
        encode_corpus(trained, documents, tmp_path / "raise", on_special="raise")
    assert not (tmp_path / "raise").exists()


@pytest.mark.parametrize("rules", [Rules(normalization="NFC"), Rules(add_prefix_space=True)])
def test_vocabularies_that_prepare_a_text(trained, corpus, tmp_path, small_blocks, rules):
    from dataclasses import replace

    tokenizer = fastlm.Tokenizer.from_vocabulary(replace(trained.vocabulary, rules=rules))
    documents = [*DOCUMENTS, "cafe\u0301 <|user|>e\u0301"]
    path = tmp_path / "text"
    path.write_text(SEPARATOR.join(documents), "utf-8", newline="")
    encode_corpus(tokenizer, Corpus([path], separator=SEPARATOR), tmp_path / "out", shard_tokens=900)
    expected = [tokenizer.encode(document) for document in documents]
    assert contents(tmp_path / "out") == reference.files_of(expected, "npy", "<u2", 900)


def test_a_pattern_without_a_scanner(trained, corpus, tmp_path):
    tokenizer = fastlm.Tokenizer(trained.vocab, trained.merges, [SEPARATOR, "<|user|>"], r"\w+|\W+")
    with pytest.warns(UserWarning, match="no scanner"):
        encode_corpus(tokenizer, corpus, tmp_path / "out")
    expected = [tokenizer.encode(document) for document in DOCUMENTS]
    assert contents(tmp_path / "out") == reference.files_of(expected, "npy", "<u2", 10**6)


def test_the_split_takes_about_its_share_of_every_stretch():
    chosen = is_validation(np.arange(200_000), 0.01)
    assert 1_850 < chosen.sum() < 2_150
    assert all(20 < part.sum() < 220 for part in np.array_split(chosen, 20))
    # splitmix64's first output for the seed 0
    assert is_validation(np.array([0]), 0xE220A8397B1DCDB0 / 2**64).tolist() == [True]
    assert is_validation(np.array([0]), 0xE220A8397B1DC000 / 2**64).tolist() == [False]


def test_progress_and_counts_of_what_was_skipped(trained, tmp_path, small_blocks):
    (tmp_path / "a.txt").write_bytes(b"good \xff text " * 1000)
    (tmp_path / "b.txt").write_text("more")
    seen = []
    corpus = Corpus([tmp_path / "a.txt", tmp_path / "b.txt"], on_error="skip")
    manifest = encode_corpus(trained, corpus, tmp_path / "out", progress=lambda *told: seen.append(told))
    assert manifest.skipped == {"byte that is not UTF-8": 1000}
    assert seen[-1] == (12_004, 12_004)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    with pytest.raises(ValueError, match=r"a\.txt: byte 5 is not well-formed UTF-8"):
        encode_corpus(trained, tmp_path / "a.txt", tmp_path / "other")
    assert not (tmp_path / "other").exists()
    (tmp_path / "a.txt").write_bytes(b"\xff" * 3)
    with pytest.raises(ValueError, match=r"no text; skipped: \{'byte that is not UTF-8': 3\}"):
        encode_corpus(trained, Corpus([tmp_path / "a.txt"], on_error="skip"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


OPTIONS = {
    "format": "npy",
    "shard_tokens": 600,
    "end_of_text": SEPARATOR,
    "validation_fraction": 0.25,
    "num_threads": 1,
}


class CutOffError(Exception):
    """Ends a run where a kill would."""


def cut_off(tokenizer, source, out, after, **options):
    """A run that ends after so many calls of `progress`, each with a checkpoint."""
    calls = []

    def progress(*told):
        calls.append(told)
        if len(calls) == after:
            raise CutOffError

    with pytest.raises(CutOffError):
        encode_corpus(tokenizer, source, out, progress=progress, **OPTIONS | options)


@pytest.mark.parametrize("shard_format", ["bin", "npy", "megatron"])
def test_a_run_goes_on_after_any_block(corpus, trained, tmp_path, monkeypatch, small_blocks, shard_format):
    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", 0.0)
    options = OPTIONS | {"format": shard_format}
    number = []
    expected = encode_corpus(trained, corpus, tmp_path / "whole", progress=lambda *_: number.append(0), **options)
    for after in range(1, len(number) + 1, 9):
        out = tmp_path / f"{after}"
        cut_off(trained, corpus, out, after, format=shard_format)
        assert contents(out / "unfinished")
        (out / "unfinished" / "val-99999.bin").write_bytes(b"of a shard that no checkpoint knows")
        assert encode_corpus(trained, corpus, out, resume=True, **options) == expected
        assert contents(out) == contents(tmp_path / "whole")
        # and once more, when there is nothing left to do
        assert encode_corpus(trained, corpus, out, resume=True, **options) == expected


def test_going_on_counts_what_was_skipped_once(trained, tmp_path, monkeypatch, small_blocks):
    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", 0.0)
    (tmp_path / "a.jsonl").write_bytes(b"".join(b'{"text": "%d"}\n{"text": 1}\n' % number for number in range(400)))
    (tmp_path / "b.txt").write_bytes(b"word \xff " * 900)
    corpus = Corpus([tmp_path / "a.jsonl", tmp_path / "b.txt"], on_error="skip")
    number = []
    expected = encode_corpus(trained, corpus, tmp_path / "whole", progress=lambda *_: number.append(0), **OPTIONS)
    assert expected.skipped == {"field that is no string": 400, "byte that is not UTF-8": 900}
    for after in range(1, len(number) + 1, 2):
        cut_off(trained, corpus, tmp_path / f"{after}", after)
        assert encode_corpus(trained, corpus, tmp_path / f"{after}", resume=True, **OPTIONS) == expected


def test_documents_may_come_again(trained, tmp_path, monkeypatch, small_blocks):
    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", 0.0)
    expected = encode_corpus(trained, iter(DOCUMENTS), tmp_path / "whole", **OPTIONS)
    cut_off(trained, iter(DOCUMENTS), tmp_path / "out", 4)
    assert encode_corpus(trained, iter(DOCUMENTS), tmp_path / "out", resume=True, **OPTIONS) == expected
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_run_does_not_go_on_with_what_differs(corpus, trained, tmp_path, monkeypatch, small_blocks):
    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", 0.0)
    out = tmp_path / "out"
    cut_off(trained, corpus, out, 5)
    other = fastlm.train_bpe(["other text"], 258, [SEPARATOR, "<|user|>"], pattern="cl100k_base")
    (tmp_path / "text").write_text("other")
    wrong = [
        (trained, Corpus([tmp_path / "text"], separator=SEPARATOR), {}, "inputs"),
        (trained, Corpus([*corpus.inputs, *corpus.inputs], separator=SEPARATOR), {}, "inputs"),
        (trained, Corpus(corpus.inputs), {}, "separator"),
        (other, corpus, {}, "tokenizer"),
        (trained, corpus, {"format": "bin"}, "format"),
        (trained, corpus, {"shard_tokens": 601}, "shard_tokens"),
        (trained, corpus, {"end_of_text": None}, "end_of_text_id"),
        (trained, corpus, {"validation_fraction": 0.5}, "validation_fraction"),
    ]
    before = contents(out / "unfinished")
    for tokenizer, source, options, name in wrong:
        with pytest.raises(ValueError, match=f"cannot resume with another {name}"):
            encode_corpus(tokenizer, source, out, resume=True, **OPTIONS | options)
        assert contents(out / "unfinished") == before
    path = Path(corpus.inputs[0])
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(ValueError, match="cannot resume with another inputs"):
        encode_corpus(trained, corpus, out, resume=True, **OPTIONS)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(FileExistsError, match="The folder holds"):
        encode_corpus(trained, corpus, out, **OPTIONS)
    encode_corpus(trained, corpus, out, resume=True, **OPTIONS)
    with pytest.raises(ValueError, match="cannot resume with another format"):
        encode_corpus(trained, corpus, out, resume=True, **OPTIONS | {"format": "bin"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="'file' and no run to resume"):
        encode_corpus(trained, corpus, tmp_path / "mine", resume=True, **OPTIONS)
    assert contents(tmp_path / "mine") == {"file": b"mine"}


def with_sum(content):
    """JSON of a state or a manifest with a checksum that agrees."""
    return json.dumps(with_checksum({name: value for name, value in content.items() if name != "sha256"}))


@pytest.fixture(scope="module")
def interrupted(corpus, trained, tmp_path_factory):
    """The folder of a run with whole shards and shards that were being written, in both splits."""
    out = tmp_path_factory.mktemp("interrupted") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        patched.setattr(job, "CHECKPOINT_SECONDS", 0.0)
        patched.setattr(text_blocks, "BLOCK_BYTES", 2000)
        for after in range(8, 40):
            shutil.rmtree(out, ignore_errors=True)
            cut_off(trained, corpus, out, after)
            splits = json.loads((out / "unfinished" / "state.json").read_text())["splits"]
            if all(split["shards"] and split["under_way"] for split in splits.values()):
                return out
    raise AssertionError("no such moment")


def resumed_with(interrupted, trained, corpus, out, state=None):
    """Resumes a copy of a run, with another state.json."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(interrupted, out)
    if state is not None:
        (out / "unfinished" / "state.json").write_text(state)
    return encode_corpus(trained, corpus, out, resume=True, **OPTIONS)


def test_a_damaged_state_is_refused(corpus, trained, tmp_path, interrupted):
    state = json.loads((interrupted / "unfinished" / "state.json").read_text())
    for content, message in (
        ("{", "line 1, column"),
        ("[]", "expected an object"),
        (json.dumps(state | {"position": [0, 1, 0, 0]}), "the file was changed"),
        (json.dumps({name: value for name, value in state.items() if name != "sha256"}), "the file was changed"),
        (with_sum(state | {"position": [0, -1, 0, 0]}), r"position\[1\]: expected an integer from 0"),
        (with_sum(state | {"position": [0, 0]}), "position: expected an array of 4 values"),
        (with_sum(state | {"position": [2, 0, 0, state["position"][3]]}), "expected at most 1 files, found 2"),
        (with_sum(state | {"position": [0, 0, 0, 1]}), r"documents: expected \d+, the sum over the shards, found 1"),
        (with_sum(state | {"splits": 3}), "splits: expected an object"),
        (with_sum(state | {"splits": {}}), "splits: expected train, val, found none"),
        (with_sum(state | {"job": {}}), r"job\.field: missing field"),
        (with_sum(state | {"job": state["job"] | {"format": "csv"}}), r"job\.format: expected 'bin' or 'npy'"),
        (with_sum(state | {"more": 1}), "more: unknown field"),
        (
            with_sum(json.loads(json.dumps(state).replace("train-00000.npy", "../train-00000.npy"))),
            r"splits\.train\[0\]\.sha256: expected the files train-00000\.npy, train-00000\.index, found ",
        ),
        (
            with_sum(state | {"splits": state["splits"] | {"val": {"shards": [], "under_way": {"number": -1}}}}),
            r"splits\.val\.under_way\.number: expected an integer from 0",
        ),
    ):
        with pytest.raises(ValueError, match=rf"state\.json.*{message}"):
            resumed_with(interrupted, trained, corpus, tmp_path / "out", content)


def test_an_unfinished_shard_that_was_changed_is_refused(corpus, trained, tmp_path, interrupted):
    """A flipped bit before the checkpoint is found; what is behind it is cut off."""
    out, generator = tmp_path / "out", np.random.default_rng(2)
    expected = resumed_with(interrupted, trained, corpus, out)
    names = sorted(path.name for path in (interrupted / "unfinished").iterdir() if path.suffix in (".npy", ".index"))
    assert len(names) == 4
    for name in names:
        path = interrupted / "unfinished" / name
        content = path.read_bytes()
        header = 128 if name.endswith(".npy") else 0
        for _ in range(5):
            changed = bytearray(content)
            changed[int(generator.integers(header, len(content)))] ^= 1 << int(generator.integers(8))
            path.write_bytes(changed)
            with pytest.raises(ValueError, match=rf"{name}: the first \d+ bytes have sha256 \w+; expected \w+"):
                resumed_with(interrupted, trained, corpus, out)
            assert (out / "unfinished" / name).read_bytes() == changed
        path.write_bytes(content[:-1])
        with pytest.raises(ValueError, match=rf"{name}: \d+ bytes; the checkpoint expects \d+"):
            resumed_with(interrupted, trained, corpus, out)
        path.write_bytes(content + b"written after the checkpoint")
        assert resumed_with(interrupted, trained, corpus, out) == expected
        path.write_bytes(content)
    # the header of a shard that was being made whole is that of fewer ids
    path = next(path for path in (interrupted / "unfinished").glob("train-*.npy"))
    content = path.read_bytes()
    path.write_bytes(ids_header("npy", np.dtype("<u2"), 7) + content[128:])
    assert resumed_with(interrupted, trained, corpus, out) == expected
    path.write_bytes(content)


def refusal(function, *arguments):
    """The message of the ValueError that a call raises; None if it raises none."""
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)
    return None


WRONG = [None, True, -1, 1.5, 2**70, "../x", [None], {"x": 1}]


def places_in(content, path=()):
    """The path of each value in an object of JSON; of an array those of its first and its last value."""
    if path:
        yield path
    if isinstance(content, dict | list):
        keys = content if isinstance(content, dict) else sorted({0, len(content) - 1} - {-1})
        for key in keys if content else ():
            yield from places_in(content[key], (*path, key))


def with_value(content, path, value):
    """A copy of an object of JSON with another value at a path; the value `places_in` removes it."""
    content = json.loads(json.dumps(content))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if value is places_in:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return content


def test_any_wrong_value_in_a_state_is_a_value_error(corpus, trained, tmp_path, interrupted):
    """With a checksum that agrees: the schema has to find it. No other exception, and the field is named."""
    state = json.loads((interrupted / "unfinished" / "state.json").read_text())
    refused = 0
    for path in places_in(state):
        if path == ("sha256",):
            continue
        for value in [*WRONG, places_in]:
            content = with_sum(with_value(state, path, value))
            if message := refusal(resumed_with, interrupted, trained, corpus, tmp_path / "out", content):
                refused += 1
                assert re.search(r"state\.json: |cannot resume with another |unfinished/", message), (path, message)
                assert path[0] in message or re.search("cannot resume|sum over|sha256|checkpoint", message)
    assert refused > 300


def test_any_wrong_value_in_a_manifest_is_a_value_error(corpus, trained, tmp_path):
    encode_corpus(trained, corpus, tmp_path / "out", **OPTIONS)
    path = tmp_path / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    refused = 0
    for place in places_in(manifest):
        for value in [*WRONG, places_in]:
            content = with_value(manifest, place, value)
            path.write_text(json.dumps(content) if place == ("sha256",) else with_sum(content))
            if message := refusal(read_manifest, tmp_path / "out"):
                refused += 1
                assert str(path) in message
    assert refused > 300


def test_a_manifest_that_contradicts_itself_is_refused(corpus, trained, tmp_path):
    out = tmp_path / "out"
    encode_corpus(trained, corpus, out, **OPTIONS)
    manifest = json.loads((out / "manifest.json").read_text())
    train = manifest["splits"]["train"]
    assert len(train) > 2
    cases = [
        ({"splits": {"train": [train[0], *train], "val": manifest["splits"]["val"]}}, r"train\[1\]\.sha256"),
        ({"splits": {"train": [train[1], train[0], *train[2:]], "val": []}}, r"train\[0\]\.sha256"),
        ({"splits": {"train": train}}, "splits: expected train, val, found 'train'"),
        ({"splits": {"train": train, "val": []}}, "documents: expected"),
        ({"tokens": manifest["tokens"] + 1}, "tokens: expected"),
        ({"documents": manifest["documents"] + 1}, "documents: expected"),
        ({"job": manifest["job"] | {"tokenizer": "0"}}, r"job\.tokenizer: expected a string of the form"),
        ({"job": manifest["job"] | {"dtype": "<u4"}}, r"job: dtype: expected '<u2' for 1000 ids, found '<u4'"),
        ({"job": manifest["job"] | {"shard_tokens": 7}}, r"train\[0\]\.tokens: expected 7, found 600"),
        ({"job": manifest["job"] | {"end_of_text_id": 1000}}, "end_of_text_id: expected less than 1000"),
    ]
    for name in ("../train-00000.npy", "/tmp/train-00000.npy", "train-00001.npy", "train-0.npy"):
        shard = train[0] | {"sha256": {name: "0" * 64, "train-00000.index": "0" * 64}}
        cases.append(({"splits": manifest["splits"] | {"train": [shard, *train[1:]]}}, r"train\[0\]\.sha256"))
    two_files_of_ids = train[0] | {"sha256": {"train-00000.npy": "0" * 64, "train-00000.bin": "0" * 64}}
    cases.append(({"splits": manifest["splits"] | {"train": [two_files_of_ids, *train[1:]]}}, r"train\[0\]\.sha256"))
    for changes, message in cases:
        (out / "manifest.json").write_text(with_sum(manifest | changes))
        for read in (read_manifest, verify_shards, lambda folder: encode_corpus(trained, corpus, folder, resume=True)):
            with pytest.raises(ValueError, match=message):
                read(out)
        (out / "manifest.json").write_text(json.dumps(manifest | changes))
        with pytest.raises(ValueError, match=r"manifest\.json: sha256: .* the file was changed"):
            read_manifest(out)
    other = manifest["job"] | {"tokenizer": "0" * 64}
    (out / "manifest.json").write_text(json.dumps(manifest | {"job": other}))
    with pytest.raises(ValueError, match="the file was changed"):
        verify_shards(out)


def test_links_out_of_the_folder_and_other_shards_are_refused(corpus, trained, tmp_path):
    out = tmp_path / "out"
    manifest = encode_corpus(trained, corpus, out)
    (out / "train-00000.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"train-00000\.bin: a shard that the manifest does not name"):
        verify_shards(out)
    (out / "train-00000.bin").unlink()
    os.rename(out / "train-00000.npy", tmp_path / "elsewhere.npy")
    os.symlink(tmp_path / "elsewhere.npy", out / "train-00000.npy")
    for read in (verify_shards, manifest.map):
        with pytest.raises(ValueError, match=r"train-00000\.npy: a link to '.*elsewhere\.npy', which is outside"):
            read(out)
    (out / "train-00000.npy").unlink()
    os.rename(tmp_path / "elsewhere.npy", out / "within.npy")
    os.symlink("within.npy", out / "train-00000.npy")
    assert verify_shards(out) == manifest


def test_manifests_of_version_1_are_read(corpus, trained, tmp_path):
    expected = encode_corpus(trained, corpus, tmp_path / "out", **OPTIONS)
    path = tmp_path / "out" / "manifest.json"
    old = json.loads(path.read_text()) | {"version": 1}
    del old["sha256"]
    old["job"] |= {"eot_id": old["job"].pop("end_of_text_id"), "validation": old["job"].pop("validation_fraction")}
    path.write_text(json.dumps(old))
    assert verify_shards(tmp_path / "out") == expected
    assert encode_corpus(trained, corpus, tmp_path / "out", resume=True, **OPTIONS) == expected


def test_a_source_that_grew_after_its_last_shard_is_refused(trained, tmp_path, monkeypatch):
    """A run that was killed before its manifest was written has made its last shard whole."""
    real = job_storage.write_files

    def write_files(folder, contents):
        if "manifest.json" in contents:
            raise CutOffError
        real(folder, contents)

    with monkeypatch.context() as patched:
        patched.setattr(job_storage, "write_files", write_files)
        with pytest.raises(CutOffError):
            encode_corpus(trained, iter(["a", "b"]), tmp_path / "out")
    with pytest.raises(ValueError, match="train-00000 was the last shard of this run, but the source now holds more"):
        encode_corpus(trained, iter(["a", "b", "c"]), tmp_path / "out", resume=True)
    manifest = encode_corpus(trained, iter(["a", "b"]), tmp_path / "out", resume=True)
    assert verify_shards(tmp_path / "out") == manifest


def test_deprecated_names(corpus, trained, tmp_path):
    with pytest.warns(DeprecationWarning, match="eot is deprecated; use end_of_text"):
        found = encode_corpus(trained, corpus, tmp_path / "a", eot=SEPARATOR)
    with pytest.warns(DeprecationWarning, match="validation is deprecated; use validation_fraction"):
        encode_corpus(trained, corpus, tmp_path / "b", validation=0.1)
    assert found == encode_corpus(trained, corpus, tmp_path / "c", end_of_text=SEPARATOR)
    with pytest.raises(TypeError, match="give only end_of_text"):
        encode_corpus(trained, corpus, tmp_path / "d", eot=SEPARATOR, end_of_text=SEPARATOR)
    with pytest.warns(DeprecationWarning, match=r"fastlm\.corpus\.job is deprecated"):
        from fastlm.corpus.job import encode_corpus as alias
    assert alias is encode_corpus


def test_verify_finds_every_change(corpus, trained, tmp_path):
    encode_corpus(trained, corpus, tmp_path / "kept", **OPTIONS | {"format": "megatron"})
    names = sorted(contents(tmp_path / "kept"))
    generator = np.random.default_rng(1)
    for name in names:
        path = tmp_path / "kept" / name
        content = path.read_bytes()
        at = int(generator.integers(len(content)))
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        for wrong in (changed, content[:-1], content + b"\0"):
            path.write_bytes(wrong)
            with pytest.raises(ValueError, match=f"{name}: its sha256 is"):
                verify_shards(tmp_path / "kept")
        path.unlink()
        with pytest.raises(FileNotFoundError):
            verify_shards(tmp_path / "kept")
        path.write_bytes(content)
    verify_shards(tmp_path / "kept")


@pytest.mark.parametrize("shard_format", ["bin", "npy", "megatron"])
def test_verify_looks_beyond_the_sums(corpus, trained, tmp_path, shard_format):
    out = tmp_path / "out"
    encode_corpus(trained, corpus, out, format=shard_format)
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["sha256"]
    (shard,) = manifest["splits"]["train"]
    ids, ends = sorted(shard["sha256"], key=lambda name: name.endswith((".index", ".idx")))

    def refused(message, name=None, content=b"", **changes):
        """What verify says of a manifest that agrees with a wrong file."""
        kept = (out / name).read_bytes() if name else b""
        told = json.loads(json.dumps(manifest))
        for key, value in changes.items():
            (told if key in told else told["job"] if key in told["job"] else told["splits"]["train"][0])[key] = value
        if name:
            (out / name).write_bytes(content)
            told["splits"]["train"][0]["sha256"][name] = reference.sums_of({name: content})[name]
        (out / "manifest.json").write_text(with_sum(told))
        with pytest.raises(ValueError, match=message):
            verify_shards(out)
        if name:
            (out / name).write_bytes(kept)

    content = (out / ids).read_bytes()
    wrong = b"\xff\x03" if shard_format == "bin" else b"\xe8\x03"
    refused("expected ids below 1000", ids, content[:-2] + wrong)
    refused("expected a multiple of 2|not a .npy file", ids, content[:-1])
    refused(r"\d+ ids; expected \d+|not a .npy file", ids, content[:-2])
    index = (out / ends).read_bytes()
    refused("documents; expected|bytes; expected", ends, index[:-8])
    refused("must begin with sequence 0|must rise|beyond 2", ends, index[:-4] + b"\xff\xff\xff\xff")
    refused("expected a multiple of 8|bytes; expected|not an index", ends, index[:-3])
    refused("documents: expected", documents=len(DOCUMENTS) + 1)
    refused("version: expected 2, found 3", version=3)
    refused(r"job\.format: expected 'bin' or 'npy' or 'megatron', found 'csv'", format="csv")
    refused(r"job\.dtype: expected '<u2' or '<u4' or '<i4', found '<f8'", dtype="<f8")
    refused(r"job\.vocabulary_size: expected an integer from 1", vocabulary_size=-1)
    refused(r"sha256: expected the files", sha256={"../a": "0" * 64, "b": "0" * 64})
    refused("splits: expected an object", splits=[])
    (out / "manifest.json").write_text("[]")
    with pytest.raises(ValueError, match=r"manifest\.json: content: expected an object, found \[\]"):
        verify_shards(out)


class Failing:
    """Lets the k-th call that changes a disk fail, as a full or broken one would."""

    def __init__(self, monkeypatch, k):
        self.left = k
        real_open, real_fsync, real_replace = builtins.open, os.fsync, os.replace
        failing = self

        class File(io.FileIO):
            def write(self, content):
                failing.call()
                return super().write(content)

        def open_file(path, mode="r", buffering=-1, **options):
            if not set(mode) & set("wxa+"):
                return real_open(path, mode, buffering, **options)
            failing.call()
            file = File(path, mode.replace("b", ""))
            return file if not buffering else io.BufferedRandom(file)

        def fsync(descriptor):
            failing.call()
            real_fsync(descriptor)

        def replace(source, target):
            failing.call()
            real_replace(source, target)

        monkeypatch.setattr(builtins, "open", open_file)
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "replace", replace)

    def call(self):
        self.left -= 1
        if not self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("shard_format", ["bin", "npy", "megatron"])
@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_failing_call_leaves_nothing_half_written(trained, tmp_path, monkeypatch, shard_format, seconds):
    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", seconds)
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 600)
    (tmp_path / "text").write_text(SEPARATOR.join(["ab cd " * 30] * 9))
    corpus = Corpus([tmp_path / "text"], separator=SEPARATOR)
    options = OPTIONS | {"format": shard_format, "shard_tokens": 250}
    expected = encode_corpus(trained, corpus, tmp_path / "whole", **options)
    (tmp_path / "old").write_text("old")
    kept = ["old", "text", "whole"]
    k = failures = 0
    while True:
        k += 1
        with monkeypatch.context() as patched:
            failing = Failing(patched, k)
            try:
                encode_corpus(trained, corpus, tmp_path / "out", **options)
            except OSError as error:
                failed = error
            else:
                break
        assert failed.errno == errno.ENOSPC
        assert failing.left <= 0
        failures += 1
        assert sorted(path.name for path in tmp_path.iterdir()) in (kept, sorted([*kept, "out"]))
        if (tmp_path / "out").exists():
            assert not list((tmp_path / "out").rglob("*.tmp"))
            assert contents_of_files(tmp_path / "out").items() <= contents(tmp_path / "whole").items()
        assert encode_corpus(trained, corpus, tmp_path / "out", resume=True, **options) == expected
        assert contents(tmp_path / "out") == contents(tmp_path / "whole")
        shutil.rmtree(tmp_path / "out")
    assert failures > 30
    assert (tmp_path / "old").read_text() == "old"
    print(f"{shard_format}: {failures} failing calls tried, {failures} survived")


def contents_of_files(folder: Path) -> dict[str, bytes]:
    """Of the shards in a folder, without the folder of unfinished ones and the manifest."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".json"}


def test_a_limit_of_file_size_is_an_os_error(corpus, trained, tmp_path):
    trained.save(tmp_path / "tokenizer", ["fastlm"])
    program = (
        "import resource, sys\nfrom fastlm import cli\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))\nsys.exit(cli.main(sys.argv[1:]))"
    )
    arguments = ["encode", *map(str, corpus.inputs), "--tokenizer", tmp_path / "tokenizer", "--out", tmp_path / "out"]
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert re.fullmatch(r"fastlm: .*/out/unfinished/train-00000\.npy: file too large\n", result.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL and fork")
def test_a_killed_run_goes_on():
    command = [sys.executable, "-W", "error", "-m", "tests.corpus_kills", "--kills", "12", "--seed", "5"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r": (\d+) tried, \1 survived", result.stdout)


def test_options_are_checked(corpus, trained, tmp_path):
    for options, message in (
        ({"format": "csv"}, "format must be one of"),
        ({"shard_tokens": 0}, "shard_tokens must be"),
        ({"shard_tokens": True}, "shard_tokens must be"),
        ({"validation_fraction": 1.0}, "validation_fraction must be"),
        ({"validation_fraction": float("nan")}, "validation_fraction must be"),
        (
            {"end_of_text": "the"},
            r"end_of_text must be a special token of the tokenizer, got 'the'; it has '<\|endoftext\|>', '<\|user\|>'",
        ),
        ({"on_special": "no"}, "on_special must be"),
    ):
        with pytest.raises(ValueError, match=message):
            encode_corpus(trained, corpus, tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()
    with pytest.raises(KeyError, match="no split 'val'"):
        encode_corpus(trained, corpus, tmp_path / "out").map(tmp_path / "out", "val")
