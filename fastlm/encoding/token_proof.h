/* Proves of tokens that their bytes are encoded to themselves, without merging the bytes.
 *
 * Let a merge of the ids l and r make a token. The bytes of l and r alone become l and r. In the bytes of the token the
 * same merges happen on both sides, by rank and from left to right, unless a merge across the boundary comes first. So
 * the token is proven if l and r are, and no pair across the boundary is merged too early. These pairs are found
 * backwards: of the two symbols next to the boundary, the one that was made last is replaced by its part next to the
 * boundary. A pair is merged too early if its rank is below the ranks of the merges that take its two symbols; among
 * equal ranks the leftmost merge comes first.
 *
 * The ranks must ascend from the parts of a token to the token, and only one merge may make it. Trained vocabularies and
 * rank files are such. Other tokens are not proven, though they may be encoded to themselves.
 */
#ifndef FASTLM_TOKEN_PROOF_H
#define FASTLM_TOKEN_PROOF_H
#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#include "encode_loop.h"

enum {
    FASTLM_WAITING_CHECKS = 64,
    /* Merges ahead whose parts are prefetched. */
    FASTLM_MERGES_AHEAD = 12,
};

/* How a token is made. */
typedef struct {
    uint32_t row; /* of its merge in fastlm_merge_tables.merges; 0 for none, UINT32_MAX for several */
    uint32_t left, right;
    uint32_t padding; /* 16 bytes, so that it is in one cache line */
} fastlm_token_parts;

/* A pair across the boundary of a token, and the merges that take its symbols. */
typedef struct {
    uint64_t pair, hash;
    uint32_t takes_left, takes_right, id;
    uint32_t row; /* the likely row of the pair */
} fastlm_boundary_check;

static inline uint64_t fastlm_pair_hash(const fastlm_merge_tables *tables, uint64_t pair) {
    return (pair ^ pair >> 29) * tables->multiplier;
}

/* Returns bit k for each slot k of a bucket that has a pair's tag. */
static inline uint32_t fastlm_tag_matches(const fastlm_merge_tables *tables, const uint32_t *slots, uint64_t hash) {
    const uint32_t rows = (uint32_t)((UINT64_C(1) << tables->row_bits) - 1), tag = (uint32_t)hash & ~rows;
    uint32_t found = 0;
#if defined(__SSE2__)
    const __m128i mask = _mm_set1_epi32((int)~rows), tags = _mm_set1_epi32((int)tag);
    for (int half = 0; half < 2; half++) {
        __m128i kept = _mm_and_si128(_mm_loadu_si128((const __m128i *)(slots + 4 * half)), mask);
        found |= (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(kept, tags))) << 4 * half;
    }
#else
    for (int k = 0; k < 8; k++)
        found |= (uint32_t)((slots[k] & ~rows) == tag) << k;
#endif
    return found;
}

/* Returns the row in tables->merges of a pair, `left << 32 | right`, or 0. The kernel's rank_of does the same. */
static inline uint32_t fastlm_merge_row(const fastlm_merge_tables *tables, uint64_t pair, uint64_t hash) {
    const uint64_t last_bucket = (UINT64_C(1) << (64 - tables->shift)) - 1;
    const uint32_t rows = (uint32_t)((UINT64_C(1) << tables->row_bits) - 1);
    for (uint64_t bucket = hash >> tables->shift;; bucket = (bucket + 1) & last_bucket) {
        const uint32_t *slots = tables->slots + 8 * bucket;
        for (uint32_t found = fastlm_tag_matches(tables, slots, hash); found; found &= found - 1) {
            uint32_t row = slots[__builtin_ctz(found)] & rows;
            if (tables->merges[2 * (uint64_t)row] == pair)
                return row;
        }
        if (!slots[7])
            return 0;
    }
}

