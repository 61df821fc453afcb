/* Known pretokens, and the loop that encodes a text with them.
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
#include "hash.h"

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
/* so many pretokens ahead an entry is asked for */
enum { FASTLM_AHEAD = 32 };
/* what the kernel needs to work with, at least */
enum { FASTLM_SCRATCH_WORDS = 256 };

typedef enum {
    FASTLM_DONE,
    FASTLM_INVALID_UTF8,
    FASTLM_OUT_FULL,
    FASTLM_SCRATCH_SMALL,
    FASTLM_PRETOKEN_TOO_LONG,
    FASTLM_TABLE_FULL,
    FASTLM_UNKNOWN_BYTE
} fastlm_status;

typedef struct {
    uint64_t low, high;
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

typedef int64_t (*fastlm_scan_fn)(const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity);
typedef int64_t (*fastlm_merge_fn)(const uint8_t *pretoken, int64_t length, const uint32_t *byte_ids,
                                   const uint32_t *byte_pairs, const uint32_t *slots, uint64_t shift,
                                   uint64_t multiplier, uint64_t row_bits, const uint64_t *merges, uint32_t *ids,
                                   uint64_t *scratch, int64_t scratch_words);

/* What a vocabulary brings: the kernel and its tables (kernels/bpe.py, _pairs.pyx), the pretokens that become one id
 * whatever the merges say, and whether there are bytes without an id. */
typedef struct {
    fastlm_merge_fn merge;
    const uint32_t *byte_ids, *byte_pairs, *slots;
    uint64_t shift, multiplier, row_bits;
    const uint64_t *merges;
    const fastlm_known *whole;
    int partial;
} fastlm_merges;

/* A text under way. `cuts` (n_cuts, 3) gives start, end and id of each special token, which cuts the text and becomes its
 * id, or nothing where that is negative; `places`, unless NULL, is told how many ids stand before each, with the `taken`
 * ones that were there before those in `out`. Without a scanner `ends` already holds all n_ends pretoken ends, of any
 * bytes. `wanted` says, after OUT_FULL and SCRATCH_SMALL, room for how many more ids or words; after UNKNOWN_BYTE, the
 * length of the pretoken with such a byte. */
typedef struct {
    const uint8_t *text;
    int64_t n;
    const int64_t *cuts;
    int64_t n_cuts;
    int64_t *places;
    int64_t taken;
    fastlm_scan_fn scan;
    int64_t *ends;
    int64_t n_ends;
    uint32_t *out;
    int64_t out_size;
    uint64_t *scratch;
    int64_t scratch_words;
    int64_t position, cut, written, wanted;
} fastlm_encoding;

typedef struct {
    uint64_t low, high, hash;
} fastlm_key;

/* Asks for the beginning of a text, so that it is in the cache when its turn comes: the processor foresees only how one
 * that it already reads goes on. */
static inline void fastlm_prefetch(const uint8_t *text, int64_t n) {
    for (int64_t at = 0; at < n && at < 4096; at += 64)
        FASTLM_ASK_FOR(text + at);
}

static const uint64_t fastlm_keep[25] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFF, 0xFFFFFFFFFFFF, 0xFFFFFFFFFFFFFF,
    ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0,
    ~(uint64_t)0};

/* Key of `length` bytes, 1 to 16, the first of `readable`. */
static inline fastlm_key fastlm_inline_key(const uint8_t *p, int64_t length, int64_t readable) {
    fastlm_key key;
    uint8_t copy[16] = {0};
    if (FASTLM_RARE(readable < 16)) {
        memcpy(copy, p, (size_t)length);
        p = copy;
    }
    key.low = ~fastlm_load8(p) & fastlm_keep[length + 8];
    key.high = ~fastlm_load8(p + 8) & fastlm_keep[length];
    key.hash = fastlm_hash_short(key.low, key.high, fastlm_known_seed);
    return key;
}

/* Key of 17 to LONGEST_KEY bytes. The top byte of `high` is one that no text has, inverted; its low half is left for the
 * place of the bytes. */
static inline fastlm_key fastlm_long_key(const uint8_t *p, int64_t length) {
    fastlm_key key;
    key.hash = key.low = fastlm_hash_long(p, length, fastlm_known_seed);
    key.high = (uint64_t)1 << 56 | (uint64_t)length << 32;
    return key;
}

