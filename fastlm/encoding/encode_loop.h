/* The loop that encodes a text. It scans a block of pretokens and looks each one up in the pretoken cache
 * (pretoken_cache.h). A pretoken that the cache lacks may be a token (token_table.h); if not, the kernel
 * (kernels/bpe.py) merges it. */
#ifndef FASTLM_ENCODE_LOOP_H
#define FASTLM_ENCODE_LOOP_H
#include <stdint.h>
#include <string.h>
#include "../native/common.h"
#include "pretoken_cache.h"
#include "token_table.h"

enum {
    /* Pretokens whose cache entries are prefetched before the first of them is looked up. */
    FASTLM_LOOKAHEAD = 32,
    /* Bytes of the next text of a batch that are prefetched: one page, enough for the hardware prefetcher to take
     * over. */
    FASTLM_PREFETCH_BYTES = 4096,
    FASTLM_CACHE_LINE = 64,
    /* 64-bit words of memory that the kernel needs at least. kernels/bpe.py has the same number. */
    FASTLM_SCRATCH_WORDS = 768,
    /* Pretokens of a batch, and the bytes of each. kernels/bpe.py has the same numbers. */
    FASTLM_BATCH = 32,
    FASTLM_BATCH_WIDTH = 16,
    /* Slots of the hash table of a batch, a power of two. */
    FASTLM_BATCH_SLOTS = 128,
    /* A block with more pretokens than this is encoded without batches. */
    FASTLM_MOST_GAPS = 512,
};

/* The tables of the kernel; see kernels/bpe.py, which reads this struct, and _merge_table.pyx, which makes them. */
typedef struct {
    const uint32_t *byte_ids, *byte_pairs, *slots;
    const uint64_t *merges;
    uint64_t shift, multiplier, row_bits;
} fastlm_merge_tables;

/* Merges pretoken[:length] and writes at most `length` ids; returns how many, or, if `scratch_words` are too few,
 * minus the number that it needs. */
typedef int64_t (*fastlm_merge_fn)(const fastlm_merge_tables *tables, const uint8_t *pretoken, int64_t length,
                                   uint32_t *ids, uint64_t *scratch, int64_t scratch_words);

/* Merges `count` pretokens of texts, (FASTLM_BATCH, FASTLM_BATCH_WIDTH) bytes, and writes their ids to ids, of the same
 * shape. `scratch` has FASTLM_SCRATCH_WORDS words. */
typedef int64_t (*fastlm_merge_batch_fn)(const fastlm_merge_tables *tables, const uint8_t *texts,
                                         const int64_t *lengths, int64_t count, uint32_t *ids, int64_t *n_ids,
                                         uint64_t *scratch);

/* The tables that decide the ids of a pretoken. No call changes them. */
typedef struct {
    fastlm_merge_fn merge;
    fastlm_merge_batch_fn merge_batch;
    fastlm_merge_tables tables;
    const fastlm_token_table *tokens; /* the tokens that a pretoken of their bytes becomes */
    int lacks_bytes;                  /* whether some bytes have no id */
} fastlm_vocabulary;

typedef enum {
    FASTLM_DONE,
    FASTLM_INVALID_UTF8,      /* `position` is the offset of the first byte that is not UTF-8 */
    FASTLM_IDS_FULL,          /* `needed` is the number of ids that must fit after `written` */
    FASTLM_SCRATCH_FULL,      /* `needed` is the number of words that the kernel needs */
    FASTLM_CACHE_FULL,
    FASTLM_PRETOKEN_TOO_LONG, /* the pretoken at `position` has 4 GiB or more */
    FASTLM_UNKNOWN_BYTE       /* the pretoken at `position`, of `needed` bytes, has a byte without an id */
} fastlm_status;

/* Pretokens of a block that the cache lacks. They wait for each other and are looked up as tokens and merged together,
 * which takes half of the time. Until then each has a gap in the ids, of one id for each of its bytes. */
