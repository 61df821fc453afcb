"""train_bpe: exactness, inputs, and what it says of bad ones."""

import contextlib
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlm
from fastlm.corpus import text_blocks
from fastlm.formats.gpt2 import spelled_vocab
from tests import texts
from tests.reference import bpe

SPECIAL = ["<|endoftext|>", "<|"]


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("tie_break", ["cs336", "hf"])
@pytest.mark.filterwarnings("ignore:the text has no more pairs")
@given(st.lists(texts.strings(60), max_size=6), st.integers(0, 60))
def test_learns_what_the_reference_learns(tie_break, num_threads, documents, extra):
    documents = [*documents, "at least this"]
    size = 256 + len(SPECIAL) + extra
    tokenizer = fastlm.train_bpe(documents, size, SPECIAL, tie_break=tie_break, num_threads=num_threads)
    vocab, merges = bpe.train(documents, size, SPECIAL, tie_break=tie_break)
    assert tokenizer.merges == merges
    assert tokenizer.vocab == vocab


@pytest.mark.parametrize("tie_break", ["cs336", "hf"])
def test_does_not_depend_on_threads_blocks_or_the_kind_of_input(tmp_path, monkeypatch, tie_break):
    text = "<|endoftext|>".join(texts.DOCUMENTS)
    path = tmp_path / "text"
    path.write_text(text, "utf-8", newline="")
    expected = fastlm.train_bpe([text], 1500, SPECIAL, tie_break=tie_break, num_threads=1)
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 5000)
    sources = [path, str(path), [path], iter([text]), [text.encode()], iter(texts.DOCUMENTS), texts.DOCUMENTS[::-1]]
    for threads in (1, 2, 4):
        for source in sources if threads == 1 else [path, texts.DOCUMENTS]:
            tokenizer = fastlm.train_bpe(source, 1500, SPECIAL, tie_break=tie_break, num_threads=threads)
            assert tokenizer.vocabulary.fingerprint == expected.vocabulary.fingerprint


def test_special_tokens_come_first_then_bytes_in_gpt2_order():
    tokenizer = fastlm.train_bpe(["abab<|endoftext|>ab"], 259, ["<|user|>", "<|endoftext|>"])
    assert tokenizer.special_tokens == {"<|user|>": 0, "<|endoftext|>": 1}
    assert [tokenizer.vocab[i] for i in (0, 1, 2, 3, 257, 258)] == [
        b"<|user|>",
        b"<|endoftext|>",
        b"!",
        b'"',
        b"\xad",
        b"ab",
    ]


@pytest.mark.parametrize("limits", [{"min_frequency": 30}, {"max_token_length": 4}])
def test_limits(limits):
    documents = texts.DOCUMENTS[:4]
    with pytest.warns(UserWarning, match="no more pairs") if "min_frequency" in limits else contextlib.nullcontext():
        tokenizer = fastlm.train_bpe(documents, 700, ["<s>"], **limits)
    words = Counter(word for text in documents for word in bpe.pretokens(text))
    assert tokenizer.merges == bpe.learn(words, 700 - 257, "cs336", **limits)
    for name in limits:
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            fastlm.train_bpe(documents, 700, **{name: 0})


def test_any_regular_expression_may_split_the_text():
    with pytest.warns(UserWarning, match="no scanner for the pattern"):
        tokenizer = fastlm.train_bpe(["ab12ab ab12"] * 3, 258, [], pattern=r"[a-z]+|[0-9]+")
    assert tokenizer.merges == bpe.train(["ab12ab ab12"] * 3, 258, [], pattern=r"[a-z]+|[0-9]+")[1]
    assert tokenizer.decode(tokenizer.encode("ab, 12!")) == "ab, 12!"


def test_cs336_reference(data):
    """The merges and the vocabulary that Stanford's CS336 publishes for its test corpus."""
    vectors = data / "vectors"
    expected = fastlm.Tokenizer.from_files(
        vectors / "cs336_train-bpe-reference-vocab.json",
        vectors / "cs336_train-bpe-reference-merges.txt",
        ["<|endoftext|>"],
    )
    tokenizer = fastlm.train_bpe(data / "english" / "cs336_corpus.en", 500)
    assert len(expected.merges) == 243
    assert tokenizer.merges == expected.merges
    assert tokenizer.vocab == expected.vocab


def test_hugging_face_learns_the_same():
    """Documents are given one by one and hold no special token: there the boundaries of both trainers agree."""
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers judges the merges")
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=3000, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    theirs.train_from_iterator(texts.DOCUMENTS, trainer)
    ours = fastlm.train_bpe(texts.DOCUMENTS, 3000, tie_break="hf")
    assert spelled_vocab(ours.vocabulary) == theirs.get_vocab()
    text = "\n".join(texts.DOCUMENTS)
    assert ours.encode(text) == theirs.encode(text).ids


