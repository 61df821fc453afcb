"""The loops of the steps: they split pieces at matches, and convert between code points, UTF-8 and bytes."""
import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t

cdef enum:
    REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS

# in the order of the enum
BEHAVIORS = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")


cdef struct Groups:
    # the ends of the pieces so far, and the last one
    int64_t *ends
    int64_t count, last
    # whether each character is kept; NULL if all are
    uint8_t *keep
    int behavior
    bint invert
    # the segment before, in the same piece: its end, and whether it is a match
    bint has_previous, previous
    int64_t pending


cdef inline void _end_piece(Groups *g, int64_t end) noexcept nogil:
    if end > g.last:
        g.ends[g.count] = g.last = end
        g.count += 1


cdef inline void _feed(Groups *g, int64_t start, int64_t end, bint is_match) noexcept nogil:
    """Adds the next segment of a piece."""
    cdef bint joins = False
    cdef int64_t k
    is_match ^= g.invert
    if g.behavior == REMOVED:
        if is_match:
            for k in range(start, end):
                g.keep[k] = 0
        else:
            # the end among the characters that are kept
            _end_piece(g, g.last + end - start)
        return
    if g.has_previous:
        if g.behavior == MERGED_WITH_PREVIOUS:
            joins = is_match and not g.previous
        elif g.behavior == MERGED_WITH_NEXT:
            joins = g.previous and not is_match
        elif g.behavior == CONTIGUOUS:
            joins = is_match == g.previous
        if not joins:
            _end_piece(g, g.pending)
    g.has_previous, g.previous, g.pending = True, is_match, end


cdef inline void _finish(Groups *g) noexcept nogil:
    """Ends a piece of the input."""
    if g.has_previous:
        _end_piece(g, g.pending)
    g.has_previous = False


cdef class _Split:
    """A split under way, and the memory that it writes to."""

    cdef Groups groups
    cdef object ends, keep
    cdef int64_t[::1] ends_view
    cdef uint8_t[::1] keep_view

    def __cinit__(self, int64_t n, int64_t most_ends, str behavior, bint invert):
        if behavior not in BEHAVIORS:
            raise ValueError(f"behavior must be one of {', '.join(BEHAVIORS)}, got {behavior!r}")
        self.groups.behavior, self.groups.invert = BEHAVIORS.index(behavior), invert
        self.groups.count = self.groups.last = 0
        self.groups.has_previous = self.groups.previous = False
        self.ends, self.keep = np.empty(most_ends + 1, np.int64), None
        self.ends_view = self.ends
        self.groups.ends, self.groups.keep = &self.ends_view[0], NULL
        if self.groups.behavior == REMOVED:
            self.keep = np.ones(n + 1, np.uint8)
            self.keep_view = self.keep
            self.groups.keep = &self.keep_view[0]

    cdef tuple result(self, int64_t n):
        """(ends, keep): int64 (pieces,), and bool (n,) or None if all characters are kept."""
        keep = None if self.keep is None else self.keep[:n].view(np.bool_)
        return self.ends[:self.groups.count], keep


cdef int _check_class(const uint8_t[::1] is_member) except -1:
    if is_member.shape[0] != 0x110000:
        raise ValueError(f"a class must have an entry for each of {0x110000} code points, got {is_member.shape[0]}")
    return 0


def split_chars(const uint32_t[::1] chars, const int64_t[::1] ends, const uint8_t[::1] is_member, str behavior,
                bint invert=False):
    """Splits pieces at the characters of a class, each of which is a match.

    Args:
        chars: uint32 (n,): the code points of the pieces.
        ends: int64 (pieces,): the end of each piece.
        is_member: uint8 (0x110000,): whether each code point is in the class.
        behavior: One of BEHAVIORS.
        invert: Whether the other characters count as the matches.

    Returns:
        int64: the ends of the new pieces, none of which is empty, among the characters that are kept.
        bool (n,): which characters are kept; or None if all are.
    """
    cdef int64_t n = chars.shape[0], piece, k, first, start = 0
    _check_class(is_member)
    cdef _Split split = _Split(n, n, behavior, invert)
    cdef Groups *g = &split.groups
    with nogil:
        for piece in range(ends.shape[0]):
            first = start
            for k in range(start, ends[piece]):
                if is_member[chars[k]]:
                    if first < k:
                        _feed(g, first, k, False)
                    _feed(g, k, k + 1, True)
                    first = k + 1
            if first < ends[piece]:
                _feed(g, first, ends[piece], False)
            _finish(g)
            start = ends[piece]
    return split.result(n)