typedef struct {
    int64_t count, n_gaps, first_id; /* gaps are relative to ids[first_id]; no gap before and after a block */
    uint8_t texts[FASTLM_BATCH][FASTLM_BATCH_WIDTH];
    int64_t lengths[FASTLM_BATCH], n_ids[FASTLM_BATCH];
    fastlm_cache_key keys[FASTLM_BATCH];
    uint64_t token_hashes[FASTLM_BATCH];
    uint32_t ids[FASTLM_BATCH][FASTLM_BATCH_WIDTH];
    /* in ascending order: the index of the first id, and the number of the pretoken */
    struct {
        uint32_t at, pretoken;
    } gaps[FASTLM_MOST_GAPS];
    uint8_t slots[FASTLM_BATCH_SLOTS]; /* 1 + the number of a pretoken, by its key, or 0 */
} fastlm_waiting;

/* The state of the encoding of one text. */
typedef struct {
    const uint8_t *text;
    int64_t n;
    /* (n_boundaries, 3): rows of start, end, and id. The text between rows is encoded, and each row adds its id, or
     * nothing if that is negative. ids_before, unless NULL, gets the number of ids before each row: `taken` plus
     * those in `ids`. */
    const int64_t *boundaries;
    int64_t n_boundaries;
    int64_t *ids_before;
    int64_t taken;
    /* Without a scanner, `ends` holds the n_ends pretoken ends of the whole text, which may be any bytes. Else the
     * scanner fills it, n_ends at a time. */
    fastlm_scan_fn scan;
    int64_t *ends;
    int64_t n_ends;
    uint32_t *ids;
    int64_t ids_size;
    uint64_t *scratch;
    int64_t scratch_words;
    int64_t position, boundary, written, needed; /* boundary: rows done */
    fastlm_waiting *waiting;
    int may_wait; /* whether pretokens wait; set by fastlm_encode */
} fastlm_encode_state;

/* The keys of the next pretokens, and the first entry of each search. */
typedef struct {
    uint64_t keys[FASTLM_LOOKAHEAD][2];
    fastlm_cache_entry *entries[FASTLM_LOOKAHEAD];
} fastlm_lookahead;

/* Starts to load the beginning of a text. The hardware prefetcher only follows a stream that is already read. */
static inline void fastlm_prefetch_text(const uint8_t *text, int64_t n) {
    for (int64_t at = 0; at < n && at < FASTLM_PREFETCH_BYTES; at += FASTLM_CACHE_LINE)
        fastlm_prefetch_read(text + at);
}

/* Finds the ids of the pretokens that wait. */
static inline void fastlm_ids_of_waiting(const fastlm_vocabulary *vocabulary, fastlm_waiting *waiting,
                                         uint64_t *scratch) {
    uint32_t tokens[FASTLM_BATCH], ids[FASTLM_BATCH][FASTLM_BATCH_WIDTH];
    uint8_t texts[FASTLM_BATCH][FASTLM_BATCH_WIDTH], merged[FASTLM_BATCH];
    int64_t lengths[FASTLM_BATCH], n_ids[FASTLM_BATCH], count = 0;
    fastlm_find_tokens_of(vocabulary->tokens, waiting->keys, waiting->token_hashes, waiting->lengths, waiting->count,
                          tokens);
    for (int64_t k = 0; k < waiting->count; k++) {
        waiting->ids[k][0] = tokens[k];
        waiting->n_ids[k] = 1;
        /* without a branch: whether a new pretoken is a token is not predictable */
        merged[count] = (uint8_t)k;
        lengths[count] = waiting->lengths[k];
        memcpy(texts[count], waiting->texts[k], FASTLM_BATCH_WIDTH);
        count += tokens[k] == FASTLM_NO_ID;
    }
    if (!count)
        return;
    vocabulary->merge_batch(&vocabulary->tables, texts[0], lengths, count, ids[0], n_ids, scratch);
    for (int64_t k = 0; k < count; k++) {
        memcpy(waiting->ids[merged[k]], ids[k], sizeof ids[k]);
        waiting->n_ids[merged[k]] = n_ids[k];
    }
}

