/* Class masks of 64 bytes of text. Bit i of a mask describes byte i. All bytes of a character have its class.
 *
 * scan.h includes this file once for each instruction set, between target pragmas. FASTLM_ISA is the suffix of the
 * instruction set, and FASTLM_USE_AVX2 and FASTLM_USE_AVX512 select the intrinsics. Vector comparisons or a table
 * classify ASCII; multibyte.h classifies other characters. */
#ifndef FASTLM_ISA
#include "isa_alone.h"
#endif

/* Computes the ASCII classes of the 64 bytes at p. */
static inline __attribute__((always_inline)) void FASTLM_NAME(fastlm_ascii_masks)(const uint8_t *p, const int family,
                                                                                  fastlm_masks *m) {
    /* field by field: GCC clears a struct of this size with a slow loop, and keeps it in memory */
    m->letter = m->number = m->whitespace = m->newline = m->blank = m->apostrophe = m->above = 0;
    m->upper = m->lower = m->mark = m->slash = m->apart = m->odd = m->continuation = 0;
#if defined(FASTLM_USE_AVX512)
    /* one permutation looks up the classes of 64 bytes in a table of 128 */
    const __m512i bytes = _mm512_loadu_si512(p);
    m->above = _mm512_movepi8_mask(bytes);
#define FASTLM_CLASSES_IN(table)                                                                                       \
    _mm512_maskz_permutex2var_epi8(~m->above, _mm512_loadu_si512(table), bytes, _mm512_loadu_si512((table) + 64))
#define FASTLM_WITH(classes, bit) _mm512_test_epi8_mask(classes, _mm512_set1_epi8(bit))
    const __m512i classes = FASTLM_CLASSES_IN(fastlm_ascii_class);
    m->letter = FASTLM_WITH(classes, 1);
    m->number = FASTLM_WITH(classes, 2);
    m->whitespace = FASTLM_WITH(classes, 4);
    m->blank = FASTLM_WITH(classes, 8);
    m->apostrophe = FASTLM_WITH(classes, 16);
    m->newline = FASTLM_WITH(classes, 32);
    if (family >= FASTLM_CASED) {
        const __m512i details = FASTLM_CLASSES_IN(fastlm_ascii_detail);
        m->upper = FASTLM_WITH(details, 1);
        m->slash = FASTLM_WITH(details, 2);
        if (family == FASTLM_CJK) m->odd = FASTLM_WITH(details, 4);
    }
#undef FASTLM_WITH
#undef FASTLM_CLASSES_IN
#elif defined(FASTLM_USE_AVX2)
    __m256i v0 = _mm256_loadu_si256((const __m256i *)p), v1 = _mm256_loadu_si256((const __m256i *)(p + 32));
#define FASTLM_MASK_OF(of)                                                                                                \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(of(v0)) | (uint64_t)(uint32_t)_mm256_movemask_epi8(of(v1)) << 32)
#define FASTLM_IS(v, byte) _mm256_cmpeq_epi8(v, _mm256_set1_epi8(byte))
#define FASTLM_AT_MOST(x, top) _mm256_cmpeq_epi8(_mm256_min_epu8(x, _mm256_set1_epi8(top)), x)
#define FASTLM_FROM(v, first, count)                                                                                   \
    FASTLM_AT_MOST(_mm256_sub_epi8(v, _mm256_set1_epi8(first)), (count) - 1)
#define FASTLM_A_LETTER(v) FASTLM_FROM(_mm256_or_si256(v, _mm256_set1_epi8(0x20)), 'a', 26)
#define FASTLM_A_DIGIT(v) FASTLM_FROM(v, '0', 10)
#define FASTLM_A_BLANK(v) FASTLM_IS(v, ' ')
#define FASTLM_A_SPACE(v) _mm256_or_si256(FASTLM_A_BLANK(v), FASTLM_FROM(v, '\t', 5))
#define FASTLM_A_NEWLINE(v) _mm256_or_si256(FASTLM_IS(v, '\n'), FASTLM_IS(v, '\r'))
#define FASTLM_AN_APOSTROPHE(v) FASTLM_IS(v, '\'')
#define FASTLM_AN_UPPER(v) FASTLM_FROM(v, 'A', 26)
#define FASTLM_A_SLASH(v) FASTLM_IS(v, '/')
#define FASTLM_A_CONTROL(v) _mm256_or_si256(FASTLM_AT_MOST(v, 0x1F), FASTLM_IS(v, 0x7F))
#define FASTLM_ITSELF(v) v
    m->letter = FASTLM_MASK_OF(FASTLM_A_LETTER);
    m->number = FASTLM_MASK_OF(FASTLM_A_DIGIT);
    m->whitespace = FASTLM_MASK_OF(FASTLM_A_SPACE);
    m->newline = FASTLM_MASK_OF(FASTLM_A_NEWLINE);
    m->blank = FASTLM_MASK_OF(FASTLM_A_BLANK);
    m->apostrophe = FASTLM_MASK_OF(FASTLM_AN_APOSTROPHE);
    m->above = FASTLM_MASK_OF(FASTLM_ITSELF);
    if (family >= FASTLM_CASED) {
        m->upper = FASTLM_MASK_OF(FASTLM_AN_UPPER);
        m->slash = FASTLM_MASK_OF(FASTLM_A_SLASH);
    }
    if (family == FASTLM_CJK) m->odd = FASTLM_MASK_OF(FASTLM_A_CONTROL);
#undef FASTLM_MASK_OF
#else
    for (int i = 0; i < 64; i += 8) {
        uint64_t classes = 0;
        for (int k = 0; k < 8; k++) classes |= (uint64_t)fastlm_ascii_class[p[i + k]] << (8 * k);
        /* a multiplication gathers one bit of each of eight bytes into a byte */
#define FASTLM_GATHERED(bit) (((classes >> bit & 0x0101010101010101u) * 0x0102040810204080u >> 56) << i)
        m->letter |= FASTLM_GATHERED(0);
        m->number |= FASTLM_GATHERED(1);
        m->whitespace |= FASTLM_GATHERED(2);
        m->blank |= FASTLM_GATHERED(3);
        m->apostrophe |= FASTLM_GATHERED(4);
        m->newline |= FASTLM_GATHERED(5);
        m->above |= FASTLM_GATHERED(7);
        if (family >= FASTLM_CASED) {
            classes = 0;
            for (int k = 0; k < 8; k++) classes |= (uint64_t)fastlm_ascii_detail[p[i + k]] << (8 * k);
            m->upper |= FASTLM_GATHERED(0);
            m->slash |= FASTLM_GATHERED(1);
            if (family == FASTLM_CJK) m->odd |= FASTLM_GATHERED(2);
        }
#undef FASTLM_GATHERED
    }
#endif
    if (family >= FASTLM_CASED) m->lower = m->letter & ~m->upper;
    if (family == FASTLM_CJK) m->odd &= ~m->whitespace;
}