def split_matches(const int64_t[::1] offsets, const int64_t[::1] ends, const int64_t[:, ::1] matches, counts,
                  str behavior, bint invert=False):
    """Splits pieces at matches.

    Args:
        offsets: int64 (n + 1,): where each character starts in the text, in bytes, and where the last one ends.
        ends: int64 (pieces,): the end of each piece, in characters.
        matches: int64 (matches, 2): start and end of each match in bytes, in order. A match may be empty.
        counts: int64 (pieces,): the number of matches in each piece.
        behavior: One of BEHAVIORS.
        invert: Whether the text between matches counts as the matches.

    Returns:
        As `split_chars`.
    """
    cdef int64_t n = offsets.shape[0] - 1, piece, match = 0, done = 0, place = 0, start, end, stop, total = 0
    cdef const int64_t[::1] of_piece = counts
    for piece in range(of_piece.shape[0]):
        total += of_piece[piece]
    if of_piece.shape[0] != ends.shape[0] or total != matches.shape[0]:
        raise ValueError(f"expected counts of {ends.shape[0]} pieces with {matches.shape[0]} matches")
    cdef _Split split = _Split(n, n, behavior, invert)
    cdef Groups *g = &split.groups
    with nogil:
        for piece in range(ends.shape[0]):
            stop = match + of_piece[piece]
            while match < stop:
                while place < n and offsets[place] < matches[match, 0]:
                    place += 1
                start = place
                while place < n and offsets[place] < matches[match, 1]:
                    place += 1
                end = place
                if done < start:
                    _feed(g, done, start, False)
                _feed(g, start, end, True)
                done = end
                match += 1
            if done < ends[piece]:
                _feed(g, done, ends[piece], False)
                done = ends[piece]
            _finish(g)
    return split.result(n)


def split_where_class_changes(const uint32_t[::1] chars, const int64_t[::1] ends, const uint8_t[::1] is_member):
    """Splits pieces between characters of a class and others.

    Returns:
        int64: the ends of the new pieces.
    """
    cdef int64_t piece, k, start = 0, count = 0
    _check_class(is_member)
    found = np.empty(chars.shape[0], np.int64)
    cdef int64_t[::1] out = found
    with nogil:
        for piece in range(ends.shape[0]):
            for k in range(start, ends[piece]):
                if k + 1 == ends[piece] or is_member[chars[k]] != is_member[chars[k + 1]]:
                    out[count] = k + 1
                    count += 1
            start = ends[piece]
    return found[:count]


def utf8_and_offsets(const uint32_t[::1] chars):
    """The UTF-8 of code points, without surrogates.

    Returns:
        The bytes.
        int64 (n + 1,): where each character starts in them, and where the last one ends.
    """
    cdef int64_t n = chars.shape[0], k, at = 0
    cdef uint32_t c
    offsets = np.empty(n + 1, np.int64)
    cdef int64_t[::1] places = offsets
    with nogil:
        for k in range(n):
            places[k] = at
            at += 1 + (chars[k] > 0x7F) + (chars[k] > 0x7FF) + (chars[k] > 0xFFFF)
        places[n] = at
    text = PyBytes_FromStringAndSize(NULL, at)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(text)
    with nogil:
        for k in range(n):
            c = chars[k]
            if c < 0x80:
                out[0] = <uint8_t>c
                out += 1
            elif c < 0x800:
                out[0], out[1] = <uint8_t>(0xC0 | c >> 6), <uint8_t>(0x80 | c & 0x3F)
                out += 2
            elif c < 0x10000:
                out[0], out[1] = <uint8_t>(0xE0 | c >> 12), <uint8_t>(0x80 | c >> 6 & 0x3F)
                out[2] = <uint8_t>(0x80 | c & 0x3F)
                out += 3
            else:
                out[0], out[1] = <uint8_t>(0xF0 | c >> 18), <uint8_t>(0x80 | c >> 12 & 0x3F)
                out[2], out[3] = <uint8_t>(0x80 | c >> 6 & 0x3F), <uint8_t>(0x80 | c & 0x3F)
                out += 4
    return text, offsets


def known_bytes(const uint32_t[::1] chars, const int64_t[::1] ends, const int16_t[::1] byte_of, known):
    """The bytes that characters spell, without those that spell no known byte.

    Args:
        chars: uint32 (n,): the code points of the pieces.
        ends: int64 (pieces,): the end of each piece.
        byte_of: int16 (m,): the byte that each code point below m spells, or -1. Others spell none.
        known: bool (256,): whether a byte is known; or None if all are.

    Returns:
        The bytes.
        int64 (pieces,): the end of each piece in the bytes.
        Whether all characters are kept.
    """
    cdef int64_t n = chars.shape[0], piece, k, start = 0, count = 0
    cdef int64_t m = byte_of.shape[0]
    cdef const uint8_t[::1] is_known = np.ones(256, np.uint8) if known is None else known.view(np.uint8)
    cdef int byte
    made = bytearray(n)
    cdef uint8_t[::1] out = made
    byte_ends = np.empty(ends.shape[0], np.int64)
    cdef int64_t[::1] places = byte_ends
    if is_known.shape[0] != 256:
        raise ValueError(f"known must have 256 entries, got {is_known.shape[0]}")
    with nogil:
        for piece in range(ends.shape[0]):
            for k in range(start, ends[piece]):
                byte = byte_of[chars[k]] if chars[k] < m else -1
                if byte >= 0 and is_known[byte]:
                    out[count] = <uint8_t>byte
                    count += 1
            start = ends[piece]
            places[piece] = count
    return bytes(made[:count] if count < n else made), byte_ends, count == n