/* Finds the ids of the pretokens that wait, adds them to the cache, and closes their gaps. */
static FASTLM_NOINLINE void fastlm_settle_waiting(const fastlm_vocabulary *vocabulary, fastlm_cache *cache,
                                              fastlm_encode_state *s) {
    fastlm_waiting *waiting = s->waiting;
    uint32_t *ids = s->ids + waiting->first_id;
    int64_t to = 0, end = s->written - waiting->first_id;
    fastlm_ids_of_waiting(vocabulary, waiting, s->scratch);
    for (int64_t k = 0; k < waiting->count; k++)
        fastlm_add(cache, waiting->keys[k], waiting->texts[k], waiting->lengths[k], waiting->ids[k], waiting->n_ids[k]);
    for (int64_t k = 0; k < waiting->n_gaps; k++) {
        const uint32_t pretoken = waiting->gaps[k].pretoken;
        const int64_t from = waiting->gaps[k].at + waiting->lengths[pretoken], n_ids = waiting->n_ids[pretoken],
                      next = k + 1 < waiting->n_gaps ? waiting->gaps[k + 1].at : end;
        memcpy(ids + to, waiting->ids[pretoken], (size_t)n_ids * sizeof *ids);
        memmove(ids + to + n_ids, ids + from, (size_t)(next - from) * sizeof *ids);
        to += n_ids + next - from;
    }
    s->written = waiting->first_id + to;
    waiting->count = waiting->n_gaps = 0;
}

/* Leaves a gap for the pretoken at s->position, of up to FASTLM_BATCH_WIDTH bytes, which the cache lacks. */
static inline void fastlm_wait(const fastlm_vocabulary *vocabulary, fastlm_cache *cache, fastlm_encode_state *s,
                               fastlm_cache_key key, int64_t length) {
    fastlm_waiting *waiting = s->waiting;
    if (!waiting->n_gaps) {
        memset(waiting->slots, 0, sizeof waiting->slots);
        waiting->first_id = s->written;
    }
    uint64_t slot = key.hash % FASTLM_BATCH_SLOTS;
    while (waiting->slots[slot] && !fastlm_is_key(waiting->keys[waiting->slots[slot] - 1].words, key.words))
        slot = (slot + 1) % FASTLM_BATCH_SLOTS;
    if (!waiting->slots[slot]) {
        const int64_t k = waiting->count++;
        const uint64_t text[2] = {~key.words[0], ~key.words[1]};
        waiting->slots[slot] = (uint8_t)(k + 1);
        waiting->keys[k] = key;
        waiting->token_hashes[k] = fastlm_short_token_hash(vocabulary->tokens, key.words);
        fastlm_prefetch_read(fastlm_first_slot(vocabulary->tokens, waiting->token_hashes[k]));
        waiting->lengths[k] = length;
        memcpy(waiting->texts[k], text, sizeof text);
    }
    waiting->gaps[waiting->n_gaps].at = (uint32_t)(s->written - waiting->first_id);
    waiting->gaps[waiting->n_gaps++].pretoken = waiting->slots[slot] - 1u;
    s->written += length;
    s->position += length;
    if (waiting->count == FASTLM_BATCH)
        fastlm_settle_waiting(vocabulary, cache, s);
}

/* Writes the ids of a pretoken that the cache lacks, as one token or by merging it, and their number to *n_ids. */
static inline fastlm_status fastlm_encode_new(const fastlm_vocabulary *vocabulary, fastlm_encode_state *s,
                                              int64_t length, int64_t *n_ids) {
    const uint8_t *p = s->text + s->position;
    uint32_t *ids = s->ids + s->written;
    if (length <= vocabulary->tokens->longest) {
        const uint64_t hash = fastlm_token_hash(vocabulary->tokens, p, length, s->n - s->position);
        *n_ids = 1;
        *ids = fastlm_find_token(vocabulary->tokens, hash, p, length);
        if (*ids != FASTLM_NO_ID)
            return FASTLM_DONE;
    }
    if (vocabulary->lacks_bytes)
        for (int64_t k = 0; k < length; k++)
            if (vocabulary->tables.byte_ids[p[k]] == FASTLM_NO_ID) {
                s->needed = length;
                return FASTLM_UNKNOWN_BYTE;
            }
    if (length >= UINT32_MAX)
        return FASTLM_PRETOKEN_TOO_LONG;
    *n_ids = vocabulary->merge(&vocabulary->tables, p, length, ids, s->scratch, s->scratch_words);
    if (*n_ids < 0) {
        s->needed = -*n_ids;
        return FASTLM_SCRATCH_FULL;
    }
    return FASTLM_DONE;
}

