"""Checks that merges spell their tokens."""
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp


def first_misspelled(const uint8_t[::1] text not None, const int64_t[::1] offsets not None,
                     const uint32_t[::1] left not None, const uint32_t[::1] right not None,
                     const uint32_t[::1] new not None) -> int:
    """Returns the rank of the first merge that has other bytes than its two sides, or an empty side.

    Args:
        text: The bytes of all tokens, uint8.
        offsets: int64 (tokens + 1,): token k is text[offsets[k]:offsets[k + 1]]. They must ascend within the text.
        left: The left token of each merge, uint32 (merges,), which must be less than the number of tokens.
        right: The right token of each merge, uint32 (merges,).
        new: The token that each merge makes, uint32 (merges,).

    Returns:
        The rank, or -1 if there is none.
    """
    cdef int64_t rank, of_left, of_right
    for rank in range(new.shape[0]):
        of_left = offsets[<int64_t>left[rank] + 1] - offsets[left[rank]]
        of_right = offsets[<int64_t>right[rank] + 1] - offsets[right[rank]]
        if not of_left or not of_right or of_left + of_right != offsets[<int64_t>new[rank] + 1] - offsets[new[rank]]:
            return rank
        if memcmp(&text[offsets[new[rank]]], &text[offsets[left[rank]]], of_left) or memcmp(
                &text[offsets[new[rank]] + of_left], &text[offsets[right[rank]]], of_right):
            return rank
    return -1
