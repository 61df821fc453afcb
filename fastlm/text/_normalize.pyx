"""Unicode normalization forms, lowercase, and removal of marks, with the origin of each character; see normalize.h."""
import numpy as np

from libc.stdint cimport int64_t, int32_t, uint8_t, uint32_t

from fastlm.text._utf8 cimport utf8_of

cdef extern from "text/normalize.h" nogil:
    ctypedef struct fastlm_normalized_char:
        uint32_t code_point
        int32_t change
    ctypedef struct fastlm_normalization:
        const uint8_t *text
        int64_t n, position, characters
        uint8_t *out
        int64_t out_size, written
        int64_t *origins
        int64_t origins_size, origins_written
        fastlm_normalized_char *segment
        int64_t segment_size
        int form
    ctypedef enum fastlm_normalize_status:
        FASTLM_NORMALIZED
        FASTLM_NORMALIZE_OUT_FULL
        FASTLM_NORMALIZE_SEGMENT_FULL
    fastlm_normalize_status fastlm_find_change(fastlm_normalization *state)
    fastlm_normalize_status fastlm_normalize(fastlm_normalization *state)

# in the order of the enum in normalize.h
FORMS = ("NFC", "NFD", "NFKC", "NFKD", "lowercase", "strip-marks")
# characters of a segment; it grows for a longer run of combining marks
SEGMENT_CHARS = 256


cdef class _Normalization:
    """One normalization under way, and the memory that it writes to."""

    cdef fastlm_normalization state
    cdef object utf8
    cdef uint8_t[::1] out, segment
    cdef int64_t[::1] origins

    def __init__(self, utf8, str form):
        cdef Py_ssize_t n = 0
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
        self.utf8 = utf8_of(utf8, &self.state.text, &n)
        self.state.n, self.state.form = n, FORMS.index(form)
        self._widen_segment(SEGMENT_CHARS)

    cdef int _widen_segment(self, int64_t size) except -1:
        # two halves: the second is for sorting
        self.segment = np.empty(2 * size * sizeof(fastlm_normalized_char), np.uint8)
        self.state.segment, self.state.segment_size = <fastlm_normalized_char *>&self.segment[0], size
        return 0

    cdef int _widen_out(self, bint aligned) except -1:
        cdef int64_t size = self.state.out_size + self.state.out_size // 2 + 4 * self.state.segment_size
        out = np.empty(size, np.uint8)
        out[:self.state.written] = np.asarray(self.out)[:self.state.written]
        if aligned:
            origins = np.empty(size, np.int64)
            origins[:self.state.origins_written] = np.asarray(self.origins)[:self.state.origins_written]
            self.origins = origins
            self.state.origins, self.state.origins_size = &self.origins[0], size
        self.out = out
        self.state.out, self.state.out_size = &self.out[0], size
        return 0

    cdef int64_t first_change(self) except -1:
        """Byte offset of the first segment that changes, or the length of the text."""
        cdef fastlm_normalize_status status = FASTLM_NORMALIZE_SEGMENT_FULL
        while True:
            with nogil:
                status = fastlm_find_change(&self.state)
            if status == FASTLM_NORMALIZED:
                return self.state.position
            self._widen_segment(2 * self.state.segment_size)

    cdef int write(self, bint aligned) except -1:
        """Writes the result for the whole text."""
        cdef fastlm_normalize_status status
        self.state.position = self.state.characters = self.state.written = self.state.origins_written = 0
        self.state.out_size = self.state.n
        self.out = np.empty(0, np.uint8)
        self.origins = np.empty(0, np.int64)
        self._widen_out(aligned)
        while True:
            with nogil:
                status = fastlm_normalize(&self.state)
            if status == FASTLM_NORMALIZED:
                return 0
            if status == FASTLM_NORMALIZE_SEGMENT_FULL:
                self._widen_segment(2 * self.state.segment_size)
            else:
                self._widen_out(aligned)


def is_normalized(text, str form):
    """Whether a text is in a normalization form, in lowercase, or without marks. Reads up to the first change.

    Args:
        text: str, well-formed UTF-8 bytes, or Utf8.
        form: One of FORMS.
    """
    cdef _Normalization normalization = _Normalization(text, form)
    return normalization.first_change() == normalization.state.n


def normalized(text, str form):
    """A text in a normalization form, in lowercase, or without marks.

    Args:
        text: str, well-formed UTF-8 bytes, or Utf8.
        form: One of FORMS.

    Returns:
        The text itself if it is in the form already, else UTF-8 bytes.
    """
    cdef _Normalization normalization = _Normalization(text, form)
    if normalization.first_change() == normalization.state.n:
        return text
    normalization.write(False)
    return np.asarray(normalization.out)[:normalization.state.written].tobytes()


def normalized_with_origins(text, str form):
    """A text in a normalization form, and where each of its characters comes from.

    Args:
        text: str, well-formed UTF-8 bytes, or Utf8.
        form: One of FORMS.

    Returns:
        UTF-8 bytes, and int64 (characters of the result,): the index of a character of `text`.
    """
    cdef _Normalization normalization = _Normalization(text, form)
    normalization.write(True)
    return (np.asarray(normalization.out)[:normalization.state.written].tobytes(),
            np.asarray(normalization.origins)[:normalization.state.origins_written])
