"""The tokens of the token table: their bytes are encoded to themselves, proven without merging."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm.encoding._tables import EncodeTables
from fastlm.encoding.build import encoder_of
from fastlm.kernels.merge import merge_kernel
from fastlm.vocabulary.vocabulary import Vocabulary
from tests.reference import bpe


def unproven(vocabulary: Vocabulary) -> list[bytes]:
    """The tokens that the token table of a vocabulary that follows its merges lacks."""
    tokens = EncodeTables(vocabulary, merge_kernel(), np.empty(0, np.int64)).tokens
    return [token for token in vocabulary.tokens.values() if tokens.find(token) < 0]


@st.composite
def vocabularies(draw) -> fastlm.Tokenizer:
    """Merges in any order, also such that no training learns: tokens before their parts, several merges of a token."""
    tokens, merges = [b"a", b"b"], []
    for _ in range(draw(st.integers(1, 14))):
        left, right = (draw(st.sampled_from(tokens)) for _ in range(2))
        if (left, right) in merges or len(left + right) > 12:
            continue
        merges.append((left, right))
        if left + right not in tokens:
            tokens.append(left + right)
    if draw(st.booleans()):
        merges = draw(st.permutations(merges))
    spelled = [bytes([byte]) for byte in range(256)] + [token for token in tokens if len(token) > 1]
    return fastlm.Tokenizer(dict(enumerate(spelled)), merges)


def tokens_of_letters(tokenizer: fastlm.Tokenizer) -> list[bytes]:
    return [token for token in tokenizer.vocab.values() if token.isalpha() and token.isascii()]


@given(vocabularies())
def test_every_token_is_encoded_as_merging_its_bytes_does(tokenizer):
    id_of = {token: token_id for token_id, token in tokenizer.vocab.items()}
    rank_of = {pair: rank for rank, pair in enumerate(tokenizer.merges)}
    encoder = encoder_of(tokenizer.vocabulary)
    for token in tokens_of_letters(tokenizer):
        assert encoder.encode(token) == [id_of[part] for part in bpe.merge(token, rank_of)]


def test_the_tokens_of_trained_vocabularies_are_all_proven(trained):
    assert unproven(trained.vocabulary) == [token.encode() for token in trained.special_tokens]


@pytest.mark.parametrize("name", ["r50k_base", "cl100k_base", "o200k_base"])
def test_all_tokens_of_published_vocabularies_are_proven(data, name):
    vocabulary = fastlm.load(data / "vectors" / f"{name}.tiktoken").vocabulary
    special = {token.encode() for token in vocabulary.special_tokens}
    assert set(unproven(vocabulary)) == special


def test_a_pair_that_merges_too_early_is_seen():
    # "aab" from "aa" and "b" would need that "ab" comes later
    tokens = dict(enumerate([bytes([byte]) for byte in range(256)] + [b"ab", b"aa", b"aab"]))
    tokenizer = fastlm.Tokenizer(tokens, [(b"a", b"b"), (b"a", b"a"), (b"aa", b"b")])
    assert unproven(tokenizer.vocabulary) == [b"aab"]
    assert tokenizer.encode("aab") == [ord("a"), 256]


def test_of_equal_pairs_the_leftmost_merges_first():
    tokens = dict(enumerate([bytes([byte]) for byte in range(256)] + [b"aa", b"aaa", b"aaaa"]))
    left = fastlm.Tokenizer(tokens, [(b"a", b"a"), (b"aa", b"a"), (b"aa", b"aa")])
    assert unproven(left.vocabulary) == []
    assert left.encode("aaa") == [257]
    assert left.encode("aaaa") == [258]
    right = fastlm.Tokenizer(tokens, [(b"a", b"a"), (b"a", b"aa"), (b"aa", b"aa")])
    assert unproven(right.vocabulary) == [b"aaa"]
    assert right.encode("aaa") == [256, ord("a")]
