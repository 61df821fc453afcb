"""The spans of tokens in a text. Those of tokenizers are compared in test_text_pipeline.py."""

import dataclasses
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm.encoding import offsets
from fastlm.encoding._token_spans import token_spans
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
    ids, spans = trained.encode_with_offsets(text, unit=unit, on_special=on_special)
    with (
        mock.patch.object(TextPipeline, "encodes_as_given", return_value=False),
        mock.patch.object(offsets, "_CHUNK_IDS", chunk),
    ):
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


@given(st.text("aé日😀 ", max_size=12), st.lists(st.integers(1, 5)), st.sets(st.sampled_from([*"a é".encode()])))
def test_spans_of_tokens_are_those_of_the_bytes_that_they_spell(text, lengths, dropped):
    encoded = text.encode()
    character_of = [k for k, char in enumerate(text) for _ in char.encode()]
    spelled = [at for at, byte in enumerate(encoded) if byte not in dropped]
    lengths = [*lengths, *[1] * len(spelled)]
    expected_bytes, expected_characters, done = [], [], 0
    while done < len(spelled):
        size = min(lengths[len(expected_bytes)], len(spelled) - done)
        first, last = spelled[done], spelled[done + size - 1]
        expected_bytes.append([first, last + 1])
        expected_characters.append([character_of[first], character_of[last] + 1])
        done += size
        lengths[len(expected_bytes) - 1] = size
    n = len(expected_bytes)
    is_spelled = np.array([byte not in dropped for byte in range(256)], np.uint8) if dropped else None
    in_bytes, in_characters = np.zeros((n, 2), np.int64), np.zeros((n, 2), np.int64)
    given_lengths = np.array([0, *lengths[:n]], np.int64)
    token_spans(encoded, np.arange(1, n + 1, dtype=np.uint32), given_lengths, is_spelled, in_bytes, in_characters)
    assert in_bytes.tolist() == expected_bytes
    assert in_characters.tolist() == expected_characters


@pytest.mark.parametrize("ids", [[2, 2], [2, 1], [2, 0], [2, 9], [2, 3]])
def test_tokens_that_are_not_in_the_text_are_refused(ids):
    spans = np.zeros((2, 2), np.int64)
    with pytest.raises(ValueError, match="token 1 of 2 is not in the text of 3 bytes"):
        token_spans(b"abc", np.array(ids, np.uint32), np.array([0, 3, 2, -1], np.int64), None, spans, None)
    token_spans(b"abc", np.array(ids[:1], np.uint32), np.array([0, 3, 2, -1], np.int64), None, None, spans[:1])
    assert spans.tolist() == [[0, 2], [0, 0]]


@pytest.mark.parametrize(("known", "rows", "columns"), [(255, 1, 2), (256, 2, 2), (256, 0, 2), (256, 1, 3)])
def test_arrays_that_do_not_fit_together_are_refused(known, rows, columns):
    ids, lengths, is_spelled = np.zeros(1, np.uint32), np.ones(1, np.int64), np.ones(known, np.uint8)
    spans, fitting = np.zeros((rows, columns), np.int64), np.zeros((1, 2), np.int64)
    for arrays in ((spans, fitting), (fitting, spans)):
        with pytest.raises(ValueError, match="do not fit together"):
            token_spans(b"a", ids, lengths, is_spelled, *arrays)


def test_nothing_and_nonsense(trained):
    ids, spans = trained.encode_with_offsets("")
    assert ids.shape == (0,)
    assert spans.shape == (0, 2)
    with pytest.raises(ValueError, match="unit must be 'character' or 'byte', got 'word'"):
        trained.encode_with_offsets("a", unit="word")
    with pytest.raises(TypeError, match="text must be str"):
        trained.encode_with_offsets(None)