/* Sets proven[id] to 0 for each token whose check fails. */
static inline void fastlm_do_checks(const fastlm_merge_tables *tables, fastlm_boundary_check *checks, int count,
                                    uint8_t *proven) {
    const uint32_t rows = (uint32_t)((UINT64_C(1) << tables->row_bits) - 1);
    for (int k = 0; k < count; k++) {
        const uint32_t *slots = tables->slots + 8 * (checks[k].hash >> tables->shift);
        uint32_t found = fastlm_tag_matches(tables, slots, checks[k].hash);
        checks[k].row = found ? slots[__builtin_ctz(found)] & rows : 0;
        fastlm_prefetch_read(tables->merges + 2 * (uint64_t)checks[k].row);
    }
    for (int k = 0; k < count; k++) {
        const fastlm_boundary_check *check = checks + k;
        uint32_t across = check->row;
        if (across >= check->takes_left || across > check->takes_right)
            continue;
        if (tables->merges[2 * (uint64_t)across] != check->pair)
            across = fastlm_merge_row(tables, check->pair, check->hash);
        if (across && across < check->takes_left && across <= check->takes_right)
            proven[check->id] = 0;
    }
}

/* Sets proven[id] to 1 for the tokens that are proven, to 0 for others.
 *
 * The merges are rows 1 to n_merges of tables->merges, and their ids are below n_ids. parts (n_ids,) is working memory.
 * The arrays begin as zeros. */
static inline void fastlm_prove_tokens(const fastlm_merge_tables *tables, int64_t n_merges, fastlm_token_parts *parts,
                                       uint8_t *proven) {
    const uint32_t none = UINT32_MAX; /* the row of a merge that never happens */
    const uint64_t *merges = tables->merges;
    fastlm_boundary_check checks[FASTLM_WAITING_CHECKS];
    int count = 0;
    for (int k = 0; k < 256; k++)
        if (tables->byte_ids[k] != FASTLM_NO_ID)
            proven[tables->byte_ids[k]] = 1;
    for (uint64_t row = 1; row <= (uint64_t)n_merges; row++) {
        fastlm_token_parts *made = parts + merges[2 * row + 1];
        made->row = made->row ? none : (uint32_t)row;
        made->left = (uint32_t)(merges[2 * row] >> 32);
        made->right = (uint32_t)merges[2 * row];
    }
    for (uint64_t row = 1; row <= (uint64_t)n_merges; row++) {
        if (row + FASTLM_MERGES_AHEAD <= (uint64_t)n_merges) {
            const uint64_t ahead = merges[2 * (row + FASTLM_MERGES_AHEAD)];
            fastlm_prefetch_read(parts + (ahead >> 32));
            fastlm_prefetch_read(parts + (uint32_t)ahead);
        }
        const uint64_t id = merges[2 * row + 1];
        uint32_t left = (uint32_t)(merges[2 * row] >> 32), right = (uint32_t)merges[2 * row];
        fastlm_token_parts of_left = parts[left], of_right = parts[right];
        uint32_t takes_left = none, takes_right = none; /* the merges that take the symbols next to the boundary */
        if (parts[id].row != row || of_left.row >= row || of_right.row >= row || !proven[left] || !proven[right])
            continue;
        proven[id] = 1; /* until a check fails */
        while (of_left.row || of_right.row) {
            if (of_left.row > of_right.row) {
                takes_left = of_left.row;
                left = of_left.right;
                of_left = parts[left];
            } else {
                takes_right = of_right.row;
                right = of_right.left;
                of_right = parts[right];
            }
            const uint64_t pair = (uint64_t)left << 32 | right, hash = fastlm_pair_hash(tables, pair);
            fastlm_prefetch_read(tables->slots + 8 * (hash >> tables->shift));
            checks[count++] = (fastlm_boundary_check){pair, hash, takes_left, takes_right, (uint32_t)id, 0};
            if (count == FASTLM_WAITING_CHECKS) {
                fastlm_do_checks(tables, checks, count, proven);
                count = 0;
            }
        }
    }
    fastlm_do_checks(tables, checks, count, proven);
    /* a part may have failed after the token was begun */
    for (uint64_t row = 1; row <= (uint64_t)n_merges; row++) {
        const uint64_t id = merges[2 * row + 1];
        if (parts[id].row == row)
            proven[id] &= proven[merges[2 * row] >> 32] & proven[(uint32_t)merges[2 * row]];
    }
}
#endif
