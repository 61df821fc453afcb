"""The UTF-8 of texts, where it lies: a str keeps its own once it was asked for."""
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef class Utf8:
    """The UTF-8 of a str, lone surrogates as U+FFFD, or of bytes or a memoryview as they are, and parts of it, without a
    copy.

    Raises TypeError for anything else.
    """

    def __init__(self, text):
        cdef const uint8_t[::1] view
        if isinstance(text, memoryview):
            view = text
            self.owner, self.n = text, view.shape[0]
            self.start = &view[0] if self.n else <const uint8_t *>PyBytes_AS_STRING(b"")
            return
        self.owner = with_utf8(text)
        self.start = address_of(self.owner, &self.n)

    def part(self, Py_ssize_t start, Py_ssize_t stop):
        """Bytes `start` to `stop` of it. Raises IndexError unless 0 <= start <= stop <= len."""
        if not 0 <= start <= stop <= self.n:
            raise IndexError(f"bytes {start} to {stop} of {self.n}")
        cdef Utf8 part = Utf8.__new__(Utf8)
        part.owner, part.start, part.n = self.owner, self.start + start, stop - start
        return part

    def __len__(self) -> int:
        return self.n

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, <void *>self.start, self.n, True, flags)


def utf8_bytes(text):
    """UTF-8 of a str, lone surrogates as U+FFFD; bytes as they are. Raises TypeError for anything else."""
    if isinstance(text, bytes):
        return text
    if isinstance(text, Utf8):
        return bytes(memoryview(text))
    if not isinstance(text, str):
        raise TypeError(f"text must be str, not {type(text).__name__}")
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return str.encode(text, "utf-16", "surrogatepass").decode("utf-16", "replace").encode()


cdef object with_utf8(text):
    """What holds the UTF-8 of a text: the str itself, which keeps it from then on, bytes, or Utf8."""
    cdef Py_ssize_t n
    if isinstance(text, str):
        try:
            PyUnicode_AsUTF8AndSize(text, &n)
            return text
        except UnicodeEncodeError:
            pass
    return text if isinstance(text, Utf8) else utf8_bytes(text)


cdef const uint8_t *address_of(object utf8, Py_ssize_t *n) except NULL:
    """Where that UTF-8 is, and how many bytes."""
    if isinstance(utf8, bytes):
        n[0] = PyBytes_GET_SIZE(utf8)
        return <const uint8_t *>PyBytes_AS_STRING(utf8)
    if isinstance(utf8, Utf8):
        n[0] = (<Utf8>utf8).n
        return (<Utf8>utf8).start
    return <const uint8_t *>PyUnicode_AsUTF8AndSize(utf8, n)
