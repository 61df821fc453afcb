"""The synthetic corpora: their curves of distinct pretokens, and that profile and seed alone decide the bytes."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import regex

from benchmarks.synthetic import PROFILES, SCRIPTS, corpus, distinct_pretokens
from fastlm.bpe_training._count import PretokenCounter
from fastlm.pretokenize import _scan
from fastlm.pretokenize.patterns import find_pattern
from fastlm.pretokenize.text_splitter import TextSplitter, segments_between
from tests.children import LIMIT
from tests.reference import bpe

ROOT = Path(__file__).resolve().parents[2]
# the table of distinct pretokens measured on the real corpora
MEASURED = [
    ("tinystories", 1_420_000, 5_322),
    ("tinystories", 6_490_000, 8_719),
    ("openwebtext", 2_510_000, 39_052),
    ("openwebtext", 4_680_000, 55_723),
]


def text_of(name: str, size: int, **options: int) -> bytes:
    return b"".join(map(bytes, corpus(PROFILES[name], size, **options)))


def counted(text: bytes) -> PretokenCounter:
    counter = PretokenCounter()
    boundaries = TextSplitter(["<|endoftext|>"], find_pattern("gpt2")).boundaries(text)
    counter.count(text, segments_between(boundaries, len(text)), _scan.scanner("gpt2"))
    return counter


@pytest.mark.parametrize(("name", "size", "distinct"), MEASURED)
def test_as_many_distinct_pretokens_as_were_measured(name, size, distinct):
    assert len(counted(text_of(name, size))) == pytest.approx(distinct, rel=0.02)


@pytest.mark.parametrize("name", PROFILES)
def test_beyond_what_was_measured_growth_is_a_power_of_size(name):
    profile = PROFILES[name]
    (size, distinct), (last_size, last) = profile.growth[-2:]
    exponent = np.log(last / distinct) / np.log(last_size / size)
    assert exponent == pytest.approx({"tinystories": 0.325, "openwebtext": 0.57, "many-words": 0.782}[name], abs=0.005)
    expected = last * (30_000_000 / last_size) ** exponent
    assert distinct_pretokens(profile, 30_000_000) == pytest.approx(expected)
    text = text_of(name, 30_000_000)
    assert len(counted(text)) == pytest.approx(expected, rel=0.02)
    documents = text.count(b"<|endoftext|>")
    assert len(text) / documents == pytest.approx(profile.document_bytes, rel=0.1)


@pytest.mark.parametrize(("name", "bytes_each"), [("tinystories", 4.11), ("openwebtext", 4.83)])
def test_pretokens_are_as_long_as_real_ones_and_as_frequent(name, bytes_each):
    """The counts of the reference, which are those that the words were made for."""
    text = text_of(name, 1_000_000)
    expected = Counter(pretoken for part in text.decode().split("<|endoftext|>") for pretoken in bpe.pretokens(part))
    assert len(counted(text)) == len(expected)
    assert len(text) / expected.total() == pytest.approx(bytes_each, rel=0.07)
    share = expected.most_common(1)[0][1] / expected.total()
    assert 0.03 < share < 0.12
    rare = sum(count == 1 for count in expected.values()) / len(expected)
    assert 0.15 < rare < 0.6
    assert any(word.strip().isdigit() for word in expected)
    assert any(not word.isascii() and regex.match(r" ?\p{L}", word.decode()) for word in expected)


@pytest.mark.parametrize("name", PROFILES)
def test_the_same_bytes_whatever_the_block_and_the_size(name):
    expected = text_of(name, 3_000_000)
    assert text_of(name, 3_000_000, block_bytes=70_000) == expected
    assert text_of(name, 1_000_001, block_bytes=123_457) in [expected[: 1_000_001 - k] for k in range(4)]
    assert text_of(name, 1_000_000, seed=7) != expected[:1_000_000]
    for size in range(5000, 5040):
        cut = text_of(name, size)
        assert size - 3 <= len(cut) <= size
        assert expected.startswith(cut)
        cut.decode()


def test_letters_of_each_script():
    for letters in SCRIPTS:
        assert len(letters) == 26
        assert all(regex.fullmatch(r"\p{L}", letter) for letter in letters)


def test_the_command_writes_to_a_file_or_a_pipe(tmp_path):
    command = [sys.executable, "-m", "benchmarks.synthetic", "--profile", "tinystories", "--size", "0.5MB", "--out"]
    piped = subprocess.run([*command, "-"], cwd=ROOT, capture_output=True, check=True, timeout=LIMIT).stdout
    subprocess.run([*command, str(tmp_path / "text")], cwd=ROOT, check=True, timeout=LIMIT)
    assert hashlib.sha256(piped).digest() == hashlib.sha256((tmp_path / "text").read_bytes()).digest()
    assert piped == text_of("tinystories", 500_000)


def test_real_text_has_the_curves_too(data):
    """The figures of the table are those of real excerpts, as far as these reach."""
    for name, files in (
        ("tinystories", ("ts_v2_train_head.txt", "ts_v1_sampleA.txt")),
        ("openwebtext", ("owt_0-499.txt",)),
    ):
        folder = data / ("tinystories" if name == "tinystories" else "webtext")
        text = b"".join((folder / file).read_bytes() for file in files)
        for size in (500_000, len(text)):
            part = text[:size].decode("utf-8", "ignore").encode()
            assert len(counted(part)) == pytest.approx(distinct_pretokens(PROFILES[name], size), rel=0.06), (name, size)
