/* Finds byte strings in a text, such as added tokens: the leftmost first, and the longest one at each place.
 *
 * The strings form a trie in flat arrays. The edges of node v are first_edge[v] to first_edge[v + 1], sorted by byte;
 * root has the targets of the root's edges by byte. A filter on two bytes skips the places where no string begins,
 * 32 at a time: pairs of bytes that begin a string are rare in text, for any number of strings. A match takes as many
 * steps as the longest string has bytes at most.
 */
#ifndef FASTLM_TOKEN_TRIE_H
#define FASTLM_TOKEN_TRIE_H
#include <stdint.h>

typedef struct {
    /* Four tables of 16 and a bitmap. A set of bytes has two tables: bit h of table[l] tells whether byte h * 16 + l
     * is in the set, for h below 8 in the first table and bit h - 8 for other h in the second. The first two are the
     * first bytes, the others the second bytes. Bit b of the bitmap's byte a * 32 + b / 8 tells whether b follows a. */
    const uint8_t *filter;
    const int32_t *root;
    const int32_t *first_edge;
    const uint8_t *edge_byte;
    const int32_t *edge_target;
    const int64_t *id_at; /* the id of the string that ends at a node, or -1 */
} fastlm_token_trie;

enum { FASTLM_FILTER_BITMAP = 64, FASTLM_FILTER_BYTES = FASTLM_FILTER_BITMAP + 8192 };

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
#include "../native/cpu.h"
#define FASTLM_FILTER_X86 1

__attribute__((target("avx2"))) static inline __m256i fastlm_in_set(__m256i bytes, const uint8_t *tables) {
    __m256i below = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)tables));
    __m256i above = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(tables + 16)));
    __m256i bit_of = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    __m256i low = _mm256_and_si256(bytes, _mm256_set1_epi8(15));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(15));
    __m256i bit = _mm256_shuffle_epi8(bit_of, high);
    __m256i row = _mm256_blendv_epi8(_mm256_shuffle_epi8(below, low), _mm256_shuffle_epi8(above, low), bytes);
    return _mm256_cmpeq_epi8(_mm256_and_si256(row, bit), bit);
}

/* Returns the first place from `at` where the filter lets a string begin, or a place less than 33 bytes before n. */
__attribute__((target("avx2"))) static int64_t fastlm_skip_pairs_avx2(const uint8_t *text, int64_t n, int64_t at,
                                                                      const uint8_t *filter) {
    for (; at + 33 <= n; at += 32) {
        __m256i first = fastlm_in_set(_mm256_loadu_si256((const __m256i *)(text + at)), filter);
        __m256i second = fastlm_in_set(_mm256_loadu_si256((const __m256i *)(text + at + 1)), filter + 32);
        uint32_t both = (uint32_t)_mm256_movemask_epi8(_mm256_and_si256(first, second));
        for (; both; both &= both - 1) {
            const uint8_t *pair = text + at + __builtin_ctz(both);
            if (filter[FASTLM_FILTER_BITMAP + pair[0] * 32 + pair[1] / 8] >> (pair[1] % 8) & 1)
                return pair - text;
        }
    }
    return at;
}
#endif

/* Returns the id of the longest string that begins at text[start] and sets *end, or returns -1. */
static int64_t fastlm_longest_match(const fastlm_token_trie *trie, const uint8_t *text, int64_t n, int64_t start,
                                    int64_t *end) {
    int64_t id = -1, at = start + 1;
    for (int32_t node = trie->root[text[start]]; node;) {
        if (trie->id_at[node] >= 0) {
            id = trie->id_at[node];
            *end = at;
        }
        if (at == n)
            return id;
        int32_t low = trie->first_edge[node], last = trie->first_edge[node + 1], high = last;
        while (low < high) {
            int32_t middle = low + (high - low) / 2;
            if (trie->edge_byte[middle] < text[at])
                low = middle + 1;
            else
                high = middle;
        }
        if (low == last || trie->edge_byte[low] != text[at])
            return id;
        node = trie->edge_target[low];
        at++;
    }
    return id;
}

/* Writes start, end and id of each string in text[*position:n] to rows, (capacity, 3), and moves *position behind the
 * last one. Returns the number of rows; less than `capacity` means that the rest of the text has none. */
static inline int64_t fastlm_find_tokens(const fastlm_token_trie *trie, const uint8_t *text, int64_t n,
                                         int64_t *position, int64_t *rows, int64_t capacity) {
    const uint8_t *follows = trie->filter + FASTLM_FILTER_BITMAP;
    int64_t found = 0, at = *position;
#ifdef FASTLM_FILTER_X86
    const int has_avx2 = n - at >= 64 && fastlm_x86_level() >= 3;
#endif
    while (at < n && found < capacity) {
#ifdef FASTLM_FILTER_X86
        if (has_avx2 && n - at >= 64)
            at = fastlm_skip_pairs_avx2(text, n, at, trie->filter);
#endif
        while (at + 1 < n && !(follows[text[at] * 32 + text[at + 1] / 8] >> (text[at + 1] % 8) & 1))
            at++;
        int64_t *row = rows + 3 * found;
        /* the filter says nothing of the last byte */
        if (at + 1 < n || trie->root[text[at]]) {
            row[2] = fastlm_longest_match(trie, text, n, at, &row[1]);
            if (row[2] >= 0) {
                row[0] = at;
                at = row[1];
                found++;
                continue;
            }
        }
        at++;
    }
    *position = at;
    return found;
}
#endif
