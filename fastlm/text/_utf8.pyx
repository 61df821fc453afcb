"""The UTF-8 of texts without a copy: CPython keeps the UTF-8 of a str once it was asked for.

Sizes are always the sizes of the memory itself. A subclass of str or bytes may define `__len__`, which is never called.
"""
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcpy

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef class Utf8:
    """The UTF-8 of a text, or a part of it, as a read-only buffer that shares the text's memory.

    Args:
        text: A str, whose lone surrogates become U+FFFD; or bytes, a contiguous memoryview of bytes, or Utf8, which are
            not checked.
        start: Where the part begins, in bytes.
        stop: Where the part ends, in bytes; by default where the text ends.

    Raises:
        TypeError: The text has another type.
        IndexError: Not 0 <= start <= stop <= number of bytes.
    """

    def __cinit__(self, text, Py_ssize_t start=0, stop=None):
        cdef Py_ssize_t n = 0, end
        if isinstance(text, memoryview):
            self.view = text  # keeps the memoryview from being released
            n = self.view.shape[0]
            self.start = &self.view[0] if n else <const uint8_t *>PyBytes_AS_STRING(b"")
        else:
            self.owner = utf8_of(text, &self.start, &n)
        end = n if stop is None else stop
        if not 0 <= start <= end <= n:
            raise IndexError(f"part must be within the {n} bytes of the text, got {start} to {end}")
        self.start += start
        self.n = end - start

    def part(self, Py_ssize_t start, Py_ssize_t stop):
        """Returns the bytes from `start` to `stop`. Raises IndexError as the constructor."""
        return Utf8(self, start, stop)

    def __len__(self) -> int:
        return self.n

    def __getbuffer__(self, Py_buffer *view, int flags):
        # CPython takes the memory of a read-only buffer, too, without const
        PyBuffer_FillInfo(view, self, <void *>self.start, self.n, True, flags)


def utf8_bytes(text):
    """Returns the UTF-8 of a text.

    Args:
        text: A str, whose lone surrogates become U+FFFD; or bytes or Utf8, which are not checked.

    Raises:
        TypeError: The text has another type.
    """
    if isinstance(text, bytes):
        return text
    if isinstance(text, Utf8):
        return (<Utf8>text).start[: (<Utf8>text).n]
    if not isinstance(text, str):
        raise TypeError(f"text must be str or bytes, got {type(text).__name__}")
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return _without_surrogates(str.encode(text, "utf-8", "surrogatepass"))


cdef bytes _without_surrogates(bytes encoded):
    """UTF-8 with encoded surrogates as UTF-8: pairs become their character, others U+FFFD."""
    cdef Py_ssize_t n = PyBytes_GET_SIZE(encoded), at = 0, written = 0, end
    cdef uint32_t code_point
    made = bytearray(n)
    cdef uint8_t *to = <uint8_t *>PyByteArray_AS_STRING(made)
    cdef const uint8_t *text = <const uint8_t *>PyBytes_AS_STRING(encoded), *found
    while at < n:
        # only surrogates and some Hangul begin with 0xED
        found = <const uint8_t *>memchr(text + at, 0xED, n - at)
        end = n if found == NULL else found - text
        memcpy(to + written, text + at, end - at)
        written += end - at
        at = end
        while at < n and text[at] == 0xED:
            if text[at + 1] < 0xA0:
                memcpy(to + written, text + at, 3)
                written, at = written + 3, at + 3
            elif text[at + 1] < 0xB0 and n - at >= 6 and text[at + 3] == 0xED and text[at + 4] >= 0xB0:
                code_point = 0x10000 + ((text[at + 1] & 0x0F) << 16 | (text[at + 2] & 0x3F) << 10
                                        | (text[at + 4] & 0x0F) << 6 | text[at + 5] & 0x3F)
                to[written] = 0xF0 | code_point >> 18
                to[written + 1] = 0x80 | code_point >> 12 & 0x3F
                to[written + 2] = 0x80 | code_point >> 6 & 0x3F
                to[written + 3] = 0x80 | code_point & 0x3F
                written, at = written + 4, at + 6
            else:
                memcpy(to + written, b"\xef\xbf\xbd", 3)
                written, at = written + 3, at + 3
    return PyBytes_FromStringAndSize(<const char *>to, written)


cdef object utf8_of(text, const uint8_t **start, Py_ssize_t *n):
    """Sets the address and the number of bytes of a text's UTF-8, and returns the object that owns this memory.

    Args:
        text: A str, whose lone surrogates become U+FFFD; or bytes or Utf8, which are not checked.

    Raises:
        TypeError: The text has another type.
    """
    if isinstance(text, str):
        try:
            start[0] = <const uint8_t *>PyUnicode_AsUTF8AndSize(text, n)
            return text
        except UnicodeEncodeError:
            pass
    if isinstance(text, Utf8):
        start[0], n[0] = (<Utf8>text).start, (<Utf8>text).n
        return text
    encoded = utf8_bytes(text)
    start[0], n[0] = <const uint8_t *>PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded)
    return encoded
