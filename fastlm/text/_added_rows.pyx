"""The options of added tokens for neighbouring words and whitespace: see added_tokens.py."""
from libc.stdint cimport int64_t, uint8_t, uint32_t

cpdef enum:
    SINGLE_WORD = 1
    LSTRIP = 2
    RSTRIP = 4

cpdef enum:
    WORD = 1
    WHITESPACE = 2


def with_options(const uint8_t[::1] text not None, int64_t[:, ::1] rows not None, const uint8_t[::1] options not None,
                 const int64_t[::1] ids not None, recognised, const uint8_t[::1] kinds not None):
    """Applies the options of tokens that were found in a text.

    Args:
        text: Well-formed UTF-8.
        rows: int64 (k, 3): start, end and index of each token found, in order. It is overwritten.
        options: uint8 (n,): SINGLE_WORD, LSTRIP and RSTRIP of each token.
        ids: int64 (n,): the ID of each token.
        recognised: The set of the IDs of the tokens that count.
        kinds: uint8 (0x110000,): WORD and WHITESPACE of each code point.

    Returns:
        The number of tokens that count: the first rows are now their start, end and ID, in bytes. Rows may overlap.

    Raises:
        ValueError: A row is not inside the text, or names no token.
    """
    cdef int64_t k, start, end, index, kept = 0, done = 0, whitespace_end = 0, n = text.shape[0]
    cdef int wanted
    if ids.shape[0] != options.shape[0] or kinds.shape[0] != 0x110000 or (rows.shape[0] and rows.shape[1] != 3):
        raise ValueError("the arrays do not fit together")
    for k in range(rows.shape[0]):
        start, end, index = rows[k, 0], rows[k, 1], rows[k, 2]
        if not 0 <= start <= end <= n or not 0 <= index < ids.shape[0]:
            raise ValueError(f"row {k} is {start}, {end}, {index} for {n} bytes and {ids.shape[0]} tokens")
        if ids[index] not in recognised:
            continue
        wanted = options[index]
        if wanted & SINGLE_WORD and ((start and kind_before(text, kinds, start) & WORD)
                                     or (end < n and kind_at(text, kinds, end) & WORD)):
            continue
        if wanted & LSTRIP:
            while start > done and kind_before(text, kinds, start) & WHITESPACE:
                start = character_before(text, start)
            start = max(start, done)
        if wanted & RSTRIP:
            # whitespace that an earlier token reached to is not read again
            whitespace_end = max(whitespace_end, end)
            while whitespace_end < n and kind_at(text, kinds, whitespace_end) & WHITESPACE:
                whitespace_end = character_after(text, whitespace_end)
            end = whitespace_end
        if start >= end:
            continue
        rows[kept, 0], rows[kept, 1], rows[kept, 2] = start, end, ids[index]
        kept += 1
        done = end
    return kept


cdef int64_t character_before(const uint8_t[::1] text, int64_t at) except -1:
    """Where the character that ends at `at`, which is not 0, starts."""
    at -= 1
    while at > 0 and text[at] & 0xC0 == 0x80:
        at -= 1
    return at


cdef int64_t character_after(const uint8_t[::1] text, int64_t at) except -1:
    """Where the character at `at`, which is inside the text, ends."""
    at += 1
    while at < text.shape[0] and text[at] & 0xC0 == 0x80:
        at += 1
    return at


cdef int kind_before(const uint8_t[::1] text, const uint8_t[::1] kinds, int64_t at) except -1:
    """The kind of the character before `at`, which is not 0."""
    return kind_at(text, kinds, character_before(text, at))


cdef int kind_at(const uint8_t[::1] text, const uint8_t[::1] kinds, int64_t at) except -1:
    """The kind of the character at `at`, which is inside the text."""
    cdef uint32_t code_point = text[at]
    cdef int64_t k, stop = character_after(text, at)
    if stop - at > 1:
        code_point &= 0x7F >> (stop - at)
    for k in range(at + 1, stop):
        code_point = code_point << 6 | text[k] & 0x3F
    return kinds[code_point] if code_point < kinds.shape[0] else 0
