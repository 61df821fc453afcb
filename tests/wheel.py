"""Checks an installed fastlm, with nothing but Python, NumPy and fastlm: `python tests/wheel.py`.

It runs where a wheel was just installed, on every system, so it imports nothing of the other tests. The results are
compared with definitions of a few lines: merges are learned by counting everything again, and texts are encoded by
merging one pair after the other.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import itertools
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

import fastlm
from fastlm.kernels import _compiled
from fastlm.pretokenize import _scan

PACKAGE = Path(fastlm.__file__).resolve().parent
SOURCES = ("*.c", "*.cpp", "*.pyx", "*.pxd", "*.h", "*.hpp")
PIECES = [*"abcXYZ019 \t\r\n.,'’!-_/#<|>", "'s", "'ll", "'RE", "  ", "\n\n", "é", "ſ", "中", "한", "\u0301", "\u200d"]
PIECES += ["\u00a0", "\u3000", "½", "٣", "😀", "👩‍👩‍👧", "\ufeff", "\x00", "\U0010ffff", "word", "The", " quick"]


def texts(count: int, seed: int) -> list[str]:
    """Random strings of characters that patterns treat specially."""
    source = random.Random(seed)
    return ["".join(source.choices(PIECES, k=source.randrange(60))) for _ in range(count)]


def splits(text: str, scanner: str, isa: str | None = None) -> list[bytes]:
    utf8 = text.encode()
    ends = _scan.pretoken_ends(np.frombuffer(utf8, np.uint8), scanner, isa).tolist()
    assert ends == sorted(set(ends))
    assert (ends or [0])[-1] == len(utf8)
    return [utf8[start:end] for start, end in itertools.pairwise([0, *ends])]


def merged(word: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    """A word in which a pair of tokens has become one, from left to right."""
    found: list[bytes] = []
    for token in word:
        if found and (found[-1], token) == pair:
            found[-1] = b"".join(pair)
            found.append(b"")  # ends the pair: its token takes no part in another one
        else:
            found.append(token)
    return [token for token in found if token]


def learned(words: Counter[bytes], count: int) -> list[tuple[bytes, bytes]]:
    """The merges of words with counts: each time the most frequent pair, and of several the greatest."""
    split = {word: [bytes([byte]) for byte in word] for word in words}
    merges: list[tuple[bytes, bytes]] = []
    while len(merges) < count:
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, tokens in split.items():
            for pair in itertools.pairwise(tokens):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        split = {word: merged(tokens, best) for word, tokens in split.items()}
    return merges


def encoded(word: bytes, ranks: dict[tuple[bytes, bytes], int]) -> list[bytes]:
    """The tokens of a pretoken: the pair of the lowest rank is merged, until none is left."""
    tokens = [bytes([byte]) for byte in word]
    while pairs := [pair for pair in itertools.pairwise(tokens) if pair in ranks]:
        tokens = merged(tokens, min(pairs, key=ranks.__getitem__))
    return tokens


def in_clone() -> bool:
    """Whether the package is a clone's, whose metadata may be of an earlier commit."""
    return (PACKAGE.parent / "pyproject.toml").exists()


