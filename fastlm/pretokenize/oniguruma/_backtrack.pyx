"""Finds all matches of a program of `program.py` in a text."""
import numpy as np
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free

cdef extern from "pretokenize/oniguruma/backtrack.h" nogil:
    ctypedef struct fastlm_instruction:
        int32_t op, a, b, c, d
    ctypedef struct fastlm_program:
        const fastlm_instruction *code
        const uint8_t *literals
        const uint8_t *bitmaps
        const int32_t *astral
        const int32_t *astral_start
        const int32_t *groups
        const int32_t *folds
        int32_t fold_count
        const int32_t *marks
        int32_t mark_count, register_count
        const uint8_t *first_bytes
        const uint8_t *clusters
    ctypedef struct fastlm_frame:
        pass
    ctypedef struct fastlm_matcher:
        const uint8_t *text
        int64_t size, limit, search_start, last_end, keep
        int64_t *registers
        fastlm_frame *frames
        int64_t frame_count, frame_capacity
        uint8_t *visited
        int64_t work, note_from, most_work
    int64_t FASTLM_NO_MATCH, FASTLM_NO_MEMORY, FASTLM_TOO_MUCH_WORK
    int64_t fastlm_search(const fastlm_program *p, fastlm_matcher *m)
    void fastlm_forget(const fastlm_program *p, fastlm_matcher *m, int64_t position)

# work: a step back, a branch, or a character of a span; 100 million of them take about a second
NOTE_AFTER, NOTE_AFTER_PER_BYTE = 1 << 16, 64
MOST_WORK, MOST_WORK_PER_BYTE = 100_000_000, 256



