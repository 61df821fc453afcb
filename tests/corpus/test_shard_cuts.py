"""Shards that are made of parts are those of SplitWriter, whichever places parts and shards have."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlm.corpus.block_encoder import BlockEncoder, split_documents, split_ends
from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.encoded_parts import encode_part, finished_part, part_files, read_part_ends
from fastlm.corpus.manifest import TRAIN
from fastlm.corpus.partitions import partitions_of
from fastlm.corpus.read import Blocks, Corpus
from fastlm.corpus.shard_cuts import PartStart, Place, ShardCuts, write_from_parts
from fastlm.corpus.shard_formats import FORMATS
from fastlm.corpus.shard_writer import SplitWriter
from tests import texts

SEPARATOR = "<|endoftext|>"


@settings(deadline=None)
@given(
    parts=st.lists(st.tuples(st.lists(st.integers(0, 7), max_size=9), st.integers(0, 5)), max_size=8),
    before=st.tuples(st.lists(st.integers(0, 7), max_size=5), st.integers(0, 5)),
    shard_tokens=st.integers(1, 20),
    shard_format=st.sampled_from(FORMATS),
)
def test_cuts_are_where_the_writer_cuts(tmp_path_factory, parts, before, shard_tokens, shard_format):
    """The first ids may belong to a shard that was begun before."""

    def sized(lengths, rest):
        return sum(lengths) + rest, np.cumsum(np.array(lengths, np.int64))

    if shard_format == "megatron" and (parts or before[1]):
        # the last document of a corpus ends with it
        if parts:
            parts[-1] = ([*parts[-1][0], parts[-1][1]], 0)
        else:
            before = ([*before[0], before[1]], 0)
    folder = tmp_path_factory.mktemp("writer")
    writer = SplitWriter(folder, TRAIN, shard_format, np.dtype("<u2"), shard_tokens)
    size, ends = sized(*before)
    writer.write(np.zeros(size, "<u2"), ends)
    began = writer.open_size
    whole = len(writer.shards)
    start = Place(-began[0], -began[1]) if began else Place()
    cuts = ShardCuts(shard_format, shard_tokens, start)
    for part in parts:
        size, ends = sized(*part)
        writer.write(np.zeros(size, "<u2"), ends)
        cuts.add(size, ends)
    writer.finish()
    found = [(end.tokens - start.tokens, end.documents - start.documents) for start, end in cuts.shards()]
    assert found == [(shard.tokens, shard.documents) for shard in writer.shards[whole:]]


@given(st.lists(st.integers(0, 5), max_size=20), st.integers(0, 4), st.integers(0, 1000), st.sampled_from([0.0, 0.4]))
def test_numbers_are_divided_as_ids_are(lengths, rest, first, fraction):
    ends = np.cumsum(np.array(lengths, np.int64))
    size = sum(lengths) + rest
    ids = np.arange(size)
    found = split_ends(ends, size, first, fraction)
    expected = split_documents(ids, ends, first, fraction)
    assert found.keys() == expected.keys()
    for split, (own_ids, own_ends) in expected.items():
        assert found[split][0] == len(own_ids)
        assert found[split][1].tolist() == own_ends.tolist()


@pytest.fixture
def parts(trained, tmp_path, monkeypatch):
    """A folder with the parts of a text, and what they are."""
    monkeypatch.setattr("fastlm.corpus.text_blocks.BLOCK_BYTES", 4096)
    monkeypatch.setattr("fastlm.corpus.partitions.SEARCHED_BYTES", 512)
    (tmp_path / "text").write_text(SEPARATOR.join(texts.DOCUMENTS), "utf-8", newline="")
    corpus = Corpus([tmp_path / "text"], separator=SEPARATOR)
    encoder = BlockEncoder(trained, np.dtype("<u2"))
    partitions = list(partitions_of(Blocks(corpus, encoder.splitter), 10_000))
    assert len(partitions) > 2
    (tmp_path / "parts").mkdir()
    found = [encode_part(encoder, corpus, *numbered[::-1], tmp_path / "parts") for numbered in enumerate(partitions)]
    return tmp_path / "parts", corpus, partitions, found


def test_ids_of_parts_are_those_of_one_process(parts, trained, tmp_path):
    folder, corpus, _, found = parts
    manifest = encode_corpus(trained, corpus, tmp_path / "one", validation_fraction=0.2)
    for split, shards in manifest.splits.items():
        starts, document, cuts = [], 0, ShardCuts("npy", 1 << 40, Place())
        for number, part in enumerate(found):
            starts.append(PartStart(number, document, cuts.end))
            ends = read_part_ends(folder, number, part)
            cuts.add(*split_ends(ends, sum(part.tokens), document, 0.2)[split])
            document += len(ends)
        (tmp_path / split).mkdir()
        writer = SplitWriter(tmp_path / split, split, "npy", np.dtype("<u2"), 100_000_000)
        write_from_parts(writer, folder, starts, Place(), cuts.end, 0.2)
        writer.finish()
        assert writer.shards == shards


def test_changed_parts_are_refused(parts, tmp_path):
    folder, _, partitions, found = parts
    present = {path.name for path in folder.iterdir()}
    assert finished_part(folder, 0, partitions[0], present) == found[0]
    assert finished_part(folder, 0, partitions[1], present) is None
    assert finished_part(folder, 0, partitions[0], present - {part_files(0)[1]}) is None
    ids, ends, description = (folder / name for name in part_files(0))
    (tmp_path / "out").mkdir()
    writer = SplitWriter(tmp_path / "out", TRAIN, "npy", np.dtype("<u2"), 1 << 30)
    changed = bytearray(ids.read_bytes())
    changed[7] ^= 1
    ids.write_bytes(changed)
    start = PartStart(0, 0, Place())
    with pytest.raises(ValueError, match=r"part-000000\.ids: ids 0 to \d+ are not those that were written"):
        write_from_parts(writer, folder, [start], Place(), Place(100, 1), 0.0)
    ends.write_bytes(ends.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"part-000000\.ends: \d+ bytes; expected"):
        write_from_parts(writer, folder, [start], Place(), Place(100, 1), 0.0)
    description.write_text(description.read_text().replace('"consumed": ', '"consumed": 1'))
    with pytest.raises(ValueError, match=r"part-000000\.json: sha256: the content has"):
        finished_part(folder, 0, partitions[0], present)
    writer.close()