def check_versions() -> None:
    """The version is the same in the package, in its metadata and on the command line."""
    shown = subprocess.run([sys.executable, "-m", "fastlm", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"fastlm {fastlm.__version__}\n", shown.stdout
    assert importlib.metadata.version("fastlm") == fastlm.__version__
    if not in_clone():
        assert importlib.metadata.metadata("fastlm")["License-Expression"] == "MIT"


def check_files() -> None:
    """The wheel has extension modules, stubs and the files of the page, and no sources of C."""
    if in_clone():
        return
    sources = [path.name for pattern in SOURCES for path in PACKAGE.rglob(pattern)]
    assert not sources, f"the wheel has sources: {sources}"
    assert (PACKAGE / "py.typed").exists()
    for name in ("view/page.html", "report/declaration.json", "recipes/builtin/embedded.toml"):
        assert (PACKAGE / name).exists(), name
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    built = [path.name.partition(".")[0] for path in PACKAGE.rglob("*") if path.name.endswith(suffixes)]
    # Cython's own code has no stub
    stubs = ["_cython_utility", *(path.stem for path in PACKAGE.rglob("_*.pyi"))]
    assert sorted(built) == sorted(stubs), (built, stubs)


def check_modules() -> None:
    """Every module of the tokenizer side can be imported, without a compiler, and without taking the GIL back."""
    optional = ("model", "training", "generation", "cs336", "recipes", "report", "compat.transformers", "kernels.bpe")
    optional += ("kernels.decode_lm", "testing", "demo.model", "commands", "files.hub", "__main__", "cluster", "view")
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith(optional):
            importlib.import_module(f"fastlm.{name}".removesuffix(".__init__"))
    assert not {"numba", "llvmlite"}.intersection(sys.modules)
    if is_enabled := getattr(sys, "_is_gil_enabled", None):
        free_threaded = "free-threading" in sys.version
        assert is_enabled() is not free_threaded, "an import has taken the GIL back"


def check_scanners() -> None:
    """Each scanner splits the same with every instruction set of this processor."""
    for scanner in _scan.SCANNERS:
        for text in texts(500, 1):
            portable = splits(text, scanner, "portable")
            assert all(splits(text, scanner, isa) == portable for isa in _scan.supported_isas()), (scanner, text)


def check_merges() -> None:
    """Training learns the merges of the definition; encoding gives its tokens; decoding gives the text back."""
    documents = [topics[name] for name in sorted(topics)[:2]]
    tokenizer = fastlm.train_bpe(documents, 256 + 200, [])
    words = Counter(word for text in documents for word in splits(text, "gpt2"))
    merges = learned(words, 200)
    assert tokenizer.merges == merges
    vocabulary = {token: token_id for token_id, token in tokenizer.vocab.items()}
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    long = ["ab" * 3000, "the" * 500, "x" * 70]
    for text in [*texts(300, 2), *documents, *long]:
        expected = [vocabulary[token] for word in splits(text, "gpt2") for token in encoded(word, ranks)]
        assert tokenizer.encode(text) == expected, text
        assert tokenizer.encode_to_numpy(text).tolist() == expected
        assert tokenizer.decode(expected) == text


def check_kernels() -> None:
    """The kernel of each instruction set is another function of the same object."""
    isas = _compiled.supported_isas()
    assert isas, "no kernel runs on this processor"
    addresses = {address for isa in isas for address in _compiled.kernel_addresses(isa).values()}
    assert len(addresses) == 2 * len(isas)


def check_files_of_tokenizers() -> None:
    """A saved tokenizer is read back as the same."""
    tokenizer = fastlm.train_bpe([topics[min(topics)]], 300, ["<|endoftext|>"])
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(folder)
        tokenizer.save(folder)  # files that exist are replaced
        again = fastlm.load(folder)
        for text in texts(100, 3):
            assert again.encode(text) == tokenizer.encode(text)


def check_corpus() -> None:
    """A corpus becomes shards with the ids of its documents."""
    tokenizer = fastlm.train_bpe([topics[min(topics)]], 300, ["<|endoftext|>"])
    documents = [topics[name] for name in sorted(topics)[:20]]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus.txt")
        corpus.write_bytes("<|endoftext|>".join(documents).encode())
        fastlm.encode_corpus(tokenizer, corpus, Path(folder, "ids"), end_of_text="<|endoftext|>", num_threads=2)
        ids = np.concatenate([np.load(path) for path in sorted(Path(folder, "ids").glob("*.npy"))]).tolist()
    expected = [one for text in documents for one in [*tokenizer.encode(text), 0]]
    assert ids in (expected, expected[:-1])


def check_threads() -> None:
    """Threads share one tokenizer, with each other's texts, and with a list that another thread changes."""
    tokenizer = fastlm.train_bpe([topics[min(topics)]], 400)
    some = texts(200, 4)
    expected = [tokenizer.encode(text) for text in some]
    faults: list[BaseException] = []
    changing = list(range(256)) * 2

    def run(seed: int) -> None:
        source = random.Random(seed)
        try:
            for k in source.choices(range(len(some)), k=400):
                assert tokenizer.encode(some[k]) == expected[k]
                assert tokenizer.decode(expected[k]) == some[k]
                if not k % 10:
                    assert tokenizer.encode_batch(some[:20], num_threads=2) == expected[:20]
                changing[source.randrange(512)] = source.randrange(256)
                if not k % 3:
                    changing.append(97)
                    del changing[0]
                tokenizer.decode_bytes(changing)
        except BaseException as fault:  # noqa: BLE001 - the main thread raises it
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, faults[0]


def check_demo() -> None:
    """The demo runs."""
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "fastlm", "demo"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "MB/s" in done.stdout


CHECKS: list[Callable[[], None]] = [
    check_versions, check_files, check_modules, check_scanners, check_merges, check_kernels, check_files_of_tokenizers,
    check_corpus, check_threads, check_demo,
]  # fmt: skip


def main() -> int:
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(
        f"fastlm {fastlm.__version__}, Python {sys.version.split()[0]}, GIL {'on' if gil else 'off'}, "
        f"scanner {_scan.supported_isas()[-1]}, kernel {(_compiled.supported_isas() or ['none'])[-1]}"
    )
    for check in CHECKS:
        check()
        print(f"  passed: {check.__doc__}", flush=True)
    print(f"{len(CHECKS)} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
