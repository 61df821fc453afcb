/* Finds positions of a text at which one of several byte strings may begin: the first two bytes of a string occur
 * there. Such pairs are rare in text, for any number of strings, so the search after a match may be slow.
 *
 * `filter` holds four tables of 16 and a bitmap. A set of bytes has two tables: bit h of table[l] tells whether byte h
 * * 16 + l is in the set, for h below 8 in the first table and bit h - 8 for other h in the second. The first two are
 * the first bytes, the others the second bytes, and bit b of the bitmap's byte a * 32 + b / 8 says that b may follow a.
 */
#ifndef FASTLM_PAIR_FILTER_H
#define FASTLM_PAIR_FILTER_H
#include <stdint.h>

#define FASTLM_FILTER_BYTES (64 + 8192)

static inline int fastlm_may_follow(const uint8_t *filter, uint8_t first, uint8_t second) {
    return filter[64 + first * 32 + second / 8] >> (second % 8) & 1;
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
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

__attribute__((target("avx2"))) static int64_t fastlm_next_pair_avx2(const uint8_t *text, int64_t n, int64_t at,
                                                                     const uint8_t *filter) {
    for (; at + 33 <= n; at += 32) {
        __m256i first = fastlm_in_set(_mm256_loadu_si256((const __m256i *)(text + at)), filter);
        __m256i second = fastlm_in_set(_mm256_loadu_si256((const __m256i *)(text + at + 1)), filter + 32);
        uint32_t both = (uint32_t)_mm256_movemask_epi8(_mm256_and_si256(first, second));
        for (; both; both &= both - 1) {
            int64_t i = at + __builtin_ctz(both);
            if (fastlm_may_follow(filter, text[i], text[i + 1])) return i;
        }
    }
    return at;
}
#endif

/* Returns the first position from `at` at which a string may begin, or n. The last byte of a text is such a position.
 */
static inline int64_t fastlm_next_pair(const uint8_t *text, int64_t n, int64_t at, const uint8_t *filter) {
#ifdef FASTLM_FILTER_X86
    if (n - at >= 64 && __builtin_cpu_supports("avx2")) {
        at = fastlm_next_pair_avx2(text, n, at, filter);
        if (at + 33 <= n) return at;
    }
#endif
    while (at + 1 < n && !fastlm_may_follow(filter, text[at], text[at + 1])) at++;
    return at;
}
#endif
