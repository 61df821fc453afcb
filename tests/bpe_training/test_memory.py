"""Training under a limit of memory, on from a vocabulary, and in several sizes, against training as it ever was."""

import dataclasses
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from benchmarks.synthetic import PROFILES, corpus
from fastlm import cli, process_memory
from fastlm.bpe_training import memory_limit
from fastlm.bpe_training._count import PretokenCounter
from fastlm.bpe_training.base import grown_vocabulary
from fastlm.pretokenize.patterns import PATTERNS
from fastlm.vocabulary.from_ranks import vocabulary_from_ranks
from fastlm.vocabulary.vocabulary import Rules
from tests import texts
from tests.children import LIMIT
from tests.reference import bpe

ROOT = Path(__file__).resolve().parents[2]
SPECIAL = ["<|endoftext|>", "<|"]
PLENTY = 1 << 40


@pytest.fixture
def tiny_tables(monkeypatch):
    """Tables that are full after three words."""
    monkeypatch.setattr(memory_limit.MemoryLimit, "table", lambda self: PretokenCounter(capacity=3, long_bytes=20))


@pytest.mark.filterwarnings("ignore:the text has no more pairs")
@given(
    st.lists(texts.strings(60), max_size=6),
    st.integers(0, 60),
    st.sampled_from(["cs336", "hf"]),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 4),
    st.integers(1, 12) | st.none(),
    st.randoms(use_true_random=False),
)
def test_spilled_counts_give_the_merges_of_the_reference(
    documents, extra, tie_break, threads, least, longest, order: random.Random
):
    documents = [*documents, "at least this"]
    size = 256 + len(SPECIAL) + extra
    words = bpe.Counter(
        word
        for text in documents
        for span in bpe.split_special(text, SPECIAL)
        if span not in SPECIAL
        for word in bpe.pretokens(span)
    )
    expected = bpe.learn(words, extra, tie_break, least, longest)
    order.shuffle(documents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_limit.MemoryLimit, "table", lambda self: PretokenCounter(capacity=3, long_bytes=20))
        tokenizer = fastlm.train_bpe(
            documents,
            size,
            SPECIAL,
            tie_break=tie_break,
            num_threads=threads,
            max_memory=PLENTY,
            min_frequency=least,
            max_token_length=longest,
        )
    assert tokenizer.merges == expected


@pytest.mark.usefixtures("tiny_tables")
def test_any_regular_expression_may_split_the_text():
    documents = ["ab12ab ab12, x" * 3, "yz" * 20, "ab"]
    with pytest.warns(UserWarning, match="no scanner for the pattern"):
        tokenizer = fastlm.train_bpe(documents, 262, [], pattern=r"[a-z]+|[0-9]+|,+", max_memory=PLENTY)
    assert tokenizer.merges == bpe.train(documents, 262, [], pattern=r"[a-z]+|[0-9]+|,+")[1]


def test_the_order_of_files_and_threads_does_not_matter(tmp_path):
    paths = []
    for number, text in enumerate(corpus(PROFILES["openwebtext"], 3_000_000, block_bytes=700_000)):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(bytes(text))
    expected = fastlm.train_bpe(paths, 2000, num_threads=1).vocabulary.fingerprint
    for threads in (1, 2, 4):
        random.Random(threads).shuffle(paths)
        tokenizer = fastlm.train_bpe(paths, 2000, num_threads=threads, max_memory=PLENTY)
        assert tokenizer.vocabulary.fingerprint == expected


MEASURED = """
import sys
import fastlm
from fastlm.bpe_training import run_files
spilled, spill = [], run_files.RunFiles.spill
run_files.RunFiles.spill = lambda runs, table: (spilled.append(len(table)), spill(runs, table))
fastlm.train_bpe(["warm up"], 258, max_memory=1 << 40)
spilled.clear()
tokenizer = fastlm.train_bpe(sys.argv[1], 8000, num_threads=6, max_memory=int(sys.argv[2]))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(tokenizer.vocabulary.fingerprint, int(peak.split()[1]) * 1024, sum(size > 0 for size in spilled))
"""