class WorkLimitError(Exception):
    """The matcher has given up. position: the byte offset where its search began."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


cdef class Program:
    """An expression, compiled. Immutable.

    Args:
        code: (instructions, 5) int32, the fields of fastlm_instruction.
        literals: the characters that the instructions name, in UTF-8.
        bitmaps: (sets, 8192) uint8, a bit for each code point below U+10000.
        astral: (ranges, 2) int32, the code points beyond.
        astral_start: (sets + 1,) int32, where the ranges of each set start.
        groups: (n,) int32, registers of the groups that references name.
        folds: (n, 2) int32, sorted: a code point and the one that it folds to.
        marks: (instructions,) int32, the mark of each branch point, else -1.
        registers: how many there are.
        first_bytes: (256,) uint8, with which bytes a match can start; None where a match may be empty.
        clusters: (0x110000,) uint8, the grapheme class of each code point; None where none is asked for.
    """

    cdef fastlm_program _program
    cdef const int32_t[:, ::1] _code
    cdef const uint8_t[::1] _literals
    cdef const uint8_t[:, ::1] _bitmaps
    cdef const int32_t[:, ::1] _astral
    cdef const int32_t[::1] _astral_start
    cdef const int32_t[::1] _groups
    cdef const int32_t[:, ::1] _folds
    cdef const int32_t[::1] _marks
    cdef const uint8_t[::1] _first_bytes
    cdef const uint8_t[::1] _clusters

    def __init__(self, code, literals, bitmaps, astral, astral_start, groups, folds, marks, registers, first_bytes, clusters):
        self._code, self._literals, self._bitmaps = code, literals, bitmaps
        self._astral, self._astral_start, self._groups, self._folds = astral, astral_start, groups, folds
        self._marks, self._first_bytes, self._clusters = marks, first_bytes, clusters
        cdef fastlm_program *p = &self._program
        p.code = <const fastlm_instruction *>&self._code[0, 0]
        p.literals = &self._literals[0] if self._literals.shape[0] else NULL
        p.bitmaps = &self._bitmaps[0, 0] if self._bitmaps.shape[0] else NULL
        p.astral = &self._astral[0, 0] if self._astral.shape[0] else NULL
        p.astral_start = &self._astral_start[0]
        p.groups = &self._groups[0] if self._groups.shape[0] else NULL
        p.folds = &self._folds[0, 0] if self._folds.shape[0] else NULL
        p.fold_count = <int32_t>self._folds.shape[0]
        p.marks = &self._marks[0]
        p.mark_count = max(marks) + 1
        p.register_count = registers
        p.first_bytes = &self._first_bytes[0] if first_bytes is not None else NULL
        p.clusters = &self._clusters[0] if clusters is not None else NULL

    def find_all(
        self, const uint8_t[::1] text not None, const int64_t[::1] ends not None, notes_from=None, counts=None
    ):
        """Start and end of each match in each piece of a text, an int64 array (matches, 2) of byte offsets.

        As in tokenizers, an empty match right after a match is none.

        Args:
            text: Well-formed UTF-8.
            ends: Where the pieces end, ascending; each piece is searched as if it were the whole text.
            notes_from: After how much work visits are noted; tests give 0.
            counts: int64 (pieces,), which gets the number of matches in each piece; or None.

        Raises:
            WorkLimitError: The expression needs too much work, or too much memory, for this text.
            MemoryError: There is no memory for what it needs.
        """
        cdef fastlm_matcher m
        cdef int64_t end = 0, start = 0, found = 0, piece = 0, full_blocks = 0, before = 0
        cdef const uint8_t *first = &text[0] if text.shape[0] else <const uint8_t *>PyBytes_AS_STRING(b"")
        cdef int64_t[::1] in_piece = np.empty(0, np.int64) if counts is None else counts
        rows = np.empty((_BLOCK_SIZE, 2), np.int64)
        cdef int64_t[:, ::1] block = rows
        for piece in range(ends.shape[0]):
            if not start <= ends[piece] <= text.shape[0]:
                raise ValueError("ends must ascend, and be in the text")
            start = ends[piece]
        start = 0
        if counts is not None and in_piece.shape[0] != ends.shape[0]:
            raise ValueError(f"counts must have {ends.shape[0]} entries, got {in_piece.shape[0]}")
        m.frame_count = m.frame_capacity = m.work = 0
        m.frames, m.visited = NULL, NULL
        m.most_work = MOST_WORK + MOST_WORK_PER_BYTE * text.shape[0]
        m.registers = <int64_t *>calloc(self._program.register_count + 1, sizeof(int64_t))
        if m.registers == NULL:
            raise MemoryError
        cdef int64_t note_after = NOTE_AFTER if notes_from is None else notes_from
        cdef int64_t note_after_per_byte = NOTE_AFTER_PER_BYTE if notes_from is None else 0
        parts = []
        try:
            with nogil:
                for piece in range(ends.shape[0]):
                    m.text, m.size = first + start, ends[piece] - start
                    m.search_start, m.last_end = 0, -1
                    m.note_from = m.work + note_after + note_after_per_byte * m.size
                    end = 0
                    while m.search_start <= m.size and end >= 0:
                        if found == _BLOCK_SIZE:
                            with gil:
                                parts.append(rows.copy())
                            found = 0
                            full_blocks += 1
                        end = _fill(&self._program, &m, start, &block[0, 0], &found)
                    if end == FASTLM_NO_MEMORY or end < FASTLM_NO_MATCH:
                        break
                    free(m.visited)
                    m.visited = NULL
                    start = ends[piece]
                    if in_piece.shape[0]:
                        in_piece[piece] = full_blocks * _BLOCK_SIZE + found - before
                        before = full_blocks * _BLOCK_SIZE + found
            if end == FASTLM_NO_MEMORY:
                raise MemoryError
            if end < FASTLM_NO_MATCH:
                raise WorkLimitError(start + m.search_start)
        finally:
            free(m.registers)
            free(m.frames)
            free(m.visited)
        parts.append(rows[:found].copy())
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


cdef enum:
    _BLOCK_SIZE = 4096


cdef int64_t _fill(
    const fastlm_program *program, fastlm_matcher *m, int64_t start, int64_t *block, int64_t *found
) noexcept nogil:
    """Searches until the block is full or there are no more matches; returns what fastlm_search returned last."""
    cdef int64_t end = 0
    while found[0] < _BLOCK_SIZE and m.search_start <= m.size:
        end = fastlm_search(program, m)
        if end < 0:
            break
        fastlm_forget(program, m, end)
        if end == m.keep and end == m.last_end:
            m.search_start = _after(m)
            continue
        block[2 * found[0]] = start + m.keep
        block[2 * found[0] + 1] = start + end
        found[0] += 1
        m.search_start = m.last_end = end
    return end


cdef int64_t _after(const fastlm_matcher *m) noexcept nogil:
    """The start of the character after m.search_start."""
    cdef int64_t at = m.search_start + 1
    while at < m.size and (m.text[at] & 0xC0) == 0x80:
        at += 1
    return at
