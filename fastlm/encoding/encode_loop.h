/* The loop that encodes a text: it scans a block of pretokens, looks them up among the known ones (known.h), and has those
 * that are new merged by the kernel (kernels/bpe.py). */
#ifndef FASTLM_ENCODING_H
#define FASTLM_ENCODING_H
#include <stdint.h>
#include <string.h>
#include "../native/common.h"
#include "pretoken_cache.h"

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
