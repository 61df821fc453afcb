/* The pretoken cache: a hash table from a pretoken to its token ids.
 *
 * An entry has 32 bytes. Two entries share a cache line, so a lookup usually touches one line: the hash says where it
 * begins, and its entry k has the index of the first one xor k. The key of a pretoken
 * of up to 16 bytes is its bytes, inverted and padded with zeros. Text never contains the byte 0xFF, so padding
 * cannot be mistaken for text, and an empty entry never matches. The key of a longer pretoken is its 64-bit hash and
 * its length; its bytes are in an arena. An entry holds up to three ids; more ids are in a second arena. A search
 * looks at FASTLM_MAX_PROBES entries at most, whatever the text. Entries are replaced but never removed one by one,
 * so a search may stop at the first empty entry.
 */
#ifndef FASTLM_PRETOKEN_CACHE_H
#define FASTLM_PRETOKEN_CACHE_H
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#include "../native/common.h"
#include "../native/hash.h"

/* This seed is not secret: a search stops after FASTLM_MAX_PROBES entries, so colliding pretokens only cost their
 * merges. */
static const uint64_t fastlm_cache_seed[2] = {UINT64_C(0x9E3779B97F4A7C15), UINT64_C(0xD1B54A32D192ED03)};

enum {
    /* entries that a search looks at */
    FASTLM_MAX_PROBES = 8,
    /* bytes of a pretoken and ids that fit into an entry */
    FASTLM_ENTRY_BYTES = 16,
    FASTLM_ENTRY_IDS = 3,
    /* longer pretokens are not cached: the length in a key has 8 bits */
    FASTLM_MAX_CACHED_BYTES = 255,
    /* bytes from this one on never occur in UTF-8 */
    FASTLM_FIRST_NON_UTF8 = 0xFE,
    /* Ids are copied four at a time: a copy may write this many ids past the last id, and read as many past the
     * arena's. */
    FASTLM_SPARE_IDS = 4,
};

typedef struct {
    uint64_t key[2];
    uint32_t ids[FASTLM_ENTRY_IDS]; /* if there are more: ids[0] is the position of all ids in the arena */
    uint32_t n_ids;
} fastlm_cache_entry;

typedef struct {
    fastlm_cache_entry *entries; /* aligned to a cache line */
    uint64_t mask; /* number of entries, a power of two, minus 1 */
    int64_t used, full_at;
    uint8_t *bytes;
    int64_t bytes_used, bytes_size;
    uint32_t *ids;
    int64_t ids_used, ids_size;
} fastlm_cache;

typedef struct {
    uint64_t words[2], hash;
} fastlm_cache_key;

/* Inverts `length` bytes, 1 to 16, and pads them with zeros. `readable` bytes may be read at p. */
static inline void fastlm_invert(const uint8_t *p, int64_t length, int64_t readable, uint64_t inverted[2]) {
    static const uint8_t keep[2 * FASTLM_ENTRY_BYTES] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
                                                         0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    const uint8_t *kept = keep + FASTLM_ENTRY_BYTES - length;
    uint8_t copy[FASTLM_ENTRY_BYTES] = {0};
    if (FASTLM_UNLIKELY(readable < FASTLM_ENTRY_BYTES)) {
        memcpy(copy, p, (size_t)length);
        p = copy;
    }
#if defined(__SSE2__)
    __m128i bytes = _mm_loadu_si128((const __m128i *)p), mask = _mm_loadu_si128((const __m128i *)kept);
    _mm_storeu_si128((__m128i *)inverted, _mm_andnot_si128(bytes, mask));
#else
    inverted[0] = ~fastlm_load8(p) & fastlm_load8(kept);
    inverted[1] = ~fastlm_load8(p + 8) & fastlm_load8(kept + 8);
#endif
}

/* The key of 1 to 16 bytes. */
static inline fastlm_cache_key fastlm_inline_key(const uint8_t *p, int64_t length, int64_t readable) {
    fastlm_cache_key key;
    fastlm_invert(p, length, readable, key.words);
    key.hash = fastlm_hash_short(key.words[0], key.words[1], fastlm_cache_seed);
    return key;
}

/* The key of 17 to FASTLM_MAX_CACHED_BYTES bytes with this fastlm_hash_long. The top byte of the second word is 1, which inverted is 0xFE and so
 * never is the last byte of a short pretoken. The low half takes the position of the bytes in the arena. */
static inline fastlm_cache_key fastlm_arena_key(uint64_t hash, int64_t length) {
    fastlm_cache_key key;
    key.hash = key.words[0] = hash;
    key.words[1] = (uint64_t)1 << 56 | (uint64_t)length << 32;
    return key;
}

/* Whether the cache takes a pretoken: not if it is too long, nor if it ends with a byte that a key takes for padding or
 * for the mark of a long key. */
static inline int fastlm_is_cacheable(const uint8_t *p, int64_t length) {
    return length <= FASTLM_MAX_CACHED_BYTES && p[length - 1] < FASTLM_FIRST_NON_UTF8;
}

/* The first entry of a search. The hash is masked to a byte offset, without a shift. */
static inline fastlm_cache_entry *fastlm_first_entry(const fastlm_cache *cache, uint64_t hash) {
    return (fastlm_cache_entry *)((char *)cache->entries + (hash & cache->mask * sizeof(fastlm_cache_entry)));
}

/* The entry that a search looks at after `probe` others. The second one is in the cache line of the first one. */
static inline fastlm_cache_entry *fastlm_entry_at(const fastlm_cache *cache, uint64_t hash, int probe) {
    uint64_t first = (uint64_t)(fastlm_first_entry(cache, hash) - cache->entries);
    return cache->entries + ((first ^ (uint64_t)probe) & cache->mask);
}

