"""Bytes to pretoken boundaries: the hand-written scanners of `scan/`, with run-time choice of instruction set.

A scanner is a C function `int64 scan(const uint8 *text, int64 n, int64 start, int64 *ends, int64 capacity)`; the
counter and the encode kernel are given its address and call it block by block, so text, boundaries and ids stay in
cache. Every scanner is linear in the text, allocates nothing, and refuses bytes that are not UTF-8.
"""
import numpy as np
from libc.stdint cimport int64_t, uint8_t, uintptr_t

cdef extern from "pretokenize/scan/scan.h" nogil:
    ctypedef int64_t (*fastlm_scan_fn)(const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity)
    int fastlm_best_isa()
    fastlm_scan_fn fastlm_scanner(int family, int isa)
    int64_t fastlm_safe_start(int family, const uint8_t *text, int64_t limit)

cdef tuple ISA_NAMES = ("portable", "avx2")
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
    """Instruction sets that this build and this processor have, slowest first."""
    return ISA_NAMES[: fastlm_best_isa() + 1]


def scanner_address(scanner: str, isa: str | None = None) -> int:
    """Address of a scanner's C function, for the best instruction set or the named one.

    Raises ValueError for a scanner or an instruction set that is not there.
    """
    if scanner not in SCANNERS:
        raise ValueError(f"no scanner {scanner!r}; there are {SCANNERS}")
    if isa is None:
        return <uintptr_t>fastlm_scanner(SCANNERS.index(scanner), fastlm_best_isa())
    if isa not in supported_isas():
        raise ValueError(f"no instruction set {isa!r} here; there are {supported_isas()}")
    return <uintptr_t>fastlm_scanner(SCANNERS.index(scanner), ISA_NAMES.index(isa))


def pretoken_ends(const uint8_t[::1] text not None, scanner: str, isa: str | None = None):  # IN (n,) UTF-8
    """End offset of each pretoken of `text`, an int64 array whose last entry is len(text).

    Raises ValueError naming the offset of the first byte that is not UTF-8.
    """
    cdef fastlm_scan_fn scan = <fastlm_scan_fn><uintptr_t>scanner_address(scanner, isa)
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


def safe_start(const uint8_t[::1] text not None, int64_t limit, scanner: str) -> int:  # IN (n,) UTF-8
    """Last position in (0, limit] where a pretoken starts whatever follows `text`, or 0 where none is known.

    `text` must begin at a pretoken start. Cutting there and scanning both sides gives the pretokens of the whole.
    The search ends at least four bytes before the end of `text`.
    """
    cdef int64_t found
    cdef int family
    if scanner not in SCANNERS:
        raise ValueError(f"no scanner {scanner!r}; there are {SCANNERS}")
    family = SCANNERS.index(scanner)
    limit = min(limit, <int64_t>text.shape[0] - 4)
    if limit <= 0:
        return 0
    with nogil:
        found = fastlm_safe_start(family, &text[0], limit)
    return found


class InvalidUTF8Error(ValueError):
    """Bytes that are not UTF-8; `offset` is where in the text, `reason` says what was found."""

    def __init__(self, offset: int, reason: str):
        super().__init__(offset, reason)
        self.offset, self.reason = offset, reason

    def __str__(self):
        return f"byte {self.offset} {self.reason}"


def invalid_utf8(text, int64_t offset) -> InvalidUTF8Error:
    """The error for what a text holds at an offset."""
    found = bytes(text[offset : offset + 4]).hex(" ")
    return InvalidUTF8Error(offset, f"is not well-formed UTF-8 (it begins {found})")
