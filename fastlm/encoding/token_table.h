/* The token table: a hash table from the bytes of a token to its id, for tokens that a pretoken of these bytes becomes.
 *
 * A slot has 32 bits: the low bits are 1 + the id, and the bits above are bits of the hash, so that the bytes of other
 * tokens are seldom compared. 0 is an empty slot. At most half of the slots are taken, and a search stops at the first
 * empty one. The seed of the hash is secret: no file can be crafted to make searches long.
 */
#ifndef FASTLM_TOKEN_TABLE_H
#define FASTLM_TOKEN_TABLE_H
#include <stdint.h>
#include <string.h>
#include "../native/common.h"
#include "pretoken_cache.h"

typedef struct {
    const uint8_t *token_bytes; /* token id is token_bytes[offsets[id]:offsets[id + 1]] */
    const int64_t *offsets;
    int64_t n_bytes; /* of all tokens */
    uint32_t *slots;
    uint64_t mask; /* number of slots, a power of two, minus 1 */
    uint64_t seed[2];
    uint32_t ids;    /* the bits of a slot that hold 1 + the id */
    int64_t longest; /* bytes of the longest token in the table; 0 if it is empty */
} fastlm_token_table;

/* The hash of 1 to 16 bytes, which have these words in the pretoken cache. */
static inline uint64_t fastlm_short_token_hash(const fastlm_token_table *table, const uint64_t inverted[2]) {
    return fastlm_hash_short(inverted[0], inverted[1], table->seed);
}

/* The hash of any number of bytes. `readable` bytes may be read at p. */
static inline uint64_t fastlm_token_hash(const fastlm_token_table *table, const uint8_t *p, int64_t length,
                                         int64_t readable) {
    uint64_t inverted[2];
    if (length > FASTLM_ENTRY_BYTES)
        return fastlm_hash_long(p, length, table->seed);
    fastlm_invert(p, length, readable, inverted);
    return fastlm_short_token_hash(table, inverted);
}

static inline uint32_t *fastlm_first_slot(const fastlm_token_table *table, uint64_t hash) {
    return table->slots + (hash & table->mask);
}

/* The id of the first slot from `slot` on whose hash bits are right, or FASTLM_NO_ID; `slot` is set to that slot, or to
 * an empty one. */
static inline uint32_t fastlm_next_candidate(const fastlm_token_table *table, uint64_t hash, uint64_t *slot) {
    const uint32_t tag = (uint32_t)(hash >> 32) & ~table->ids;
    for (;; *slot = (*slot + 1) & table->mask) {
        const uint32_t held = table->slots[*slot];
        if (!held)
            return FASTLM_NO_ID;
        if ((held & ~table->ids) == tag)
            return (held & table->ids) - 1;
    }
}

static inline int fastlm_is_token(const fastlm_token_table *table, uint32_t id, const uint8_t *p, int64_t length) {
    const int64_t start = table->offsets[id];
    return table->offsets[id + 1] - start == length && !memcmp(table->token_bytes + start, p, (size_t)length);
}

/* The id of the token that has the bytes p[:length], or FASTLM_NO_ID. `slot` is set to its slot, or to an empty one. */
static inline uint32_t fastlm_search_token(const fastlm_token_table *table, uint64_t hash, const uint8_t *p,
                                           int64_t length, uint64_t *slot) {
    *slot = hash & table->mask;
    for (;;) {
        const uint32_t id = fastlm_next_candidate(table, hash, slot);
        if (id == FASTLM_NO_ID || fastlm_is_token(table, id, p, length))
            return id;
        *slot = (*slot + 1) & table->mask;
    }
}

static inline uint32_t fastlm_find_token(const fastlm_token_table *table, uint64_t hash, const uint8_t *p,
                                         int64_t length) {
    uint64_t slot;
    return length > table->longest ? FASTLM_NO_ID : fastlm_search_token(table, hash, p, length, &slot);
}

/* Whether a token has these words in the pretoken cache, and `length` bytes, 1 to 16. */
static inline int fastlm_is_short_token(const fastlm_token_table *table, uint32_t id, const uint64_t inverted[2],
                                        int64_t length) {
    const int64_t start = table->offsets[id];
    uint64_t own[2];
    if (table->offsets[id + 1] - start != length)
        return 0;
    fastlm_invert(table->token_bytes + start, length, table->n_bytes - start, own);
    return fastlm_is_key(own, inverted);
}