@pytest.mark.skipif(not process_memory.STATM.exists(), reason="peak memory is told by Linux's /proc only")
def test_peak_memory_keeps_to_the_limit(tmp_path):
    """With tables that do not hold all words, so that they are spilled."""
    path = tmp_path / "text"
    with open(path, "wb") as out:
        out.writelines(corpus(PROFILES["openwebtext"], 60_000_000))
    limit = 100_000_000
    command = [sys.executable, "-c", MEASURED, str(path), str(limit)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=LIMIT).stdout
    fingerprint, peak, spilled = result.split()
    assert fingerprint == fastlm.train_bpe(path, 8000).vocabulary.fingerprint
    assert int(peak) <= 1.15 * limit
    assert int(spilled) > 6, "more than the tables that are left at the end"


def test_a_limit_that_does_not_do_is_refused_before_merging(monkeypatch):
    message = (
        r"max_memory must be at least [\d,]+ bytes for \d+ threads \(the process already holds .*\), got 1,000,000"
    )
    with pytest.raises(ValueError, match=message):
        fastlm.train_bpe(["text"], 300, max_memory=1_000_000)
    with pytest.raises(ValueError, match="max_memory must be at least 1, got 0"):
        fastlm.train_bpe(["text"], 300, max_memory=0)
    monkeypatch.setattr(memory_limit, "MERGE_BYTES_A_CELL", 1 << 40)
    with pytest.raises(ValueError, match="learning merges from the 1 distinct pretokens counted so far"):
        fastlm.train_bpe(["text"], 300, max_memory=PLENTY)


# --- on from a vocabulary ---


@pytest.mark.parametrize("tie_break", ["cs336", "hf"])
@pytest.mark.parametrize("max_memory", [None, PLENTY])
def test_from_its_own_smaller_vocabulary_training_goes_on_as_if_it_had_not_stopped(tie_break, max_memory):
    options = {"tie_break": tie_break, "max_memory": max_memory}
    expected = fastlm.train_bpe(texts.DOCUMENTS, 900, SPECIAL, **options)
    smaller = fastlm.train_bpe(texts.DOCUMENTS, 600, SPECIAL, **options)
    grown = fastlm.train_bpe(texts.DOCUMENTS, 900, base=smaller, **options)
    assert grown.vocabulary.fingerprint == expected.vocabulary.fingerprint
    assert fastlm.train_bpe(texts.DOCUMENTS, 600, base=smaller).vocabulary.fingerprint == smaller.vocabulary.fingerprint


def test_a_base_that_learned_from_other_text_keeps_its_ids():
    base = fastlm.train_bpe(texts.DOCUMENTS[:3], 500, ["<s>"], pattern="llama3")
    other = texts.DOCUMENTS[3:9]
    grown = fastlm.train_bpe(other, 700, base=base)
    assert {token_id: token for token_id, token in grown.vocab.items() if token_id < 500} == base.vocab
    assert grown.special_tokens == base.special_tokens
    assert grown.pattern == base.pattern
    words = bpe.Counter(word for text in other for word in bpe.pretokens(text, base.vocabulary.pattern.splits))
    assert grown.merges == bpe.learn(words, 700 - 257, "cs336", known=base.merges)
    text = other[0]
    assert grown.decode(grown.encode(text)) == text
    assert len(grown.encode(text)) < len(base.encode(text))


def test_gpt2_may_grow(gpt2):
    """Its special token has the last id, and new tokens come after it."""
    grown = fastlm.train_bpe(["zyxzyx qqqqzyx"] * 5, 50_260, base=gpt2)
    assert grown.special_tokens == {"<|endoftext|>": 50_256}
    vocab = grown.vocab
    assert {token_id: vocab[token_id] for token_id in range(50_257)} == gpt2.vocab
    assert grown.encode("the zyxzyx") == [*gpt2.encode("the"), *grown.encode(" zyxzyx")]
    assert len(grown.encode(" zyxzyx")) < len(gpt2.encode(" zyxzyx"))


