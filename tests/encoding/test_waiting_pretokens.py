"""Pretokens that the cache lacks wait for each other, and are merged in batches."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlm
from fastlm.kernels import bpe as kernel
from tests.reference import bpe


def word(rng: random.Random, longest: int) -> str:
    return "".join(rng.choices("abcdehilnoprstuv", k=rng.randint(1, longest)))


@settings(max_examples=max(1, settings.default.max_examples // 4))
@given(st.integers(0, 2**32), st.integers(1, 600), st.sampled_from([3, 9, 15, 40, 200]), st.booleans())
def test_ids_of_texts_with_many_new_words(trained, seed, n_words, longest, repeats):
    """More new words than a batch has, words that occur again while they wait, and longer words between them."""
    rng = random.Random(seed)
    words = [word(rng, longest) for _ in range(n_words)]
    if repeats:
        words = rng.choices(words[: 1 + n_words // 4], k=n_words)
    text = "".join(rng.choice([" ", " ", "\n", " 7é", "<|endoftext|>"]) + each for each in words)
    tokenizer = fastlm.Tokenizer.from_vocabulary(trained.vocabulary)
    expected = trained_ids(trained, text)
    assert tokenizer.encode(text) == expected
    assert tokenizer.encode(text) == expected
    again = fastlm.Tokenizer.from_vocabulary(trained.vocabulary)
    ids, offsets = again.encode_batch_flat([text[:100], text, text[100:]], 1)
    assert ids[offsets[1] : offsets[2]].tolist() == expected
    assert fastlm.Tokenizer.from_vocabulary(trained.vocabulary).count(text) == len(expected)
    assert fastlm.Tokenizer.from_vocabulary(trained.vocabulary).encode_upto(text, n_words) == expected[:n_words]


def trained_ids(tokenizer: fastlm.Tokenizer, text: str) -> list[int]:
    id_of = {token: token_id for token_id, token in tokenizer.vocab.items()}
    rank_of = {pair: rank for rank, pair in enumerate(tokenizer.merges)}
    ids: list[int] = []
    for part in bpe.split_special(text, tokenizer.special_tokens):
        if part in tokenizer.special_tokens:
            ids.append(tokenizer.special_tokens[part])
            continue
        for pretoken in bpe.pretokens(part):
            ids += [id_of[token] for token in bpe.merge(pretoken, rank_of)]
    return ids


@pytest.mark.parametrize("n", [kernel.BATCH - 1, kernel.BATCH, kernel.BATCH + 1, 3 * kernel.BATCH])
def test_a_batch_that_is_just_full(trained, n):
    rng = random.Random(n)
    text = " ".join(sorted({word(rng, 15) + str(k % 10) for k in range(n)}))
    tokenizer = fastlm.Tokenizer.from_vocabulary(trained.vocabulary)
    assert tokenizer.encode(text) == trained_ids(trained, text)


def test_an_error_in_a_block_leaves_the_encoder_usable(trained):
    """The pretokens before the error wait when it occurs, in a text that is not UTF-8 and in one with a long word."""
    tokenizer = fastlm.Tokenizer.from_vocabulary(trained.vocabulary)
    new = " ".join(f"xq{k}zv" for k in range(20))
    with pytest.raises(fastlm.InvalidUTF8Error, match="byte"):
        tokenizer.encode(new.encode() + b" \xff")
    long_word = "qz" * 40_000  # needs more scratch
    ids = tokenizer.encode(f"{new} {long_word} {new}")
    assert ids[: len(trained_ids(trained, new))] == trained_ids(trained, new)
    assert ids[-len(trained_ids(trained, f" {new}")) :] == trained_ids(trained, f" {new}")
    assert tokenizer.decode(ids) == f"{new} {long_word} {new}"


def test_a_full_cache_of_ids(trained):
    """Words of more than three ids, whose ids no longer fit into the cache's arena."""
    tokenizer = fastlm.Tokenizer.from_vocabulary(trained.vocabulary)
    rng = np.random.default_rng(5)
    letters = np.array(list("qxzjkvw"))
    texts = [" ".join("".join(rng.choice(letters, 14)) for _ in range(4000)) for _ in range(5)]
    for text in texts:
        assert tokenizer.encode(text) == fastlm.Tokenizer.from_vocabulary(trained.vocabulary).encode(text)
    sample = " ".join(texts[-1].split(" ")[:200])
    assert tokenizer.encode(sample) == trained_ids(trained, sample)
