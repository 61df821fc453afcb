"""SIGINT and SIGTERM: long work writes a checkpoint, ends with 130 or 143, and says how to resume."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import fastlm
from fastlm import interrupts
from fastlm.corpus.manifest import read_manifest
from fastlm.corpus.read import Corpus
from tests import texts
from tests.children import LIMIT, ended

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
NAMES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


@pytest.fixture(autouse=True)
def default_handlers():
    """A background job of a shell begins with SIGINT ignored, and Ray sets a handler of SIGTERM."""
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)


def test_signals_raise_within_the_block_only():
    before = [signal.getsignal(number) for number in CODES]
    with interrupts.raised():
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        with pytest.raises(interrupts.Terminated) as raised:
            send(signal.SIGTERM)
        assert raised.value.code == 143
    assert [signal.getsignal(number) for number in CODES] == before


def test_a_handler_of_the_program_is_kept():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with interrupts.raised(), interrupts.deferred():
            send(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_a_deferred_signal_raises_at_the_end_of_the_outer_block():
    reached = []

    def work():
        with interrupts.deferred():
            with interrupts.deferred():
                reached.append(interrupts.requested())
                send(signal.SIGTERM)
                reached.append(interrupts.requested())
            reached.append("the end of the inner block")

    with interrupts.raised():
        with pytest.raises(interrupts.Terminated):
            work()
        assert not interrupts.requested()
    assert reached == [False, True, "the end of the inner block"]


def test_the_second_signal_raises_at_once():
    with interrupts.raised():

        def work():
            send(signal.SIGINT)
            send(signal.SIGINT)
            raise AssertionError("not reached")

        with pytest.raises(KeyboardInterrupt), interrupts.deferred():
            work()
        assert not interrupts.requested()


def test_check_raises_what_is_delayed():
    with interrupts.raised(), interrupts.deferred():
        interrupts.check()
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_other_threads_change_nothing():
    before = [signal.getsignal(number) for number in CODES]
    seen = []

    def work():
        with interrupts.raised(), interrupts.deferred():
            seen.append([signal.getsignal(number) for number in CODES])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def hear_signals():
    # a shell starts commands in the background with SIGINT ignored, and children inherit that
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(*arguments, program="import sys\nfrom fastlm import cli\nsys.exit(cli.main(sys.argv[1:]))"):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, **pipes, preexec_fn=hear_signals)


@pytest.fixture(scope="module")
def files(tmp_path_factory, trained):
    folder = tmp_path_factory.mktemp("signals")
    trained.save(folder / "tokenizer")
    return folder


SLOW = """
import sys, time
from fastlm import cli
from fastlm.corpus import text_blocks
text_blocks.BLOCK_BYTES = 3000
from fastlm.corpus import read
iterate = read.Blocks.__iter__
def slowly(self):
    for block in iterate(self):
        time.sleep(0.01)
        yield block
read.Blocks.__iter__ = slowly
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("threads", [1, 2])
def test_encode_saves_what_was_encoded(files, tmp_path, trained, number, threads):
    """The last regular checkpoint is at the start, 10 seconds before the next one, so nearly all would be lost."""
    path, out = tmp_path / "text", tmp_path / "out"
    path.write_bytes("<|endoftext|>".join(texts.DOCUMENTS * 100).encode())
    arguments = ["encode", path, "--tokenizer", files / "tokenizer", "--out", out, "--threads", threads]
    process = started(*arguments, program=SLOW)
    with ended(process):
        while not any(file.stat().st_size > 20_000 for file in out.glob("unfinished/train-*.npy")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == CODES[number]
    expected = f"fastlm: {NAMES[number]}: --resume continues from the last checkpoint in {out}\n"
    assert errors.decode() == expected
    seen = []
    manifest = fastlm.encode_corpus(
        trained, Corpus([str(path)]), out, resume=True, progress=lambda done, total: seen.append((done, total))
    )
    # what was written before the signal is not read again
    assert seen[0][0] > 30_000
    assert read_manifest(out) == manifest
    whole = fastlm.encode_corpus(trained, Corpus([str(path)]), tmp_path / "whole")
    assert manifest.splits == whole.splits


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("threads", [1, 2])
def test_training_a_tokenizer_saves_what_was_counted(files, tmp_path, number, threads):
    path, saved = tmp_path / "text", tmp_path / "saved"
    path.write_bytes("<|endoftext|>".join(texts.DOCUMENTS * 100).encode())
    arguments = ["train-tokenizer", path, "--vocab-size", 300, "--out", tmp_path / "new", "--threads", threads]
    arguments += ["--checkpoint", saved, "--log-seconds", "0.1"]
    process = started(*arguments, program=SLOW)
    with ended(process):
        line = process.stderr.readline()
        assert line.startswith(b"fastlm: count: "), line
        process.send_signal(number)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == CODES[number], errors
    last = errors.decode().splitlines()[-1]
    assert last == f"fastlm: {NAMES[number]}: --resume continues from the checkpoint in {saved}"
    seen = []
    resumed = fastlm.train_bpe(
        Corpus([str(path)]), 300, checkpoint=saved, resume=True, progress=lambda *values: seen.append(values)
    )
    counted = [done for phase, done, _ in seen if phase == "count"]
    assert counted[0] > 10_000
    assert resumed.vocabulary.fingerprint == fastlm.train_bpe(path, 300).vocabulary.fingerprint


@pytest.mark.parametrize("number", CODES)
def test_commands_that_save_nothing_say_so(files, tmp_path, number):
    path = tmp_path / "text"
    path.write_bytes("<|endoftext|>".join(texts.DOCUMENTS * 200).encode())
    process = started("count", path, "--tokenizer", files / "tokenizer", "--log-seconds", "0.1", program=SLOW)
    with ended(process):
        assert process.stderr.readline()
        process.send_signal(number)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == CODES[number]
    last = errors.decode().splitlines()[-1]
    assert last == f"fastlm: {NAMES[number]}: nothing to resume; the same command starts again"


def test_a_program_without_handlers_ends_with_143(tmp_path, trained):
    """A caller of encode_corpus needs no handler: SIGTERM ends it without a traceback, after a checkpoint."""
    trained.save(tmp_path / "tokenizer")
    program = (
        "import os, signal, sys, fastlm\ntokenizer = fastlm.load(sys.argv[1])\n"
        "def documents():\n    for k in range(100_000):\n        if k == 50_000:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n        yield f'document {k}'\n"
        "fastlm.encode_corpus(tokenizer, documents(), sys.argv[2], num_threads=1)"
    )
    with ended(started(tmp_path / "tokenizer", tmp_path / "out", program=program)) as process:
        _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (143, b"")
