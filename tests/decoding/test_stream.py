"""Decoding ids as they come."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import texts


@given(texts.strings(30))
def test_what_a_stream_yields_is_the_whole(trained, text):
    ids = trained.encode(text)
    stream = trained.decode_stream()
    steps = [stream.step(token_id) for token_id in ids]
    assert "".join(steps) + stream.finish() == text
    assert not any("\ufffd" in step for step in steps) or "\ufffd" in text
    # it may be used anew
    assert "".join(map(stream.step, ids)) + stream.finish() == text


@given(st.lists(st.integers(0, 999), max_size=60))
def test_ids_that_are_no_text_decode_as_at_once(trained, ids):
    stream = trained.decode_stream()
    assert "".join(stream.step(token_id) for token_id in ids) + stream.finish() == trained.decode(ids)


def test_a_character_is_held_back_until_it_is_whole(trained):
    byte_ids = trained.vocabulary.byte_ids.tolist()
    stream = trained.decode_stream()
    assert [stream.step(byte_ids[byte]) for byte in "😀".encode()] == ["", "", "", "😀"]
    assert stream.step([byte_ids[0xF0], byte_ids[0x9F]]) == ""
    assert stream.finish() == "\ufffd"
    assert stream.finish() == ""


def test_several_ids_in_a_step(trained):
    rng = random.Random(1)
    text = texts.DOCUMENTS[-2]
    ids = trained.encode(text)
    stream = trained.decode_stream()
    found = ""
    while ids:
        k = rng.randrange(1, 9)
        found += stream.step(ids[:k])
        del ids[:k]
    assert found + stream.finish() == text


def test_unknown_ids(trained):
    stream = trained.decode_stream()
    with pytest.raises(KeyError, match="id 99999"):
        stream.step(99999)
    with pytest.raises(TypeError):
        stream.step("a")
    assert stream.step(trained.encode("a")) == "a"
