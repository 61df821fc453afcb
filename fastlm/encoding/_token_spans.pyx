"""The spans of tokens in the text that they spell."""
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum:
    # between these, the process looks for signals
    TOKENS_AT_ONCE = 1 << 20


def token_spans(const uint8_t[::1] text not None, const uint32_t[::1] ids not None,
                const int64_t[::1] lengths not None, const uint8_t[::1] is_spelled,
                int64_t[:, ::1] in_bytes, int64_t[:, ::1] in_characters):
    """Finds the spans of tokens in the text that they spell, one after the other.

    A token has the span of all characters that it has a byte of.

    Args:
        text: Well-formed UTF-8.
        ids: uint32 (n,).
        lengths: int64 (vocab_size,): the number of bytes of each token.
        is_spelled: uint8 (256,): 0 for the bytes that tokens leave out; or None if they leave out none.
        in_bytes: int64 (n, 2): receives the first byte of each token, and the one after its last byte; or None.
        in_characters: int64 (n, 2): receives the span of each token in characters; or None.

    Raises:
        ValueError: The arrays do not fit together, or the text ends before the tokens.
    """
    cdef int64_t n = ids.shape[0], size = text.shape[0], at = 0, characters = 0, k = 0
    cdef int64_t stop, left, first, first_character
    cdef bint spells_all = is_spelled is None, with_bytes = in_bytes is not None
    cdef bint with_characters = in_characters is not None
    if not (spells_all or is_spelled.shape[0] == 256) or not (
        (not with_bytes or (in_bytes.shape[0] == n and in_bytes.shape[1] == 2))
        and (not with_characters or (in_characters.shape[0] == n and in_characters.shape[1] == 2))
    ):
        raise ValueError("the arrays do not fit together")
    while k < n:
        PyErr_CheckSignals()
        stop = min(n, k + TOKENS_AT_ONCE)
        with nogil:
            while k < stop:
                left = lengths[ids[k]] if ids[k] < lengths.shape[0] else 0
                first = -1
                first_character = 0
                while left > 0 and at < size:
                    characters += text[at] & 0xC0 != 0x80
                    if spells_all or is_spelled[text[at]]:
                        if first < 0:
                            first, first_character = at, characters - 1
                        left -= 1
                    at += 1
                if left or first < 0:
                    break
                if with_bytes:
                    in_bytes[k, 0], in_bytes[k, 1] = first, at
                if with_characters:
                    in_characters[k, 0], in_characters[k, 1] = first_character, characters
                k += 1
        if k < stop:
            raise ValueError(f"token {k} of {n} is not in the text of {size} bytes")
