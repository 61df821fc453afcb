"""The token table: the ids of the tokens that a pretoken of their bytes becomes; token_table.h has its format."""
import os

import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint32_t

from fastlm.encoding._pretoken_cache cimport PretokenCache


# entries of a new pretoken cache
FIRST_ENTRIES = 1 << 17

cdef enum:
    # A new pretoken cache has a token for each of this many entries. More would only be loaded for short texts.
    ENTRIES_PER_TOKEN = 8


cdef class TokenTable:
    """Finds a token by its bytes.

    Args:
        token_bytes, offsets: Token id is token_bytes[offsets[id]:offsets[id + 1]]. The offsets are checked.
        ids: int64 (k,), checked: the ids of the tokens in the table. The first of several tokens with the same bytes
            counts.
    """

    def __cinit__(self, const uint8_t[::1] token_bytes, const int64_t[::1] offsets, const int64_t[::1] ids):
        cdef int64_t bits = max(1, (2 * ids.shape[0]).bit_length())
        cdef const uint8_t[::1] secret = os.urandom(sizeof(self.table.seed))
        self.token_bytes, self.offsets, self.ids = token_bytes, offsets, ids
        self.slots = np.zeros(1 << bits, np.uint32)
        self.table.token_bytes = &token_bytes[0] if token_bytes.shape[0] else NULL
        self.table.offsets, self.table.n_bytes = &offsets[0], token_bytes.shape[0]
        self.table.slots = &self.slots[0]
        self.table.mask, self.table.longest = (1 << bits) - 1, 0
        self.table.ids = (1 << int(offsets.shape[0]).bit_length()) - 1
        for k in range(2):
            self.table.seed[k] = int.from_bytes(secret[8 * k : 8 * k + 8], "little")
        if ids.shape[0]:
            with nogil:
                fastlm_add_tokens(&self.table, &ids[0], ids.shape[0])

    def find(self, const uint8_t[::1] token) -> int:
        """The id of the token that has these bytes, or -1."""
        cdef int64_t length = token.shape[0]
        cdef uint32_t token_id
        if not length:
            return -1
        token_id = fastlm_find_token(&self.table, fastlm_token_hash(&self.table, &token[0], length, length), &token[0],
                                     length)
        return -1 if token_id == <uint32_t>-1 else token_id

    cdef PretokenCache new_cache(self):
        """A pretoken cache with the first tokens of the table."""
        cdef int64_t entries = FIRST_ENTRIES
        cdef PretokenCache cache = PretokenCache(entries, 16 * entries, 8 * entries)
        with nogil:
            self.refill(cache)
        return cache

    cdef int refill(self, PretokenCache cache) except -1 nogil:
        """Clears a cache and adds the first tokens of the table, which are the frequent ones."""
        cdef int64_t count = min(self.ids.shape[0], cache.entries() // ENTRIES_PER_TOKEN)
        cache.clear()
        if count:
            fastlm_cache_tokens(&cache.table, &self.table, &self.ids[0], count)
        return 0