def test_progress_covers_both_phases(tmp_path):
    path = tmp_path / "text"
    path.write_text("some words, some more words")
    seen = []
    fastlm.train_bpe(path, 262, progress=lambda *told: seen.append(told))
    assert ("count", path.stat().st_size, path.stat().st_size) in seen
    assert seen[-1] == ("merge", 5, 5)


def test_a_short_text_gives_a_smaller_vocabulary_and_a_warning():
    with pytest.warns(UserWarning, match="the vocabulary has 259 tokens, not 2000000000"):
        tokenizer = fastlm.train_bpe(["abc"], 2_000_000_000, ["<s>"])
    assert tokenizer.vocab_size == 259


@pytest.mark.parametrize("size", [0, -1, 255, 257])
def test_impossible_vocab_size(size):
    with pytest.raises(
        ValueError, match=f"vocab_size must be at least 258, for 256 bytes and 2 special tokens, got {size}"
    ):
        fastlm.train_bpe(["text"], size, SPECIAL)


@pytest.mark.parametrize("empty", [[], [""], ["", b""], ["<|endoftext|>"]])
def test_empty_input(empty):
    with pytest.raises(ValueError, match="the input holds no text"):
        fastlm.train_bpe(empty, 1000)


def test_unreadable_files(tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="the input holds no text"):
        fastlm.train_bpe(tmp_path / "empty", 1000)
    with pytest.raises(FileNotFoundError, match="missing"):
        fastlm.train_bpe(tmp_path / "missing", 1000)
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match="no file in"):
        fastlm.train_bpe(tmp_path / "folder", 1000)
    (tmp_path / "secret").write_text("text")
    (tmp_path / "secret").chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(PermissionError):
            fastlm.train_bpe(tmp_path / "secret", 1000)


def test_bytes_that_are_not_utf8_are_located(tmp_path, monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 64)
    path = tmp_path / "text"
    path.write_bytes(b"some words " * 100 + b"\xe4" + b" more words" * 100)
    for threads in (1, 2):
        with pytest.raises(ValueError, match=r"text: byte 1100 is not well-formed UTF-8 \(it begins e4 20"):
            fastlm.train_bpe(path, 1000, num_threads=threads)
    with pytest.raises(ValueError, match="document 2: byte 3 is not well-formed UTF-8"):
        fastlm.train_bpe([b"good", b"good too", b"bad\xff"], 1000)
    with pytest.warns(UserWarning, match="no scanner"), pytest.raises(ValueError, match="document 0: byte 3 is not"):
        fastlm.train_bpe([b"bad\xff"], 1000, pattern=r"\w+|\W+|unique")


def test_bad_arguments():
    with pytest.raises(TypeError, match="vocab_size must be an int"):
        fastlm.train_bpe(["text"], 1000.0)
    with pytest.raises(TypeError, match="special_tokens must be a list"):
        fastlm.train_bpe(["text"], 1000, "<s>")
    with pytest.raises(TypeError, match="special tokens must be str"):
        fastlm.train_bpe(["text"], 1000, [b"<s>"])
    for special in ([""], ["<s>", "<s>"], ["\ud800"]):
        with pytest.raises(ValueError, match="special token"):
            fastlm.train_bpe(["text"], 1000, special)
    with pytest.raises(ValueError, match="tie_break must be one of"):
        fastlm.train_bpe(["text"], 1000, tie_break="none")
    with pytest.raises(ValueError, match="num_threads must be at least 1"):
        fastlm.train_bpe(["text"], 1000, num_threads=0)
    with pytest.raises(ValueError, match="no pattern is named 'gpt9'"):
        fastlm.train_bpe(["text"], 1000, pattern="gpt9")
    with pytest.raises(ValueError, match="is not a regular expression"):
        fastlm.train_bpe(["text"], 1000, pattern="(")
    with pytest.raises(TypeError, match="pattern must be"):
        fastlm.train_bpe(["text"], 1000, pattern=7)
    with pytest.raises(TypeError, match="input must be"):
        fastlm.train_bpe(None, 1000)


def test_lone_surrogates_count_as_replacement_characters():
    tokenizer = fastlm.train_bpe(["\ud800\ud800"], 259, [])
    assert tokenizer.merges[0] == bpe.train(["\ufffd\ufffd"], 259)[1][0]


@settings(max_examples=5)
@given(st.just(Path(__file__)))
def test_a_file_and_its_text_give_the_same(path):
    assert fastlm.train_bpe(path, 400).merges == fastlm.train_bpe([path.read_text("utf-8")], 400).merges