def test_a_base_that_cannot_grow_is_refused(trained):
    with pytest.raises(ValueError, match="special_tokens cannot be given together with base"):
        fastlm.train_bpe(["text"], 2000, ["<s>"], base=trained)
    with pytest.raises(ValueError, match="pattern cannot be given together with base"):
        fastlm.train_bpe(["text"], 2000, pattern="gpt2", base=trained)
    with pytest.raises(ValueError, match="vocab_size must be at least 1000, for the tokens of the base, got 999"):
        fastlm.train_bpe(["text"], 999, base=trained)
    single = {i: bytes([i]) for i in range(256)}
    unmade = fastlm.Tokenizer(single | {256: b"ab"}, [])
    with pytest.raises(ValueError, match="no merge of the base makes token 256, b'ab'"):
        fastlm.train_bpe(["text"], 300, base=unmade)
    twice = fastlm.Tokenizer(
        single | {256: b"ab", 257: b"bc", 258: b"abc"}, [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c"), (b"a", b"bc")]
    )
    with pytest.raises(ValueError, match="several merges of the base make token 258, b'abc'"):
        fastlm.train_bpe(["text"], 300, base=twice)
    late = fastlm.Tokenizer(single | {256: b"ab", 257: b"abc"}, [(b"ab", b"c"), (b"a", b"b")])
    with pytest.raises(ValueError, match="merge 0 joins symbols"):
        fastlm.train_bpe(["text"], 300, base=late)
    plain = fastlm.Tokenizer(single, []).vocabulary
    for rules in (Rules(normalization="NFC"), Rules(add_prefix_space=True)):
        ruled = fastlm.Tokenizer.from_vocabulary(dataclasses.replace(plain, rules=rules))
        with pytest.raises(
            ValueError, match="a base that normalizes text, changes it or adds a prefix space cannot be trained"
        ):
            fastlm.train_bpe(["text"], 300, base=ruled)
    lacking = vocabulary_from_ranks({bytes([i]): i for i in range(255)}, {}, PATTERNS["gpt2"])
    with pytest.raises(ValueError, match="a base must have tokens for all 256 bytes"):
        fastlm.train_bpe(["text"], 300, base=fastlm.Tokenizer.from_vocabulary(lacking))


def test_a_merge_that_makes_a_token_that_is_there():
    """The merges that training learns never do; merges of a damaged checkpoint might."""
    base = fastlm.Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")]).vocabulary
    a, b, ab = 97, 98, 256
    grown = grown_vocabulary(base, np.array([a, ab], np.int32), np.array([b, b], np.int32))
    assert grown.bytes_of(257) == b"abb"
    with pytest.raises(ValueError, match="a new merge makes b'ab', which is already token 256"):
        grown_vocabulary(base, np.array([a, a], np.int32), np.array([b, b], np.int32))
    left, right = np.array([a, ab, 257, ab], np.int32), np.array([b, ab, a, ab], np.int32)
    with pytest.raises(ValueError, match="a new merge makes b'abab', which is already token 257"):
        grown_vocabulary(base, left, right)


# --- several sizes ---


@pytest.mark.parametrize("size", [258, 259, 300, 999, 1000])
def test_a_truncated_tokenizer_is_the_one_of_that_size(trained, size):
    expected = fastlm.train_bpe(texts.DOCUMENTS, size, ["<|endoftext|>", "<|user|>"])
    assert trained.truncated(size).vocabulary.fingerprint == expected.vocabulary.fingerprint


def test_what_cannot_be_truncated(trained, gpt2):
    for size in (257, 1001, -1):
        with pytest.raises(ValueError, match=f"vocab_size must be from 258 to 1000, got {size}"):
            trained.truncated(size)
    with pytest.raises(ValueError, match=r"token 50256, b'<\|endoftext\|>', is not made by one of the last 257 merges"):
        gpt2.truncated(50_000)


def test_the_command_saves_several_sizes_and_goes_on_from_one(tmp_path, capsys):
    path = tmp_path / "text"
    path.write_text("\n".join(texts.DOCUMENTS), "utf-8")
    args = ["train-tokenizer", str(path), "--out", str(tmp_path / "out")]
    assert cli.main([*args, "--vocab-size", "400", "600"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"400 tokens in {tmp_path / 'out' / '400'}"
    sizes = {size: fastlm.load(tmp_path / "out" / str(size)) for size in (400, 600)}
    for size, tokenizer in sizes.items():
        assert tokenizer.vocabulary.fingerprint == fastlm.train_bpe(path, size).vocabulary.fingerprint
    args = ["train-tokenizer", str(path), "--out", str(tmp_path / "grown"), "--vocab-size", "600"]
    assert cli.main([*args, "--base", str(tmp_path / "out" / "400")]) == 0
    assert fastlm.load(tmp_path / "grown").vocabulary.fingerprint == sizes[600].vocabulary.fingerprint
    assert cli.main([*args, "--max-memory", "much"]) == 1
    assert "--max-memory is 'much'; expected a size" in capsys.readouterr().err


def test_symbols_are_in_the_order_of_ids():
    tokenizer = fastlm.train_bpe(["ab" * 3 + " ba"], 260, [], tie_break="hf")
    assert np.array_equal(np.argsort(tokenizer.vocabulary.byte_ids), bpe.BYTE_ORDER)