/* Sets ids[k] to the id of the token of lengths[k] bytes, 1 to 16, that has the words keys[k] in the pretoken cache, or
 * to FASTLM_NO_ID. Each step loads for all `count` of them what the next step reads. */
static inline void fastlm_find_tokens_of(const fastlm_token_table *table, const fastlm_cache_key *keys,
                                         const uint64_t *hashes, const int64_t *lengths, int64_t count,
                                         uint32_t *ids) {
    for (int64_t k = 0; k < count; k++) {
        uint64_t slot = hashes[k] & table->mask;
        ids[k] = fastlm_next_candidate(table, hashes[k], &slot);
        if (ids[k] != FASTLM_NO_ID)
            fastlm_prefetch_read(table->offsets + ids[k]);
    }
    for (int64_t k = 0; k < count; k++)
        if (ids[k] != FASTLM_NO_ID)
            fastlm_prefetch_read(table->token_bytes + table->offsets[ids[k]]);
    for (int64_t k = 0; k < count; k++) {
        if (ids[k] == FASTLM_NO_ID || fastlm_is_short_token(table, ids[k], keys[k].words, lengths[k]))
            continue;
        const uint64_t text[2] = {~keys[k].words[0], ~keys[k].words[1]};
        ids[k] = fastlm_find_token(table, hashes[k], (const uint8_t *)text, lengths[k]);
    }
}

/* Adds the tokens ids[:count], which are not empty. The first of several tokens with the same bytes counts. The slots
 * of the next tokens are prefetched. */
static inline void fastlm_add_tokens(fastlm_token_table *table, const int64_t *ids, int64_t count) {
    enum { AHEAD = 32 };
    uint64_t hashes[AHEAD], slot;
    for (int64_t first = 0; first < count; first += AHEAD) {
        const int64_t some = count - first < AHEAD ? count - first : AHEAD;
        for (int64_t k = 0; k < some; k++) {
            const int64_t start = table->offsets[ids[first + k]], length = table->offsets[ids[first + k] + 1] - start;
            hashes[k] = fastlm_token_hash(table, table->token_bytes + start, length, table->n_bytes - start);
            fastlm_prefetch_write(fastlm_first_slot(table, hashes[k]));
            if (length > table->longest)
                table->longest = length;
        }
        for (int64_t k = 0; k < some; k++) {
            const int64_t start = table->offsets[ids[first + k]], length = table->offsets[ids[first + k] + 1] - start;
            if (fastlm_search_token(table, hashes[k], table->token_bytes + start, length, &slot) == FASTLM_NO_ID)
                table->slots[slot] = ((uint32_t)(hashes[k] >> 32) & ~table->ids) | (uint32_t)(ids[first + k] + 1);
        }
    }
}

/* Adds the tokens ids[:count] of the table to a pretoken cache, except long ones. The first of several tokens with the
 * same bytes counts. The entries of the next tokens are prefetched. */
static inline void fastlm_cache_tokens(fastlm_cache *cache, const fastlm_token_table *table, const int64_t *ids,
                                       int64_t count) {
    enum { AHEAD = 32 };
    fastlm_cache_key keys[AHEAD];
    uint32_t chosen[AHEAD];
    for (int64_t at = 0; at < count;) {
        int some = 0;
        for (; at < count && some < AHEAD; at++) {
            const int64_t start = table->offsets[ids[at]], length = table->offsets[ids[at] + 1] - start;
            if (length > FASTLM_ENTRY_BYTES || !fastlm_is_cacheable(table->token_bytes + start, length))
                continue;
            keys[some] = fastlm_inline_key(table->token_bytes + start, length, table->n_bytes - start);
            fastlm_prefetch_write(fastlm_first_entry(cache, keys[some].hash));
            chosen[some++] = (uint32_t)ids[at];
        }
        for (int k = 0; k < some; k++)
            if (!fastlm_find(cache, keys[k], NULL, FASTLM_ENTRY_BYTES))
                fastlm_add(cache, keys[k], NULL, FASTLM_ENTRY_BYTES, &chosen[k], 1);
    }
}
#endif
