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
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
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
    uint64_t words[2], hash;
} fastlm_key;

/* Pretokens to come: their keys, and the first entry of each one's place, which is asked for. */
typedef struct {
    uint64_t keys[FASTLM_AHEAD][2];
    fastlm_known_entry *entries[FASTLM_AHEAD];
} fastlm_sought;

/* Asks for the beginning of a text, so that it is in the cache when its turn comes: the processor foresees only how one
 * that it already reads goes on. */
static inline void fastlm_prefetch(const uint8_t *text, int64_t n) {
    for (int64_t at = 0; at < n && at < 4096; at += 64)
        FASTLM_ASK_FOR(text + at);
}

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

/* A pretoken that is not in the first two entries of its place, or is long: looks further, merges it, remembers it. */
static FASTLM_APART fastlm_status fastlm_encode_rare(const fastlm_merges *merges, fastlm_known *known,
                                                     fastlm_encoding *e, int64_t length) {
    const uint8_t *p = e->text + e->position;
    uint32_t *out = e->out + e->written;
    const fastlm_known *of_entry = known;
    const fastlm_known_entry *entry = NULL;
    fastlm_key key = {{0, 0}, 0};
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

/* Makes keys of the pretokens ends[:count], the first of which begins at `start`. `careful`: where the text may end within
 * 16 bytes, or may be no UTF-8. */
static inline void fastlm_seek(const fastlm_known *known, fastlm_sought *sought, const uint8_t *text, int64_t n,
                               const int64_t *ends, int64_t count, int64_t start, const int careful) {
    const fastlm_known here = *known; /* which the compiler would read anew after each store */
    for (int64_t k = 0; k < count; k++) {
        int64_t end = ends[k], length = end - start;
        if (FASTLM_RARE(length > FASTLM_INLINE_BYTES)
            || (careful && FASTLM_RARE(text[end - 1] >= FASTLM_NOT_IN_TEXT))) {
            /* the key of no entry */
            sought->keys[k][0] = 0;
            sought->keys[k][1] = 1;
            sought->entries[k] = here.entries;
        } else {
            fastlm_invert(text + start, length, careful ? n - start : FASTLM_INLINE_BYTES, sought->keys[k]);
            uint64_t hash = fastlm_hash_short(sought->keys[k][0], sought->keys[k][1], fastlm_known_seed);
            sought->entries[k] = fastlm_first_entry(&here, hash);
            FASTLM_ASK_FOR(sought->entries[k]);
        }
        start = end;
    }
}

static FASTLM_APART void fastlm_seek_carefully(const fastlm_known *known, fastlm_sought *sought, const uint8_t *text,
                                               int64_t n, const int64_t *ends, int64_t count, int64_t start) {
    fastlm_seek(known, sought, text, n, ends, count, start, 1);
}

/* Encodes the pretokens ends[:count], the first of which begins at e->position. This loop is where the time goes.
 *
 * Keys are made some pretokens ahead and their entries asked for, because the words of a large text outgrow the caches
 * and the processor itself sees only some ten pretokens ahead. */
static FASTLM_APART fastlm_status fastlm_encode_block(const fastlm_merges *merges, fastlm_known *known,
                                                      fastlm_encoding *e, const int64_t *ends, int64_t count) {
    uint32_t *out = e->out + e->written;
    int64_t start = e->position;
    fastlm_sought sought;
    for (int64_t i = 0; i < count; i += FASTLM_AHEAD) {
        int64_t some = count - i < FASTLM_AHEAD ? count - i : FASTLM_AHEAD, from = i ? ends[i - 1] : start;
        if (FASTLM_RARE(e->n - ends[i + some - 1] < FASTLM_INLINE_BYTES || !e->scan))
            fastlm_seek_carefully(known, &sought, e->text, e->n, ends + i, some, from);
        else
            fastlm_seek(known, &sought, e->text, e->n, ends + i, some, from, 0);
        for (int64_t k = 0; k < some; k++) {
            fastlm_known_entry *entry = sought.entries[k];
            if (FASTLM_RARE(!fastlm_has_key(entry, sought.keys[k])) && !fastlm_is_second(entry, sought.keys[k])) {
                e->position = i + k ? ends[i + k - 1] : start;
                e->written = out - e->out;
                fastlm_status status = fastlm_encode_rare(merges, known, e, ends[i + k] - e->position);
                if (status != FASTLM_DONE)
                    return status;
                out = e->out + e->written;
                continue;
            }
            out += fastlm_recall(known, entry, out);
        }
    }
    e->position = ends[count - 1];
    e->written = out - e->out;
    return FASTLM_DONE;
}

/* Encodes e->text from e->position on, to the end or until something is lacking; then the caller provides it and calls
 * again. */
static inline fastlm_status fastlm_encode(const fastlm_merges *merges, fastlm_known *known, fastlm_encoding *e) {
    int64_t first = 0, count = 0; /* of the ends that lie before the next cut */
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
                while (count < e->n_ends && e->ends[count] <= e->position) /* done before this call */
                    count++;
                first = count;
                while (count < e->n_ends && e->ends[count] <= stop)
                    count++;
            }
            if (known->used >= known->full_at)
                return FASTLM_TABLE_FULL;
            e->wanted = e->ends[count - 1] - e->position + FASTLM_SPARE_IDS;
            if (e->written + e->wanted > e->out_size)
                return FASTLM_OUT_FULL;
            fastlm_status status = fastlm_encode_block(merges, known, e, e->ends + first, count - first);
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
