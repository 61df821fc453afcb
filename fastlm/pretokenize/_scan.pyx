"""Bytes to pretoken boundaries: the hand-written scanners of `scan/`, with run-time choice of instruction set.

A scanner is a C function (`fastlm_scan_fn` in native/common.h). The pretoken counter and the encoder get it in a capsule
and call it block by block, so text, boundaries and token IDs stay in the cache. Every scanner takes linear time, allocates
nothing, and refuses bytes that are not UTF-8.
"""
import numpy as np
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uint8_t

from fastlm.native.common cimport FASTLM_SCANNER_CAPSULE, fastlm_scan_fn

cdef extern from "pretokenize/scan/scan.h" nogil:
    int fastlm_best_isa()
    fastlm_scan_fn fastlm_scanner(int family, int isa)
    int64_t fastlm_safe_start(int family, const uint8_t *text, int64_t limit)

cdef tuple ISA_NAMES = ("portable", "avx2", "avx512")
# in the order of the enum in scan.h
SCANNERS = (
    "gpt2", "gpt2-digits", "starcoder",
    "cl100k", "llama3", "qwen2", "qwen3.5", "nanochat",
    "o200k", "tekken", "kimi",
    "deepseek",
)
# ends written by one call of a scanner: 4,096 of 8 bytes stay in the first-level cache
BLOCK_ENDS = 4096


def supported_isas() -> tuple[str, ...]:
    """Returns the instruction sets that this build and this processor have, slowest first."""
    return ISA_NAMES[: fastlm_best_isa() + 1]


def scanner(name: str, isa: str | None = None):
    """Returns a scanner's C function in a capsule.

    Args:
        name: One of SCANNERS.
        isa: One of `supported_isas()`; the fastest of them by default.

    Raises:
        ValueError: The scanner or the instruction set does not exist.
    """
    return PyCapsule_New(<void *>_scanner(name, isa), FASTLM_SCANNER_CAPSULE, NULL)


cdef fastlm_scan_fn _scanner(name, isa) except NULL:
    if isa is None:
        return fastlm_scanner(_family(name), fastlm_best_isa())
    if isa not in supported_isas():
        raise ValueError(f"isa must be one of {supported_isas()}, got {isa!r}")
    return fastlm_scanner(_family(name), ISA_NAMES.index(isa))


cdef int _family(name) except -1:
    """Number of a scanner in the enum in scan.h."""
    if name not in SCANNERS:
        raise ValueError(f"scanner must be one of {SCANNERS}, got {name!r}")
    return SCANNERS.index(name)


def pretoken_ends(const uint8_t[::1] text not None, scanner: str, isa: str | None = None):
    """Returns the end of each pretoken of a text.

    Args:
        text: UTF-8, uint8 (n,).
        scanner: One of SCANNERS.
        isa: As for `scanner`.

    Returns:
        int64 (pretokens,): byte offsets. The last one is len(text).

    Raises:
        InvalidUTF8Error: The text is not UTF-8.
    """
    cdef fastlm_scan_fn scan = _scanner(scanner, isa)
    cdef int64_t n = text.shape[0], start = 0, written
    cdef int64_t[::1] block = np.empty(BLOCK_ENDS, np.int64)
    cdef int64_t capacity = block.shape[0]
    parts = []
    while start < n:
        with nogil:
            written = scan(&text[0], n, start, &block[0], capacity)
        if written < 0:
            raise invalid_utf8(text, block[0])
        parts.append(np.array(block[:written]))
        start = block[written - 1]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def pretoken_ends_in_pieces(const uint8_t[::1] text not None, const int64_t[::1] ends not None, scanner: str):
    """Returns the end of each pretoken of the pieces of a text, each of which is scanned as if it were a text.

    Args:
        text: UTF-8, uint8 (n,).
        ends: int64 (pieces,): the ends of the pieces, which are not empty; ascending up to n.
        scanner: One of SCANNERS.

    Returns:
        int64 (pretokens,): byte offsets. Every end of a piece is one of them.

    Raises:
        InvalidUTF8Error: The text is not UTF-8.
        ValueError: The ends do not ascend to n.
    """
    cdef fastlm_scan_fn scan = _scanner(scanner, None)
    cdef int64_t piece, first = 0, start, written, k
    cdef int64_t capacity = BLOCK_ENDS
    cdef int64_t[::1] block = np.empty(capacity, np.int64)
    parts = []
    collected = np.empty(max(capacity, 2 * ends.shape[0]), np.int64)
    cdef int64_t[::1] out = collected
    cdef int64_t total = 0
    for piece in range(ends.shape[0]):
        if not first < ends[piece] <= text.shape[0]:
            raise ValueError(f"ends must ascend to {text.shape[0]}, got {ends[piece]} after {first}")
        start = first
        while start < ends[piece]:
            written = scan(&text[first], ends[piece] - first, start - first, &block[0], capacity)
            if written < 0:
                raise invalid_utf8(text, first + block[0])
            if total + written > out.shape[0]:
                parts.append(collected[:total])
                collected = np.empty(max(2 * out.shape[0], capacity), np.int64)
                out, total = collected, 0
            for k in range(written):
                out[total + k] = first + block[k]
            total += written
            start = first + block[written - 1]
        first = ends[piece]
    if first != text.shape[0]:
        raise ValueError(f"ends must ascend to {text.shape[0]}, got {first}")
    return np.concatenate([*parts, collected[:total]]) if parts else collected[:total]


def safe_start(const uint8_t[::1] text not None, int64_t limit, scanner: str) -> int:
    """Returns the last offset in (0, limit] at which a pretoken starts whatever follows the text, or 0 if none is known.

    A text that is cut there has the same pretokens as the whole. At least 4 bytes of `text` follow the offset.

    Args:
        text: UTF-8, uint8 (n,), that starts at the start of a pretoken.
        limit: The largest offset that may be returned.
        scanner: One of SCANNERS.
    """
    cdef int64_t found
    cdef int family = _family(scanner)
    limit = min(limit, <int64_t>text.shape[0] - 4)
    if limit <= 0:
        return 0
    with nogil:
        found = fastlm_safe_start(family, &text[0], limit)
    return found


def check_utf8(bytes text not None) -> None:
    """Raises InvalidUTF8Error unless a text is UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise invalid_utf8(text, error.start) from None


class InvalidUTF8Error(ValueError):
    """Bytes that are not UTF-8.

    Attributes:
        offset: Byte offset in the text of the first such byte.
        reason: What was found there.
    """

    def __init__(self, offset: int, reason: str):
        super().__init__(offset, reason)
        self.offset, self.reason = offset, reason

    def __str__(self):
        return f"byte {self.offset} {self.reason}"


def invalid_utf8(text, int64_t offset) -> InvalidUTF8Error:
    """Returns the error for the bytes at an offset of a text."""
    found = bytes(text[offset : offset + 4]).hex(" ")
    return InvalidUTF8Error(offset, f"is not well-formed UTF-8 (it begins {found})")
