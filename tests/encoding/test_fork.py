"""Forks while another thread is in its first call: the child makes the same call and gets the right answer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
REPOSITORY = Path(__file__).parents[2]
SECONDS = 1200

# each function makes an object that has not been used, and returns a call of it
LAYERS = """
import os, sys, threading, time, warnings
import fastlm
from fastlm.pretokenize import patterns
from tests import texts

warnings.simplefilter("ignore")
sources = [text for text in texts.DOCUMENTS if len(text) < 20_000] * 3
trained = fastlm.train_bpe(texts.DOCUMENTS, 1000, ["<|e|>"])
ranks = {trained.vocab[k]: k - 1 for k in range(1, 1000)}

def tokenizer():
    return fastlm.Tokenizer.from_vocabulary(trained.vocabulary)

def encode():
    return tokenizer().encode

def count():
    return tokenizer().count

def batch():
    made = tokenizer()
    return lambda text: made.encode_batch([text] * 20, 2)

def offsets():
    made = tokenizer()
    return lambda text: made.encode_with_offsets(text)[1].tolist()

def decode():
    made = tokenizer()
    ids = trained.encode(sources[0])
    return lambda text: made.decode(ids)

def expression():
    pattern = f"[a-z]{{1,{500 + tried}}}"  # a different one each time, so that it is compiled
    return lambda text: fastlm.Tokenizer(trained.vocab, trained.merges, pattern=pattern).encode(text)

def train():
    return lambda text: fastlm.train_bpe(sources, 400, num_threads=2).vocab

def tiktoken():
    import fastlm.compat.tiktoken as module
    made = module.Encoding("x", pat_str=patterns.GPT2, mergeable_ranks=ranks, special_tokens={"<|e|>": 999})
    return lambda text: made.encode(text, allowed_special="all")

def tiktoken_batch():
    import fastlm.compat.tiktoken as module
    made = module.Encoding("x", pat_str=patterns.GPT2, mergeable_ranks=ranks, special_tokens={"<|e|>": 999})
    return lambda text: made.encode_ordinary_batch([text] * 20, num_threads=2)

def tokenizers():
    import fastlm.compat.tokenizers as module
    made = module.Tokenizer.from_str(content)
    return lambda text: made.encode(text).ids

def tokenizers_batch():
    import fastlm.compat.tokenizers as module
    made = module.Tokenizer.from_str(content)
    return lambda text: [encoding.ids for encoding in made.encode_batch([text] * 20)]

def transformers():
    import fastlm.compat.transformers as module
    made = module.FastLMTokenizer(trained)
    return lambda text: made(text)["input_ids"]

import json
from fastlm.formats import tokenizer_json
content = json.dumps(tokenizer_json.content_of(trained.vocabulary))

def exit_status(call, expected):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if call(text) == expected else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

tried = 0
text = sources[0] + "<|e|>"
make = globals()[sys.argv[1]]
expected = make()(text)
"""

# the other thread stops where it makes the tables, and goes on after the fork
STOPPED = """
import importlib
module = importlib.import_module(sys.argv[2])
original, parent = module.encoder_of, os.getpid()
inside, forked = threading.Event(), threading.Event()

def stopping(*arguments):
    if os.getpid() == parent and threading.current_thread() is not threading.main_thread():
        inside.set()
        forked.wait()
    return original(*arguments)

module.encoder_of = stopping
for tried in range(3):
    call = make()
    inside.clear(), forked.clear()
    results = []
    thread = threading.Thread(target=lambda: results.append(call(text)))
    thread.start()
    inside.wait()
    status = exit_status(call, expected)
    forked.set()
    thread.join()
    assert status == 0, status
    assert results == [expected]
print("no child hung")
"""

# the fork comes at any moment of the call, the first of which also imports
AT_RANDOM = """
import random
chance = random.Random(7)
start = time.perf_counter()
make()(text)
seconds = time.perf_counter() - start
for tried in range(20):
    call = make()
    results = []
    thread = threading.Thread(target=lambda: results.append(call(text)))
    thread.start()
    time.sleep(chance.random() * seconds)
    status = exit_status(call, expected)
    thread.join()
    assert status == 0, status
    assert results == [expected]
print("no child hung")
"""

# the first call of a process imports modules; the fork comes at any moment of it
FIRST = """
import random
chance = random.Random(sys.argv[2])
for name in [name for name in sys.modules if name.partition(".")[0] in ("regex", "concurrent", "logging")]:
    del sys.modules[name]
sys.modules.pop("fastlm.encoding._batch", None)
call = make()
results = []
thread = threading.Thread(target=lambda: results.append(call(text)))
thread.start()
time.sleep(chance.random() * 0.02)
status = exit_status(call, expected)
thread.join()
assert status == 0, status
assert results == [expected]
print("no child hung")
"""

CALLS = [
    *("encode", "count", "batch", "offsets", "decode", "expression", "train"),
    *("tiktoken", "tiktoken_batch", "tokenizers", "tokenizers_batch"),
]


def run(program: str, *arguments: str) -> None:
    """Runs a program, and kills it with its children if it hangs."""
    command = [sys.executable, "-c", LAYERS + program, *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{arguments}: a forked child hangs")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 0, errors
    assert output == "no child hung\n"


@pytest.mark.parametrize(
    ("call", "module"),
    [
        ("encode", "fastlm.tokenizer"),
        ("count", "fastlm.tokenizer"),
        ("batch", "fastlm.tokenizer"),
        ("tiktoken", "fastlm.compat.tiktoken._tiktoken"),
        ("tokenizers", "fastlm.compat.tokenizers.pipeline"),
        ("transformers", "fastlm.compat.tokenizers.pipeline"),
    ],
)
def test_a_fork_while_another_thread_makes_the_tables(call, module):
    if call == "transformers":
        pytest.importorskip("transformers", reason="the layer for transformers needs it")
    run(STOPPED, call, module)


@pytest.mark.parametrize("call", CALLS)
def test_forks_at_any_moment_of_the_first_call_of_an_object(call):
    run(AT_RANDOM, call)


@pytest.mark.parametrize("call", ["batch", "expression", "train"])
@pytest.mark.parametrize("seed", range(3))
def test_a_fork_while_another_thread_imports(call, seed):
    run(FIRST, call, str(seed))
