"""The UTF-8 of texts where it lies, whatever a subclass says of its length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.text._utf8 import Utf8, utf8_bytes


class Bytes(bytes):
    def __len__(self):
        return 1 << 40


class Str(str):
    __slots__ = ()

    def __len__(self):
        return 1 << 40


@given(st.text(st.characters()) | st.text("a\ud800\udbff\udc00\udfff\ud7ff\ue000\ufeff\U0001f600"))
def test_a_str_with_lone_surrogates_as_replacement_characters(text):
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    assert utf8_bytes(text) == bytes(Utf8(text)) == expected


@pytest.mark.parametrize("text", ["aé", "a\ud800", b"a\xff", memoryview(b"abc"), memoryview(b"")])
def test_parts(text):
    whole = Utf8(text)
    content = bytes(whole)
    assert len(whole) == len(content)
    for start in range(len(content) + 1):
        for stop in range(start, len(content) + 1):
            part = whole.part(start, stop)
            assert utf8_bytes(part) == content[start:stop]
            assert bytes(part.part(0, stop - start)) == content[start:stop]
    for start, stop in ((-1, 0), (1, 0), (0, len(content) + 1)):
        with pytest.raises(IndexError, match="part must be within the"):
            whole.part(start, stop)


def test_a_length_that_lies_is_not_asked_for():
    for text in (Bytes(b"abc"), Str("abc")):
        assert len(Utf8(text)) == 3
        assert bytes(Utf8(text)) == utf8_bytes(Utf8(text)) == b"abc"


def test_memory_is_kept_while_it_is_used():
    memory = bytearray(b"abc")
    view = memoryview(memory)
    part = Utf8(view).part(1, 3)
    with pytest.raises(BufferError):
        view.release()
    with pytest.raises(BufferError):
        memory.extend(b"d")
    assert bytes(part) == b"bc"


def test_wrong_types():
    for text in (None, 5, bytearray(b"a"), ["a"]):
        with pytest.raises(TypeError, match="text must be str or bytes, got"):
            Utf8(text)
        with pytest.raises(TypeError, match="text must be str or bytes, got"):
            utf8_bytes(text)
    with pytest.raises(TypeError):
        Utf8.__new__(Utf8)