#include "multibyte.h"

/* Fills the masks of the block text[base:base + 64]. The text ends at n; the block is padded with tabs. A character is
 * a letter if it has one of `letter_flags`. Returns -1, or the offset of the first bytes that are not well-formed
 * UTF-8. */
static inline __attribute__((always_inline)) int64_t FASTLM_NAME(fastlm_classify)(
    const uint8_t *text, int64_t n, int64_t base, const uint8_t letter_flags, const int family, fastlm_masks *m,
    fastlm_carry *carry) {
    uint8_t padded[96];
    const uint8_t *p = text + base;
    if (n - base < 68) {
        memset(padded, '\t', sizeof padded);
        memcpy(padded, p, (size_t)(n - base));
        p = padded;
    }
    FASTLM_NAME(fastlm_ascii_masks)(p, family, m);
    if (!(m->above | carry->due)) return -1;
    /* a copy for these blocks only: the compiler keeps masks in memory if their address is taken */
    fastlm_masks all = *m;
    int64_t bad = FASTLM_NAME(fastlm_multibyte_masks)(text, n, base, p, letter_flags, family, &all, carry);
    *m = all;
    return bad;
}

/* Marks the start of each character whose last byte in the block is in `last_bytes`: in `starts`, or in `pending`, the
 * starts of the previous block, if the character starts there. */