static inline int fastlm_is_empty(const fastlm_cache_entry *entry) { return !(entry->key[0] | entry->key[1]); }

/* The first empty entry of a search, or NULL. */
static inline fastlm_cache_entry *fastlm_empty_entry(const fastlm_cache *cache, uint64_t hash) {
    for (int probe = 0; probe < FASTLM_MAX_PROBES; probe++)
        if (fastlm_is_empty(fastlm_entry_at(cache, hash, probe)))
            return fastlm_entry_at(cache, hash, probe);
    return NULL;
}

static inline int fastlm_is_key(const uint64_t a[2], const uint64_t b[2]) { return !((a[0] ^ b[0]) | (a[1] ^ b[1])); }

static inline int fastlm_has_key(const fastlm_cache_entry *entry, const uint64_t key[2]) {
    return fastlm_is_key(entry->key, key);
}

/* Whether an entry is the one of the `length` bytes at p, which have this key. */
static inline int fastlm_is_entry_of(const fastlm_cache *cache, const fastlm_cache_entry *entry, fastlm_cache_key key,
                                     const uint8_t *p, int64_t length) {
    if (length <= FASTLM_ENTRY_BYTES)
        return fastlm_has_key(entry, key.words);
    if (entry->key[0] != key.words[0] || entry->key[1] >> 32 != key.words[1] >> 32)
        return 0;
    return !memcmp(cache->bytes + (uint32_t)entry->key[1], p, (size_t)length);
}

/* The entry of a pretoken of up to FASTLM_MAX_CACHED_BYTES bytes, or NULL. */
static inline fastlm_cache_entry *fastlm_find(const fastlm_cache *cache, fastlm_cache_key key, const uint8_t *p,
                                              int64_t length) {
    for (int probe = 0; probe < FASTLM_MAX_PROBES; probe++) {
        fastlm_cache_entry *entry = fastlm_entry_at(cache, key.hash, probe);
        if (fastlm_is_empty(entry))
            return NULL;
        if (fastlm_is_entry_of(cache, entry, key, p, length))
            return entry;
    }
    return NULL;
}

/* The hash of the pretoken of an entry that is not empty. */
static inline uint64_t fastlm_hash_of(const fastlm_cache_entry *entry) {
    if (entry->key[1] >> 56 == 1)
        return entry->key[0];
    return fastlm_hash_short(entry->key[0], entry->key[1], fastlm_cache_seed);
}

/* Swaps an entry with the first one of its search. Frequent pretokens so come to be first, and the branch on a hit
 * there is predicted well. The swapped entry may leave the range of its own search; it is then learned again. */
static inline void fastlm_promote(fastlm_cache_entry *first, fastlm_cache_entry *entry) {
    fastlm_cache_entry swapped = *first;
    *first = *entry;
    *entry = swapped;
}

/* Whether the second entry of a search has this key. If so, it becomes the first one. */
static FASTLM_NOINLINE int fastlm_is_second(fastlm_cache_entry *first, const uint64_t key[2]) {
    fastlm_cache_entry *second = (fastlm_cache_entry *)((uintptr_t)first ^ sizeof *first);
    if (!fastlm_has_key(second, key))
        return 0;
    fastlm_promote(first, second);
    return 1;
}

/* Adds a pretoken that the cache lacks. It replaces another one if all entries of the search are taken. If an arena is
 * full, nothing is added and `used` says that the cache is full. */
static inline void fastlm_add(fastlm_cache *cache, fastlm_cache_key key, const uint8_t *p, int64_t length,
                              const uint32_t *ids, int64_t n_ids) {
    int64_t arena_bytes = length > FASTLM_ENTRY_BYTES ? length : 0, arena_ids = n_ids > FASTLM_ENTRY_IDS ? n_ids : 0;
    if (cache->bytes_used + arena_bytes > cache->bytes_size
        || cache->ids_used + arena_ids + FASTLM_SPARE_IDS > cache->ids_size) {
        cache->used = cache->full_at;
        return;
    }
    fastlm_cache_entry *entry = fastlm_empty_entry(cache, key.hash);
    if (entry)
        cache->used++;
    else
        entry = fastlm_entry_at(cache, key.hash, 1 + (int)(key.hash >> 62));
    entry->key[0] = key.words[0];
    entry->key[1] = key.words[1];
    if (arena_bytes) {
        entry->key[1] |= (uint64_t)cache->bytes_used;
        memcpy(cache->bytes + cache->bytes_used, p, (size_t)length);
        cache->bytes_used += length;
    }
    entry->n_ids = (uint32_t)n_ids;
    if (arena_ids) {
        entry->ids[0] = (uint32_t)cache->ids_used;
        memcpy(cache->ids + cache->ids_used, ids, (size_t)n_ids * sizeof *ids);
        cache->ids_used += n_ids;
    } else {
        for (int k = 0; k < FASTLM_ENTRY_IDS; k++)
            entry->ids[k] = k < n_ids ? ids[k] : 0;
    }
}

/* Copies the ids of an entry, and up to FASTLM_SPARE_IDS more; returns the number of its ids. */
static inline int64_t fastlm_copy_ids(const fastlm_cache *cache, const fastlm_cache_entry *entry, uint32_t *out) {
    int64_t n_ids = entry->n_ids;
    memcpy(out, entry->ids, 4 * sizeof *out);
    if (FASTLM_UNLIKELY(n_ids > FASTLM_ENTRY_IDS)) {
        const uint32_t *ids = cache->ids + entry->ids[0];
        for (int64_t k = 0; k < n_ids; k += 4)
            memcpy(out + k, ids + k, 4 * sizeof *out);
    }
    return n_ids;
}
#endif