static inline fastlm_key fastlm_key_of(const uint8_t *p, int64_t length, int64_t readable) {
    return length <= FASTLM_INLINE_BYTES ? fastlm_inline_key(p, length, readable) : fastlm_long_key(p, length);
}

static inline fastlm_known_entry *fastlm_first_entry(const fastlm_known *known, uint64_t hash) {
    return known->entries + (hash & known->mask & ~(uint64_t)1);
}

/* Entry number `probe` of those that a search passes. */
static inline fastlm_known_entry *fastlm_entry_at(const fastlm_known *known, uint64_t hash, int probe) {
    return known->entries + (((hash & ~(uint64_t)1) + (uint64_t)probe) & known->mask);
}

static inline int fastlm_is_empty(const fastlm_known_entry *entry) { return !(entry->low | entry->high); }

/* The first empty entry that a search passes, or NULL. */
static inline fastlm_known_entry *fastlm_empty_entry(const fastlm_known *known, uint64_t hash) {
    for (int probe = 0; probe < FASTLM_WINDOW; probe++)
        if (fastlm_is_empty(fastlm_entry_at(known, hash, probe)))
            return fastlm_entry_at(known, hash, probe);
    return NULL;
}

static inline int fastlm_has_key(const fastlm_known_entry *entry, fastlm_key key) {
    return !((entry->low ^ key.low) | (entry->high ^ key.high));
}

/* Whether the entry is that of the pretoken of `length` bytes at p, whose key this is. */
static inline int fastlm_is_entry_of(const fastlm_known *known, const fastlm_known_entry *entry, fastlm_key key,
                                     const uint8_t *p, int64_t length) {
    if (length <= FASTLM_INLINE_BYTES)
        return fastlm_has_key(entry, key);
    if (entry->low != key.low || entry->high >> 32 != key.high >> 32)
        return 0;
    return !memcmp(known->bytes + (uint32_t)entry->high, p, (size_t)length);
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
    if (entry->high >> 56 == 1)
        return entry->low;
    return fastlm_hash_short(entry->low, entry->high, fastlm_known_seed);
}

/* Swaps an entry with the first of its place: so the frequent ones come to stand where they are looked for first, and the
 * branch on finding them there is foretold rightly. The other may so leave its window, and is then learned anew. */
