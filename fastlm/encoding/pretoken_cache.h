/* Known pretokens: the table in which the ids of a pretoken are looked up.
 *
 * An entry is 32 bytes, two of them a cache line, so that a look-up touches one line. Its key is what a pretoken of up to
 * 16 bytes is made of, inverted and padded with zeros: no text holds the byte 0xFF, so the padding cannot be mistaken for
 * text and an empty entry never matches. A longer pretoken has its 64-bit hash for a key and keeps its bytes in an arena.
 * Up to three ids stand in the entry, more in another arena. A search passes WINDOW entries at most, whatever the text,
 * and entries are replaced but never removed one by one, so that it may end at the first empty one.
 */
#ifndef FASTLM_KNOWN_H
#define FASTLM_KNOWN_H
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#include "../native/hash.h"

#if defined(__GNUC__)
#define FASTLM_RARE(condition) __builtin_expect(!!(condition), 0)
#define FASTLM_APART __attribute__((noinline))
#define FASTLM_ASK_FOR(address) __builtin_prefetch(address)
#else
#define FASTLM_RARE(condition) (condition)
#define FASTLM_APART
#define FASTLM_ASK_FOR(address) ((void)0)
#endif

/* no secret: a search ends after WINDOW entries, so that pretokens made to collide are only merged again */
static const uint64_t fastlm_known_seed[2] = {UINT64_C(0x9E3779B97F4A7C15), UINT64_C(0xD1B54A32D192ED03)};

enum { FASTLM_WINDOW = 8, FASTLM_INLINE_BYTES = 16, FASTLM_INLINE_IDS = 3, FASTLM_LONGEST_KEY = 255 };
/* a byte from this on stands in no UTF-8 */
enum { FASTLM_NOT_IN_TEXT = 0xFE };
/* ids that are written past the last one, and read past an arena's: copies are of four */
enum { FASTLM_SPARE_IDS = 4 };

typedef struct {
    uint64_t key[2];
    uint32_t ids[FASTLM_INLINE_IDS]; /* more than these: ids[0] is where they begin in the arena */
    uint32_t n_ids;
} fastlm_known_entry;

typedef struct {
    fastlm_known_entry *entries;
    uint64_t mask; /* their number, a power of two, less one */
    int64_t used, full_at;
    uint8_t *bytes;
    int64_t bytes_used, bytes_size;
    uint32_t *ids;
    int64_t ids_used, ids_size;
} fastlm_known;

typedef struct {
    uint64_t words[2], hash;
} fastlm_key;

