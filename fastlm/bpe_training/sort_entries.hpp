/* Sorts the entries of a pretoken counter (see _count.pyx) by the bytes of their pretokens. */
#ifndef FASTLM_SORT_ENTRIES_HPP
#define FASTLM_SORT_ENTRIES_HPP
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "../native/hash.h"
#include "entry.h"

static inline int fastlm_compare(const uint8_t *a, int64_t a_length, const uint8_t *b, int64_t b_length) {
    int order = memcmp(a, b, (size_t)std::min(a_length, b_length));
    return order ? order : (a_length > b_length) - (a_length < b_length);
}

static inline void fastlm_sort_entries(uint64_t *words, int64_t count, const uint8_t *arena) {
    fastlm_entry *entries = reinterpret_cast<fastlm_entry *>(words);
    auto length = [](const fastlm_entry &entry) {
        return (int64_t)(entry.high >= FASTLM_LONG_KEY ? entry.high & ~FASTLM_LONG_KEY : entry.high >> 56);
    };
    auto bytes = [arena](const fastlm_entry &entry) {
        return entry.high >= FASTLM_LONG_KEY ? arena + entry.low : reinterpret_cast<const uint8_t *>(&entry);
    };
    std::sort(entries, entries + count, [=](const fastlm_entry &a, const fastlm_entry &b) {
        if (a.high >= FASTLM_LONG_KEY || b.high >= FASTLM_LONG_KEY)
            return fastlm_compare(bytes(a), length(a), bytes(b), length(b)) < 0;
        /* Keys are padded with zeros, and the last byte is the length: the big-endian words sort as the bytes do. */
        uint64_t a_low = __builtin_bswap64(a.low), b_low = __builtin_bswap64(b.low);
        return a_low != b_low ? a_low < b_low : __builtin_bswap64(a.high) < __builtin_bswap64(b.high);
    });
}
#endif