static inline void FASTLM_NAME(fastlm_start_characters)(const uint8_t *text, int64_t base, uint64_t last_bytes,
                                                        uint64_t above, uint64_t *starts, uint64_t *pending) {
    *starts |= last_bytes & ~above;
    for (uint64_t multibyte = last_bytes & above; multibyte; multibyte &= multibyte - 1) {
        int64_t at = fastlm_lead(text, base + __builtin_ctzll(multibyte));
        if (at >= base) *starts |= (uint64_t)1 << (at - base);
        else *pending |= (uint64_t)1 << (at - (base - 64));
    }
}

/* Returns a bit at the start of the block's last character if that is in the class `mask`, else 0. */
static inline uint64_t FASTLM_NAME(fastlm_last_start)(const uint8_t *text, int64_t base, uint64_t mask,
                                                      uint64_t above) {
    const uint64_t last = (uint64_t)1 << 63;
    if (!(mask & above & last)) return mask & last;
    return (uint64_t)1 << (fastlm_lead(text, base + 63) - base);
}

/* Appends base + i to ends[written:] for each bit i of `starts`. Overwrites up to FASTLM_SPARE_ENDS entries after the
 * last one. */
static inline int64_t FASTLM_NAME(fastlm_write_ends)(uint64_t starts, int64_t base, int64_t *ends, int64_t written) {
#if defined(FASTLM_USE_AVX512) /* few blocks have more than 24 starts, so the branch is predicted well */
    const __m512i positions = _mm512_maskz_compress_epi8(starts, _mm512_loadu_si512(fastlm_positions));
    const __m512i offset = _mm512_set1_epi64(base);
    const int64_t count = __builtin_popcountll(starts);
#define FASTLM_WRITE_8(k, of_16)                                                                                       \
    _mm512_storeu_si512(ends + written + (k), _mm512_add_epi64(_mm512_cvtepu8_epi64(of_16), offset))
#define FASTLM_WRITE_16(k, of_16) FASTLM_WRITE_8(k, of_16), FASTLM_WRITE_8((k) + 8, _mm_srli_si128(of_16, 8))
    FASTLM_WRITE_16(0, _mm512_castsi512_si128(positions));
    FASTLM_WRITE_8(16, _mm512_extracti32x4_epi32(positions, 1));
    if (FASTLM_UNLIKELY(count > 24)) {
        FASTLM_WRITE_8(24, _mm_srli_si128(_mm512_extracti32x4_epi32(positions, 1), 8));
        FASTLM_WRITE_16(32, _mm512_extracti32x4_epi32(positions, 2));
        FASTLM_WRITE_16(48, _mm512_extracti32x4_epi32(positions, 3));
    }
#undef FASTLM_WRITE_16
#undef FASTLM_WRITE_8
    written += count;
#elif defined(FASTLM_USE_AVX2) /* without branches, which would often be mispredicted */
    __m256i offset = _mm256_set1_epi64x(base);
    for (int byte = 0; byte < 8; byte++, starts >>= 8) {
        const uint32_t *bits = fastlm_bits_of_byte[starts & 0xFF];
        __m256i first = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128((int)bits[0]));
        __m256i more = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128((int)bits[1]));
        _mm256_storeu_si256((__m256i *)(ends + written), _mm256_add_epi64(first, offset));
        _mm256_storeu_si256((__m256i *)(ends + written + 4), _mm256_add_epi64(more, offset));
        written += __builtin_popcountll(starts & 0xFF);
        offset = _mm256_add_epi64(offset, _mm256_set1_epi64x(8));
    }
#else
    for (; starts; starts &= starts - 1) ends[written++] = base + __builtin_ctzll(starts);
#endif
    return written;
}

/* Ends a block of any scan: writes the starts of the previous block, keeps the starts of this one, and handles the end
 * of the text. Returns whether the text is done or `ends` has no capacity for another block. */
static inline __attribute__((always_inline)) int FASTLM_NAME(fastlm_end_block)(
    uint64_t starts, int64_t base, int64_t start, int64_t n, uint64_t *pending, int64_t *ends, int64_t *written,
    int64_t capacity) {
    if (base == start) starts &= ~(uint64_t)1; /* the start of the scan is not the end of a pretoken */
    *written = FASTLM_NAME(fastlm_write_ends)(*pending, base - 64, ends, *written);
    *pending = starts;
    if (base >= n) ends[(*written)++] = n;
    return base >= n || *written > capacity - FASTLM_STEP_ENDS;
}