/* `length` bytes, 1 to 16, the first of `readable`, inverted and padded with zeros. */
static inline void fastlm_invert(const uint8_t *p, int64_t length, int64_t readable, uint64_t inverted[2]) {
    static const uint8_t keep[32] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
                                     0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    const uint8_t *kept = keep + FASTLM_INLINE_BYTES - length;
    uint8_t copy[FASTLM_INLINE_BYTES] = {0};
    if (FASTLM_RARE(readable < FASTLM_INLINE_BYTES)) {
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

/* Key of `length` bytes, 1 to 16, the first of `readable`. */
static inline fastlm_key fastlm_inline_key(const uint8_t *p, int64_t length, int64_t readable) {
    fastlm_key key;
    fastlm_invert(p, length, readable, key.words);
    key.hash = fastlm_hash_short(key.words[0], key.words[1], fastlm_known_seed);
    return key;
}

/* Key of 17 to LONGEST_KEY bytes. The top byte of its second word is one that no text has, inverted; the low half is left
 * for the place of the bytes. */
static inline fastlm_key fastlm_long_key(const uint8_t *p, int64_t length) {
    fastlm_key key;
    key.hash = key.words[0] = fastlm_hash_long(p, length, fastlm_known_seed);
    key.words[1] = (uint64_t)1 << 56 | (uint64_t)length << 32;
    return key;
}

static inline fastlm_key fastlm_key_of(const uint8_t *p, int64_t length, int64_t readable) {
    return length <= FASTLM_INLINE_BYTES ? fastlm_inline_key(p, length, readable) : fastlm_long_key(p, length);
}

/* The first entry of a place, where a cache line begins. The hash is masked as it is, without a shift. */
static inline fastlm_known_entry *fastlm_first_entry(const fastlm_known *known, uint64_t hash) {
    const uint64_t line = 2 * sizeof(fastlm_known_entry), size = (known->mask + 1) * sizeof(fastlm_known_entry);
    return (fastlm_known_entry *)((char *)known->entries + (hash & (size - line)));
}

/* Entry number `probe` of those that a search passes. */
static inline fastlm_known_entry *fastlm_entry_at(const fastlm_known *known, uint64_t hash, int probe) {
    uint64_t first = (uint64_t)(fastlm_first_entry(known, hash) - known->entries);
    return known->entries + ((first + (uint64_t)probe) & known->mask);
}

static inline int fastlm_is_empty(const fastlm_known_entry *entry) { return !(entry->key[0] | entry->key[1]); }

/* The first empty entry that a search passes, or NULL. */
static inline fastlm_known_entry *fastlm_empty_entry(const fastlm_known *known, uint64_t hash) {
    for (int probe = 0; probe < FASTLM_WINDOW; probe++)
        if (fastlm_is_empty(fastlm_entry_at(known, hash, probe)))
            return fastlm_entry_at(known, hash, probe);
    return NULL;
}

static inline int fastlm_has_key(const fastlm_known_entry *entry, const uint64_t key[2]) {
    return !((entry->key[0] ^ key[0]) | (entry->key[1] ^ key[1]));
}

/* Whether the entry is that of the pretoken of `length` bytes at p, whose key this is. */
static inline int fastlm_is_entry_of(const fastlm_known *known, const fastlm_known_entry *entry, fastlm_key key,
                                     const uint8_t *p, int64_t length) {
    if (length <= FASTLM_INLINE_BYTES)
        return fastlm_has_key(entry, key.words);
    if (entry->key[0] != key.words[0] || entry->key[1] >> 32 != key.words[1] >> 32)
        return 0;
    return !memcmp(known->bytes + (uint32_t)entry->key[1], p, (size_t)length);
}

/* Entry of a pretoken of up to LONGEST_KEY bytes, or NULL. */
static inline const fastlm_known_entry *fastlm_find(const fastlm_known *known, fastlm_key key, const uint8_t *p,
                                                    int64_t length) {
    for (int probe = 0; probe < FASTLM_WINDOW; probe++) {
        const fastlm_known_entry *entry = fastlm_entry_at(known, key.hash, probe);
        if (fastlm_is_empty(entry))
            return NULL;
        if (fastlm_is_entry_of(known, entry, key, p, length))
            return entry;
    }
    return NULL;
}

/* The hash of the key of an entry that is not empty. */
static inline uint64_t fastlm_hash_of(const fastlm_known_entry *entry) {
    if (entry->key[1] >> 56 == 1)
        return entry->key[0];
    return fastlm_hash_short(entry->key[0], entry->key[1], fastlm_known_seed);
}

/* Swaps an entry with the first of its place: so the frequent ones come to stand where they are looked for first, and the
 * branch on finding them there is foretold rightly. The other may so leave its window, and is then learned anew. */
static inline void fastlm_promote(fastlm_known_entry *first, fastlm_known_entry *entry) {
    fastlm_known_entry held = *first;
    *first = *entry;
    *entry = held;
}

/* Whether the second entry of a place has this key; then it becomes the first. */
static FASTLM_APART int fastlm_is_second(fastlm_known_entry *first, const uint64_t key[2]) {
    if (!fastlm_has_key(first + 1, key))
        return 0;
    fastlm_promote(first, first + 1);
    return 1;
}

/* Puts a pretoken that is not there and its ids into the table, in the place of another where its window is full. Where
 * there is no room at all it is left out, and `used` says that the table is full. */
static inline void fastlm_remember(fastlm_known *known, fastlm_key key, const uint8_t *p, int64_t length,
                                   const uint32_t *ids, int64_t n_ids) {
    int64_t in_arena = length > FASTLM_INLINE_BYTES ? length : 0, more_ids = n_ids > FASTLM_INLINE_IDS ? n_ids : 0;
    if (known->bytes_used + in_arena > known->bytes_size
        || known->ids_used + more_ids + FASTLM_SPARE_IDS > known->ids_size) {
        known->used = known->full_at;
        return;
    }
    fastlm_known_entry *entry = fastlm_empty_entry(known, key.hash);
    if (entry)
        known->used++;
    else
        entry = fastlm_entry_at(known, key.hash, 1 + (int)(key.hash >> 62));
    entry->key[0] = key.words[0];
    entry->key[1] = key.words[1];
    if (in_arena) {
        entry->key[1] |= (uint64_t)known->bytes_used;
        memcpy(known->bytes + known->bytes_used, p, (size_t)length);
        known->bytes_used += length;
    }
    entry->n_ids = (uint32_t)n_ids;
    if (more_ids) {
        entry->ids[0] = (uint32_t)known->ids_used;
        memcpy(known->ids + known->ids_used, ids, (size_t)n_ids * sizeof *ids);
        known->ids_used += n_ids;
    } else {
        for (int k = 0; k < FASTLM_INLINE_IDS; k++)
            entry->ids[k] = k < n_ids ? ids[k] : 0;
    }
}

/* Writes the ids of an entry; returns how many. */
static inline int64_t fastlm_recall(const fastlm_known *known, const fastlm_known_entry *entry, uint32_t *out) {
    int64_t n_ids = entry->n_ids;
    memcpy(out, entry->ids, 4 * sizeof *out);
    if (FASTLM_RARE(n_ids > FASTLM_INLINE_IDS)) {
        const uint32_t *ids = known->ids + entry->ids[0];
        for (int64_t k = 0; k < n_ids; k += 4)
            memcpy(out + k, ids + k, 4 * sizeof *out);
    }
    return n_ids;
}
#endif
