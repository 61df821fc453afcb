"""Checkpoints of training: whatever ends a run, the next goes on to the same merges; faults leave nothing behind."""

import builtins
import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlm
from fastlm import cli
from fastlm.bpe_training import run_files
from fastlm.corpus import text_blocks
from fastlm.files import atomic
from tests import texts, training_kills

SIZE = 700
EXPECTED = fastlm.train_bpe(texts.DOCUMENTS, SIZE)
ALWAYS = 1e-9  # seconds: a checkpoint after each block and each look at progress


class Ended(BaseException):
    """Takes the place of a kill in a process that must survive."""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 5000)
    path = tmp_path / "text"
    path.write_text("<|endoftext|>".join(texts.DOCUMENTS), "utf-8", newline="")
    return path


def train(source, directory, **options):
    options = {"checkpoint": directory, "checkpoint_seconds": ALWAYS, "resume": True} | options
    return fastlm.train_bpe(source, SIZE, **options)


def same(tokenizer):
    return tokenizer.vocabulary.fingerprint == EXPECTED.vocabulary.fingerprint


def until_it_ends(source, directory, moments, **options):
    """Ends runs at these numbers of reports; the tokenizer, and how often it was ended."""
    ended = 0
    for moment in [*moments, None]:
        seen = 0

        def progress(phase, done, total, moment=moment):
            nonlocal seen
            seen += 1
            if seen == moment:
                raise Ended

        try:
            return train(source, directory, progress=progress, **options), ended
        except Ended:
            ended += 1
    raise AssertionError


@settings(max_examples=6)
@given(st.lists(st.integers(1, 12), max_size=8), st.sampled_from([1, 2]), st.booleans())
def test_goes_on_after_it_was_ended_anywhere(tmp_path_factory, moments, threads, as_documents):
    folder = tmp_path_factory.mktemp("resume")
    path = folder / "text"
    path.write_text("<|endoftext|>".join(texts.DOCUMENTS), "utf-8", newline="")
    source = texts.DOCUMENTS if as_documents else path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_blocks, "BLOCK_BYTES", 4000)
        tokenizer, _ = until_it_ends(source, folder / "checkpoint", moments, num_threads=threads)
        assert same(tokenizer)
        assert same(train(source, folder / "checkpoint"))  # of one that is finished


def test_counts_no_text_twice_and_forgets_no_more_than_since_the_last_checkpoint(path, tmp_path):
    told = []

    def progress(phase, done, total):
        told.append((phase, done))
        if len(told) == 6:
            raise Ended

    with pytest.raises(Ended):
        train(path, tmp_path / "c", progress=progress, num_threads=1)
    state = json.loads((tmp_path / "c" / "state.json").read_text().split("\n")[1])["state"]
    # the progress includes the start of the next block, which was read together with this one
    assert told[3][1] < state["counted"] <= told[4][1]
    del told[:-1]
    again = []
    assert same(train(path, tmp_path / "c", progress=lambda *seen: again.append(seen), num_threads=1))
    assert again[0][:2] == told[0]


def test_many_runs_are_merged_on_the_way(path, tmp_path, monkeypatch):
    monkeypatch.setattr("fastlm.bpe_training.counting.MOST_RUNS", 4)
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 1000)
    assert same(train(path, tmp_path / "c"))
    assert len(list((tmp_path / "c").glob("run-*"))) == 1


def test_killed(tmp_path):
    """Three of the hundred kills of `python -m tests.training_kills`."""
    path = training_kills.text_file(tmp_path, 20_000_000)
    trainings, _ = training_kills.run(3, path)
    assert trainings >= 1


def test_a_checkpoint_of_another_training_is_refused(path, tmp_path):
    directory = tmp_path / "c"
    train(path, directory)
    with pytest.raises(FileExistsError, match="Holds a checkpoint, and resume is not given"):
        train(path, directory, resume=False)
    for options, message in [
        ({"tie_break": "hf"}, 'created with tie_break="cs336"; this call has "hf"'),
        ({"min_frequency": 3}, "created with min_count=1; this call has 3"),
        ({"max_token_length": 9}, "created with max_token_length=null; this call has 9"),
        ({"pattern": "llama3"}, "created with pattern="),
        ({"special_tokens": ["<s>"]}, "created with special_tokens="),
    ]:
        with pytest.raises(ValueError, match=message):
            train(path, directory, **options)
    with pytest.raises(ValueError, match="created with vocab_size=443; this call has 444"):
        fastlm.train_bpe(path, SIZE + 1, checkpoint=directory, resume=True)
    with pytest.raises(ValueError, match="created with files="):
        train(texts.DOCUMENTS, directory)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ValueError, match="created with files="):
        train(path, directory)
    assert json.loads((directory / "state.json").read_text().split("\n")[1])["state"]["all_counted"]