/* Encodes a pretoken that is long, or that the first two entries of its search lack: searches further, else lets it
 * wait, or finds its ids and adds it to the cache. `known` is its key in a fastlm_lookahead. */
static FASTLM_NOINLINE fastlm_status fastlm_encode_rare(const fastlm_vocabulary *vocabulary, fastlm_cache *cache,
                                                        fastlm_encode_state *s, int64_t length,
                                                        const uint64_t known[2]) {
    const uint8_t *p = s->text + s->position;
    fastlm_cache_key key = {{0, 0}, 0};
    int64_t n_ids;
    const int cacheable = fastlm_is_cacheable(p, length);
    if (cacheable) {
        if (length <= FASTLM_ENTRY_BYTES)
            key = (fastlm_cache_key){{known[0], known[1]}, fastlm_hash_short(known[0], known[1], fastlm_cache_seed)};
        else
            key = fastlm_arena_key(known[0], length);
        fastlm_cache_entry *entry = fastlm_find(cache, key, p, length);
        if (entry) {
            n_ids = fastlm_copy_ids(cache, entry, s->ids + s->written);
            fastlm_promote(fastlm_first_entry(cache, key.hash), entry);
            s->position += length;
            s->written += n_ids;
            return FASTLM_DONE;
        }
    }
    if (s->may_wait && length <= FASTLM_BATCH_WIDTH) {
        fastlm_wait(vocabulary, cache, s, key, length);
        return FASTLM_DONE;
    }
    const fastlm_status status = fastlm_encode_new(vocabulary, s, length, &n_ids);
    if (status != FASTLM_DONE)
        return status;
    if (cacheable)
        fastlm_add(cache, key, p, length, s->ids + s->written, n_ids);
    s->position += length;
    s->written += n_ids;
    return FASTLM_DONE;
}

/* Makes the key of the pretoken text[start:end] and prefetches its entry. `careful` is for a text that may end within 16
 * bytes, or may not be UTF-8. */
static inline void fastlm_look_ahead(const fastlm_cache *cache, fastlm_lookahead *next, int64_t slot,
                                     const uint8_t *text, int64_t n, int64_t start, int64_t end, const int careful) {
    const int64_t length = end - start;
    uint64_t *key = next->keys[slot];
    if (FASTLM_UNLIKELY(length > FASTLM_ENTRY_BYTES)
        || (careful && FASTLM_UNLIKELY(text[end - 1] >= FASTLM_FIRST_NON_UTF8))) {
        /* the hash, of which fastlm_encode_rare makes the key; no entry has this one */
        key[0] = 0;
        key[1] = 1;
        next->entries[slot] = cache->entries;
        if (length > FASTLM_ENTRY_BYTES && length <= FASTLM_MAX_CACHED_BYTES) {
            key[0] = fastlm_hash_long(text + start, length, fastlm_cache_seed);
            fastlm_prefetch_read(fastlm_first_entry(cache, key[0]));
        }
        return;
    }
    fastlm_invert(text + start, length, careful ? n - start : FASTLM_ENTRY_BYTES, key);
    next->entries[slot] = fastlm_first_entry(cache, fastlm_hash_short(key[0], key[1], fastlm_cache_seed));
    fastlm_prefetch_read(next->entries[slot]);
}

static FASTLM_NOINLINE void fastlm_look_ahead_carefully(const fastlm_cache *cache, fastlm_lookahead *next,
                                                        int64_t slot, const uint8_t *text, int64_t n, int64_t start,
                                                        int64_t end) {
    fastlm_look_ahead(cache, next, slot, text, n, start, end, 1);
}

/* Encodes the pretokens ends[:count], the first of which begins at s->position. Encoding spends its time here.
 *
 * The entries of a large text's words do not fit into the processor's caches, and the processor itself looks only
 * some ten pretokens ahead. So the entry of a pretoken is prefetched FASTLM_LOOKAHEAD pretokens before it is looked up.
 * The prefetches take turns with the look-ups, because a processor waits if there are too many at once. */
