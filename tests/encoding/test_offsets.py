"""The spans of tokens in a text. Those of tokenizers are compared in test_text_pipeline.py."""

import dataclasses
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm.encoding import offsets
from fastlm.encoding.text_pipeline import TextPipeline
from fastlm.vocabulary.vocabulary import AddedToken, Rules, vocabulary_from_tokens
from tests import texts


@given(st.lists(texts.strings(15) | st.sampled_from(["<|endoftext|>", "<|user|>"]), max_size=5).map("".join))
def test_bytes_of_tokens_are_those_of_the_text(trained, text):
    encoded = text.encode()
    ids, spans = trained.encode_with_offsets(text, unit="byte")
    assert ids.tolist() == trained.encode(text)
    at = 0
    for token_id, (start, end) in zip(ids.tolist(), spans.tolist(), strict=True):
        assert start == at
        assert encoded[start:end] == trained.vocab[token_id]
        at = end
    assert at == len(encoded)
    same_ids, in_characters = trained.encode_with_offsets(text)
    assert same_ids.tolist() == ids.tolist()
    for (start, end), (first, last) in zip(spans.tolist(), in_characters.tolist(), strict=True):
        assert first == len(encoded[:start].decode(errors="ignore"))
        assert len(text[:last].encode()) >= end
        assert last - first == 0 or len(text[: last - 1].encode()) < end


@given(
    st.lists(texts.strings(9) | st.sampled_from(["<|endoftext|>", "<|user|>", "\ud800"]), max_size=5).map("".join),
    st.sampled_from(["character", "byte"]),
    st.sampled_from(["token", "text"]),
    st.sampled_from([1, 2, 5]),
)
def test_spans_by_lengths_are_those_of_the_general_way(trained, text, unit, on_special, chunk):
    with mock.patch.object(offsets, "_CHUNK_IDS", chunk):
        ids, spans = trained.encode_with_offsets(text, unit=unit, on_special=on_special)
    with mock.patch.object(TextPipeline, "encodes_as_given", return_value=False):
        expected_ids, expected = trained.encode_with_offsets(text, unit=unit, on_special=on_special)
    assert ids.tolist() == expected_ids.tolist()
    assert spans.tolist() == expected.tolist()


def test_an_added_token_with_the_id_of_other_bytes_has_the_span_of_its_text():
    base = fastlm.Tokenizer({i: bytes([i]) for i in range(256)} | {256: b" a"}, [(b" ", b"a")]).vocabulary
    added = dataclasses.replace(base, added_tokens=(AddedToken("\u0120a", 256),))
    ids, spans = fastlm.Tokenizer.from_vocabulary(added).encode_with_offsets("x a\u0120ay")
    assert ids.tolist() == [ord("x"), 256, 256, ord("y")]
    assert spans.tolist() == [[0, 1], [1, 3], [3, 5], [5, 6]]


def test_a_character_of_several_tokens_belongs_to_each():
    tokenizer = fastlm.Tokenizer({i: bytes([i]) for i in range(256)}, [])
    ids, spans = tokenizer.encode_with_offsets("a😀")
    assert len(ids) == 5
    assert spans.tolist() == [[0, 1], *[[1, 2]] * 4]
    assert tokenizer.encode_with_offsets("a😀", unit="byte")[1].tolist() == [[k, k + 1] for k in range(5)]


def test_normalized_text_has_the_offsets_of_the_text_as_given():
    base = fastlm.Tokenizer({i: bytes([i]) for i in range(256)} | {256: "é".encode()}, [(b"\xc3", b"\xa9")])
    v = base.vocabulary
    tokenizer = fastlm.Tokenizer.from_vocabulary(
        vocabulary_from_tokens(v.tokens, v.merges, [], v.pattern, Rules(normalization="NFC"))
    )
    # the composed character stands for the first of the two
    assert tokenizer.encode_with_offsets("xe\u0301y")[1].tolist() == [[0, 1], [1, 2], [3, 4]]
    assert tokenizer.encode_with_offsets("xe\u0301y", unit="byte")[1].tolist() == [[0, 1], [1, 2], [4, 5]]
    assert tokenizer.encode_with_offsets("xéy", unit="byte")[1].tolist() == [[0, 1], [1, 3], [3, 4]]


def test_nothing_and_nonsense(trained):
    ids, spans = trained.encode_with_offsets("")
    assert ids.shape == (0,)
    assert spans.shape == (0, 2)
    with pytest.raises(ValueError, match="unit must be 'character' or 'byte', got 'word'"):
        trained.encode_with_offsets("a", unit="word")
    with pytest.raises(TypeError, match="text must be str"):
        trained.encode_with_offsets(None)