def test_documents_that_are_not_those_counted_before_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 4000)

    def progress(phase, done, total):
        if done > 6000:
            raise Ended

    with pytest.raises(Ended):
        train(texts.DOCUMENTS, tmp_path / "c", progress=progress, num_threads=1)
    with pytest.raises(
        ValueError, match=r"the first [\d,]+ bytes of the text differ from the text that was counted before"
    ):
        train(["other " * 10_000], tmp_path / "c")
    with pytest.raises(ValueError, match=r"the input has 4 bytes of text, but [\d,]+ were counted before"):
        train(["less"], tmp_path / "c")
    assert same(train(iter(texts.DOCUMENTS), tmp_path / "c"))


def test_damaged_checkpoints_are_refused(path, tmp_path):
    directory = tmp_path / "c"
    train(path, directory)
    state = (directory / "state.json").read_bytes()
    for damaged in (b"", state[:-40], state.replace(b"merges", b"nerges"), b"\xff" + state, state[1:]):
        (directory / "state.json").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"state\.json is damaged"):
            train(path, directory)
    (directory / "state.json").write_bytes(state)
    (run,) = directory.glob("run-*")
    content = run.read_bytes()
    run.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"run-\d+ is damaged"):
        train(path, directory)
    run.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"run-\d+ is damaged"):
        train(path, directory)
    run.unlink()
    with pytest.raises(FileNotFoundError, match="run-"):
        train(path, directory)


class Faults:
    """Fails the k-th call that writes, syncs or renames a file of a training, as a full disk does."""

    def __init__(self, monkeypatch, k):
        self.left, self.names = k, []
        for module, name in ((os, "fsync"), (os, "replace")):
            monkeypatch.setattr(module, name, self.failing(getattr(module, name)))
        monkeypatch.setattr(atomic, "open", self.opened(builtins.open), raising=False)
        monkeypatch.setattr(run_files.tempfile, "TemporaryFile", self.opened(run_files.tempfile.TemporaryFile))

    def failing(self, function):
        def call(*arguments, **options):
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return call

    def opened(self, function):
        def call(*arguments, **options):
            return FaultyFile(function(*arguments, **options), self)

        return call


class FaultyFile:
    def __init__(self, file, faults):
        self.file = file
        self.write = faults.failing(file.write)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        self.file.__enter__()
        return self

    def __exit__(self, *raised):
        return self.file.__exit__(*raised)


@pytest.mark.parametrize("named", [True, False])
def test_every_fault_of_the_disk_is_an_error_that_leaves_nothing_behind(tmp_path, monkeypatch, named):
    """Fails the first call that writes, then the second, and so on, until a run has fewer."""
    text = "<|endoftext|>".join(texts.DOCUMENTS)
    path = tmp_path / "text"
    path.write_text(text, "utf-8", newline="")
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", len(text.encode()) // 2)
    tried = 0
    while True:
        tried += 1
        directory = tmp_path / f"c{tried}"
        options = {"num_threads": 1}
        if not named:
            options |= {"checkpoint": None, "resume": False, "max_memory": 1 << 40}
        with monkeypatch.context() as patch:
            Faults(patch, tried)
            try:
                assert same(train(path, directory, **options))
                break
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        if named:
            training_kills.check_whole(directory)
            assert not list(directory.glob(".*"))
            assert same(train(path, directory, **options))
    assert tried > (12 if named else 1)


def test_a_file_where_the_directory_should_be(path, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        train(path, tmp_path / "file")
    if os.geteuid() != 0:
        (tmp_path / "read-only").mkdir(mode=0o500)
        with pytest.raises(PermissionError):
            train(path, tmp_path / "read-only")


def test_bad_arguments(path, tmp_path):
    with pytest.raises(ValueError, match="resume=True needs checkpoint"):
        fastlm.train_bpe(path, SIZE, resume=True)
    with pytest.raises(ValueError, match="checkpoint_seconds must be above 0, got 0"):
        train(path, tmp_path / "c", checkpoint_seconds=0)
    with pytest.raises(ValueError, match="the input holds no text"):
        train([""], tmp_path / "c")


def test_command(path, tmp_path, capsys):
    checkpoint = ["--checkpoint", str(tmp_path / "c"), "--max-memory", "4GB"]
    args = ["train-tokenizer", str(path), "--vocab-size", str(SIZE), *checkpoint]
    assert cli.main([*args, "--out", str(tmp_path / "one")]) == 0
    assert cli.main([*args, "--out", str(tmp_path / "two")]) == 1
    message = (
        f"--checkpoint {tmp_path / 'c'}: holds a checkpoint, and resume is not given; --resume continues from it\n"
    )
    assert capsys.readouterr().err.endswith(message)
    assert cli.main([*args, "--out", str(tmp_path / "two"), "--resume"]) == 0
    for name in ("one", "two"):
        assert same(fastlm.load(tmp_path / name))
    assert not list(Path(tmp_path / "c").glob(".*"))