static inline void fastlm_promote(fastlm_known_entry *first, fastlm_known_entry *entry) {
    fastlm_known_entry held = *first;
    *first = *entry;
    *entry = held;
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
    entry->low = key.low;
    entry->high = key.high;
    if (in_arena) {
        entry->high |= (uint64_t)known->bytes_used;
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

/* A pretoken that is not in the first two entries of its place, or is long: looks further, merges it, remembers it. */
static FASTLM_APART fastlm_status fastlm_encode_rare(const fastlm_merges *merges, fastlm_known *known,
                                                     fastlm_encoding *e, int64_t length) {
    const uint8_t *p = e->text + e->position;
    uint32_t *out = e->out + e->written;
    const fastlm_known *of_entry = known;
    const fastlm_known_entry *entry = NULL;
    fastlm_key key = {0, 0, 0};
    /* bytes that no text has, at the end of what is no text, would be mistaken for padding or the mark of a long key */
    int knowable = length <= FASTLM_LONGEST_KEY && p[length - 1] < FASTLM_NOT_IN_TEXT;
    if (knowable) {
        key = fastlm_key_of(p, length, e->n - e->position);
        entry = fastlm_find(known, key, p, length);
        if (!entry && merges->whole) {
            of_entry = merges->whole;
            entry = fastlm_find(of_entry, key, p, length);
        }
    }
    int64_t n_ids;
    if (entry) {
        n_ids = fastlm_recall(of_entry, entry, out);
        knowable = of_entry != known;
        if (!knowable)
            fastlm_promote(fastlm_first_entry(known, key.hash), (fastlm_known_entry *)entry);
    } else {
        if (merges->partial)
            for (int64_t k = 0; k < length; k++)
                if (merges->byte_ids[p[k]] == UINT32_MAX) {
                    e->wanted = length;
                    return FASTLM_UNKNOWN_BYTE;
                }
        if (length >= UINT32_MAX)
            return FASTLM_PRETOKEN_TOO_LONG;
        n_ids = merges->merge(p, length, merges->byte_ids, merges->byte_pairs, merges->slots, merges->shift,
                              merges->multiplier, merges->row_bits, merges->merges, out, e->scratch,
                              e->scratch_words);
        if (n_ids < 0) {
            e->wanted = -n_ids;
            return FASTLM_SCRATCH_SMALL;
        }
    }
    if (knowable)
        fastlm_remember(known, key, p, length, out, n_ids);
    e->position += length;
    e->written += n_ids;
    return FASTLM_DONE;
}

/* Encodes the pretokens ends[first:count]. This loop is where the time goes; `any_bytes`: what is given is no UTF-8.
 *
 * Keys are made some pretokens ahead and their entries asked for, because the words of a large text outgrow the caches
 * and the processor itself sees only some ten pretokens ahead. */
static inline fastlm_status fastlm_encode_block(const fastlm_merges *merges, fastlm_known *known, fastlm_encoding *e,
                                                int64_t first, int64_t count, const int any_bytes) {
    const uint8_t *text = e->text;
    const int64_t *ends = e->ends, n = e->n;
    uint32_t *out = e->out + e->written;
    int64_t position = e->position, ahead = position;
    fastlm_key keys[FASTLM_AHEAD];
    for (int64_t i = first; i < count;) {
        int64_t stop = i + FASTLM_AHEAD < count ? i + FASTLM_AHEAD : count;
        for (int64_t k = i; k < stop; k++) {
            int64_t length = ends[k] - ahead;
            fastlm_key key = {0, 0, 0};
            if ((uint64_t)length - 1 < FASTLM_INLINE_BYTES && !(any_bytes && text[ends[k] - 1] >= FASTLM_NOT_IN_TEXT))
                key = fastlm_inline_key(text + ahead, length, n - ahead);
            FASTLM_ASK_FOR(fastlm_first_entry(known, key.hash));
            keys[k - i] = key;
            if (length > 0) /* else done before this call */
                ahead = ends[k];
        }
        for (const fastlm_key *key = keys; i < stop; i++, key++) {
            fastlm_known_entry *entry = fastlm_first_entry(known, key->hash);
            int found = key->low && fastlm_has_key(entry, *key);
            if (FASTLM_RARE(!found) && key->low && fastlm_has_key(entry + 1, *key)) {
                fastlm_promote(entry, entry + 1);
                found = 1;
            }
            if (!FASTLM_RARE(!found)) {
                out += fastlm_recall(known, entry, out);
                position = ends[i];
                continue;
            }
            int64_t length = ends[i] - position;
            if (length <= 0)
                continue;
            e->position = position;
            e->written = out - e->out;
            fastlm_status status = fastlm_encode_rare(merges, known, e, length);
            if (status != FASTLM_DONE)
                return status;
            position = e->position;
            out = e->out + e->written;
        }
    }
    e->position = position;
    e->written = out - e->out;
    return FASTLM_DONE;
}

/* Encodes e->text from e->position on, to the end or until something is lacking; then the caller provides it and calls
 * again. */
static inline fastlm_status fastlm_encode(const fastlm_merges *merges, fastlm_known *known, fastlm_encoding *e) {
    int64_t first = 0, count = 0;
    for (;;) {
        int64_t stop = e->cut < e->n_cuts ? e->cuts[3 * e->cut] : e->n;
        while (e->position < stop) {
            if (e->scan) {
                count = e->scan(e->text, stop, e->position, e->ends, e->n_ends);
                if (count < 0) {
                    e->position = e->ends[0];
                    return FASTLM_INVALID_UTF8;
                }
            } else {
                first = count;
                while (count < e->n_ends && e->ends[count] <= stop)
                    count++;
            }
            if (known->used >= known->full_at)
                return FASTLM_TABLE_FULL;
            e->wanted = e->ends[count - 1] - e->position + FASTLM_SPARE_IDS;
            if (e->written + e->wanted > e->out_size)
                return FASTLM_OUT_FULL;
            fastlm_status status = e->scan ? fastlm_encode_block(merges, known, e, first, count, 0)
                                                : fastlm_encode_block(merges, known, e, first, count, 1);
            if (status != FASTLM_DONE)
                return status;
        }
        if (e->cut == e->n_cuts)
            return FASTLM_DONE;
        e->wanted = 1;
        if (e->written + e->wanted > e->out_size)
            return FASTLM_OUT_FULL;
        if (e->places)
            e->places[e->cut] = e->taken + e->written;
        if (e->cuts[3 * e->cut + 2] >= 0)
            e->out[e->written++] = (uint32_t)e->cuts[3 * e->cut + 2];
        e->position = e->cuts[3 * e->cut + 1];
        e->cut++;
    }
}
#endif