static FASTLM_NOINLINE fastlm_status fastlm_encode_block(const fastlm_vocabulary *vocabulary, fastlm_cache *cache,
                                                         fastlm_encode_state *s, const int64_t *ends, int64_t count) {
    const fastlm_cache local = *cache; /* the compiler would reload the fields after each store */
    const uint8_t *const text = s->text;
    const int64_t n = s->n, first = s->position;
    const int64_t careful_after = s->scan ? n - FASTLM_ENTRY_BYTES : -1;
    uint32_t *ids = s->ids + s->written;
    int64_t start = first; /* of the pretoken to look ahead for */
    fastlm_lookahead next;
    for (int64_t i = -FASTLM_LOOKAHEAD; i < count; i++) {
        const int64_t ahead = i + FASTLM_LOOKAHEAD, slot = ahead % FASTLM_LOOKAHEAD;
        if (i >= 0) {
            fastlm_cache_entry *entry = next.entries[slot];
            if (FASTLM_UNLIKELY(!fastlm_has_key(entry, next.keys[slot])) && !fastlm_is_second(entry, next.keys[slot])) {
                s->position = i ? ends[i - 1] : first;
                s->written = ids - s->ids;
                fastlm_status status = fastlm_encode_rare(vocabulary, cache, s, ends[i] - s->position,
                                                          next.keys[slot]);
                if (FASTLM_UNLIKELY(status != FASTLM_DONE)) {
                    if (s->waiting->n_gaps)
                        fastlm_settle_waiting(vocabulary, cache, s);
                    return status;
                }
                ids = s->ids + s->written;
            } else {
                ids += fastlm_copy_ids(&local, entry, ids);
            }
        }
        if (ahead < count) {
            if (FASTLM_UNLIKELY(ends[ahead] > careful_after))
                fastlm_look_ahead_carefully(&local, &next, slot, text, n, start, ends[ahead]);
            else
                fastlm_look_ahead(&local, &next, slot, text, n, start, ends[ahead], 0);
            start = ends[ahead];
        }
    }
    s->position = ends[count - 1];
    s->written = ids - s->ids;
    if (s->waiting->n_gaps)
        fastlm_settle_waiting(vocabulary, cache, s);
    return FASTLM_DONE;
}

/* Encodes s->text from s->position on, until it is done or stops with another status. The caller handles the status
 * and calls again. */
static inline fastlm_status fastlm_encode(const fastlm_vocabulary *vocabulary, fastlm_cache *cache,
                                          fastlm_encode_state *s) {
    int64_t first = 0, count = 0; /* the pretoken ends of the next block */
    s->may_wait = s->scan && s->n_ends <= FASTLM_MOST_GAPS && !vocabulary->lacks_bytes;
    for (;;) {
        int64_t stop = s->boundary < s->n_boundaries ? s->boundaries[3 * s->boundary] : s->n;
        while (s->position < stop) {
            if (s->scan) {
                count = s->scan(s->text, stop, s->position, s->ends, s->n_ends);
                if (count < 0) {
                    s->position = s->ends[0];
                    return FASTLM_INVALID_UTF8;
                }
            } else {
                while (count < s->n_ends && s->ends[count] <= s->position) /* done in an earlier call */
                    count++;
                first = count;
                while (count < s->n_ends && s->ends[count] <= stop)
                    count++;
            }
            if (cache->used >= cache->full_at)
                return FASTLM_CACHE_FULL;
            s->needed = s->ends[count - 1] - s->position + FASTLM_SPARE_IDS;
            if (s->written + s->needed > s->ids_size)
                return FASTLM_IDS_FULL;
            fastlm_status status = fastlm_encode_block(vocabulary, cache, s, s->ends + first, count - first);
            if (status != FASTLM_DONE)
                return status;
        }
        if (s->boundary == s->n_boundaries)
            return FASTLM_DONE;
        s->needed = 1;
        if (s->written + s->needed > s->ids_size)
            return FASTLM_IDS_FULL;
        const int64_t *row = s->boundaries + 3 * s->boundary;
        if (s->ids_before)
            s->ids_before[s->boundary] = s->taken + s->written;
        if (row[2] >= 0)
            s->ids[s->written++] = (uint32_t)row[2];
        s->position = row[1];
        s->boundary++;
    }
}
#endif
