/* Class masks of 64 bytes of text: bit i of a mask speaks of byte i, and all bytes of a character carry its class.
 *
 * Included once for each instruction set, between `#pragma GCC target` lines; FASTLM_ISA is that set's suffix and
 * FASTLM_USE_AVX2 chooses the intrinsics. ASCII is classified by compares on whole vectors, other characters in
 * multibyte.h. */

#define FASTLM_JOIN_(a, b) a##b
#define FASTLM_JOIN(a, b) FASTLM_JOIN_(a, b)
#define FASTLM_NAME(stem) FASTLM_JOIN(stem, FASTLM_ISA)

#ifndef FASTLM_BLOCKS_TYPES
#define FASTLM_BLOCKS_TYPES
typedef struct {
    uint64_t letter, number, whitespace, newline /* CR, LF */, blank /* U+0020 */, apostrophe, above /* 0x7F */;
    uint64_t upper, lower, mark, slash, apart, odd; /* of some families only: see fastlm_class_of_flags */
    uint64_t continuation; /* bytes that do not start a character */
} fastlm_masks;

/* Where a class goes on: the byte before is of it too, `last` if that is in the block before. */
static inline uint64_t fastlm_goes_on(uint64_t mask, uint64_t last) { return mask & (mask << 1 | last); }

/* What a family of splits asks of a character beyond letter, number and white space. */
enum { FASTLM_PLAIN, FASTLM_NEWER_DIGITS, FASTLM_CASED, FASTLM_CASED_HAN, FASTLM_CJK };

/* Of these, FASTLM_CASED_HAN and FASTLM_CJK alone have the last two. Apart are letters that others do not join, Han or
 * deepseek's CJK; odd is what is so rare and so contrary that its surroundings are scanned one character at a time. */
enum {
    FASTLM_IS_OTHER, FASTLM_IS_UPPER, FASTLM_IS_LOWER, FASTLM_IS_BOTH, FASTLM_IS_MARK, FASTLM_IS_NUMBER,
    FASTLM_IS_WHITESPACE, FASTLM_IS_APART, FASTLM_IS_ODD, FASTLM_CLASSES,
};

/* From all flags that characters have (fastlm_family_flags); the last two rows are those families'. */
#define FASTLM_ANY_CASE (FASTLM_UPPERLIKE | FASTLM_LOWERLIKE)
#define FASTLM_SHARED_CLASSES                                                                                          \
    [FASTLM_LETTER | FASTLM_UPPERLIKE] = FASTLM_IS_UPPER, [FASTLM_LETTER | FASTLM_LOWERLIKE] = FASTLM_IS_LOWER,        \
    [FASTLM_LETTER | FASTLM_ANY_CASE] = FASTLM_IS_BOTH, [FASTLM_MARK | FASTLM_ANY_CASE] = FASTLM_IS_MARK,              \
    [FASTLM_NUMBER] = FASTLM_IS_NUMBER, [FASTLM_WHITESPACE] = FASTLM_IS_WHITESPACE
#define FASTLM_HAN_CLASSES(letter, mark, number, symbol)                                                               \
    [FASTLM_HAN | FASTLM_LETTER | FASTLM_ANY_CASE] = letter, [FASTLM_HAN | FASTLM_MARK | FASTLM_ANY_CASE] = mark,      \
    [FASTLM_HAN | FASTLM_NUMBER] = number, [FASTLM_HAN | FASTLM_PUNCT_OR_SYMBOL] = symbol
static const uint8_t fastlm_class_of_flags[3][256] = {
    {FASTLM_SHARED_CLASSES,
     FASTLM_HAN_CLASSES(FASTLM_IS_BOTH, FASTLM_IS_MARK, FASTLM_IS_NUMBER, FASTLM_IS_OTHER)},
    {FASTLM_SHARED_CLASSES,
     FASTLM_HAN_CLASSES(FASTLM_IS_APART, FASTLM_IS_ODD, FASTLM_IS_ODD, FASTLM_IS_ODD)},
    {[0] = FASTLM_IS_ODD, FASTLM_SHARED_CLASSES, [FASTLM_HAN] = FASTLM_IS_ODD,
     FASTLM_HAN_CLASSES(FASTLM_IS_APART, FASTLM_IS_APART, FASTLM_IS_ODD, FASTLM_IS_ODD)},
};

#if defined(FASTLM_X86)
/* The bits that are set in each byte: their numbers from the lowest on, a byte each; four and then four */
#define FASTLM_BIT(x, i) ((uint64_t)((x) >> (i) & 1) * (i) << 8 * __builtin_popcount((x) & ((1 << (i)) - 1)))
#define FASTLM_BITS_OF(x)                                                                                              \
    (FASTLM_BIT(x, 0) | FASTLM_BIT(x, 1) | FASTLM_BIT(x, 2) | FASTLM_BIT(x, 3) | FASTLM_BIT(x, 4) | FASTLM_BIT(x, 5)   \
     | FASTLM_BIT(x, 6) | FASTLM_BIT(x, 7))
#define FASTLM_BITS1(x) {(uint32_t)FASTLM_BITS_OF(x), (uint32_t)(FASTLM_BITS_OF(x) >> 32)}
#define FASTLM_BITS4(x) FASTLM_BITS1(x), FASTLM_BITS1(x + 1), FASTLM_BITS1(x + 2), FASTLM_BITS1(x + 3)
#define FASTLM_BITS16(x) FASTLM_BITS4(x), FASTLM_BITS4(x + 4), FASTLM_BITS4(x + 8), FASTLM_BITS4(x + 12)
#define FASTLM_BITS64(x) FASTLM_BITS16(x), FASTLM_BITS16(x + 16), FASTLM_BITS16(x + 32), FASTLM_BITS16(x + 48)
static const uint32_t fastlm_bits_of_byte[256][2] = {FASTLM_BITS64(0), FASTLM_BITS64(64), FASTLM_BITS64(128),
                                                     FASTLM_BITS64(192)};
#endif
#endif

/* ASCII classes of the 64 bytes at p. */
static inline __attribute__((always_inline)) void FASTLM_NAME(fastlm_ascii_masks)(const uint8_t *p, const int family,
                                                                                  fastlm_masks *m) {
    /* field by field: GCC fills a struct of this size by a slow loop, and keeps it in memory */
    m->letter = m->number = m->whitespace = m->newline = m->blank = m->apostrophe = m->above = 0;
    m->upper = m->lower = m->mark = m->slash = m->apart = m->odd = m->continuation = 0;
#if defined(FASTLM_USE_AVX2)
    __m256i v0 = _mm256_loadu_si256((const __m256i *)p), v1 = _mm256_loadu_si256((const __m256i *)(p + 32));
#define FASTLM_BITS(of)                                                                                                \
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
    m->letter = FASTLM_BITS(FASTLM_A_LETTER);
    m->number = FASTLM_BITS(FASTLM_A_DIGIT);
    m->whitespace = FASTLM_BITS(FASTLM_A_SPACE);
    m->newline = FASTLM_BITS(FASTLM_A_NEWLINE);
    m->blank = FASTLM_BITS(FASTLM_A_BLANK);
    m->apostrophe = FASTLM_BITS(FASTLM_AN_APOSTROPHE);
    m->above = FASTLM_BITS(FASTLM_ITSELF);
    if (family >= FASTLM_CASED) {
        m->upper = FASTLM_BITS(FASTLM_AN_UPPER);
        m->slash = FASTLM_BITS(FASTLM_A_SLASH);
    }
    if (family == FASTLM_CJK) m->odd = FASTLM_BITS(FASTLM_A_CONTROL);
#undef FASTLM_BITS
#else
    for (int i = 0; i < 64; i += 8) {
        uint64_t classes = 0;
        for (int k = 0; k < 8; k++) classes |= (uint64_t)fastlm_ascii_class[p[i + k]] << (8 * k);
        /* one bit of each of eight bytes, gathered into a byte by a multiplication */
#define FASTLM_BITS(bit) (((classes >> bit & 0x0101010101010101u) * 0x0102040810204080u >> 56) << i)
        m->letter |= FASTLM_BITS(0);
        m->number |= FASTLM_BITS(1);
        m->whitespace |= FASTLM_BITS(2);
        m->blank |= FASTLM_BITS(3);
        m->apostrophe |= FASTLM_BITS(4);
        m->newline |= FASTLM_BITS(5);
        m->above |= FASTLM_BITS(7);
        if (family >= FASTLM_CASED) {
            classes = 0;
            for (int k = 0; k < 8; k++) classes |= (uint64_t)fastlm_ascii_detail[p[i + k]] << (8 * k);
            m->upper |= FASTLM_BITS(0);
            m->slash |= FASTLM_BITS(1);
            if (family == FASTLM_CJK) m->odd |= FASTLM_BITS(2);
        }
#undef FASTLM_BITS
    }
#endif
    if (family >= FASTLM_CASED) m->lower = m->letter & ~m->upper;
    if (family == FASTLM_CJK) m->odd &= ~m->whitespace;
}

#include "multibyte.h"

/* Fills the masks of the block at text[base:base + 64], of which text[base:n] exists; bytes past n read as tabs. A
 * character is a letter where it has one of `letter_flags`. Returns -1, or the offset of the first bytes that
 * are not well-formed UTF-8. */
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
    fastlm_masks all = *m; /* a copy, for the sake of blocks without them: masks whose address is taken lie in memory */
    int64_t bad = FASTLM_NAME(fastlm_multibyte_masks)(text, n, base, p, letter_flags, family, &all, carry);
    *m = all;
    return bad;
}

/* Sets a start at each character whose last byte in the block is in `last_bytes`: in `starts`, or in `pending`, the
 * starts of the block before, where it begins there. */
static inline void FASTLM_NAME(fastlm_start_characters)(const uint8_t *text, int64_t base, uint64_t last_bytes,
                                                        uint64_t above, uint64_t *starts, uint64_t *pending) {
    *starts |= last_bytes & ~above;
    for (uint64_t multibyte = last_bytes & above; multibyte; multibyte &= multibyte - 1) {
        int64_t at = fastlm_lead(text, base + __builtin_ctzll(multibyte));
        if (at >= base) *starts |= (uint64_t)1 << (at - base);
        else *pending |= (uint64_t)1 << (at - (base - 64));
    }
}

/* The start of the block's last character, a bit, where that is of the class `mask`; otherwise 0. */
static inline uint64_t FASTLM_NAME(fastlm_last_start)(const uint8_t *text, int64_t base, uint64_t mask,
                                                      uint64_t above) {
    const uint64_t last = (uint64_t)1 << 63;
    if (!(mask & above & last)) return mask & last;
    return (uint64_t)1 << (fastlm_lead(text, base + 63) - base);
}

/* Appends base + i to ends[written:] for each bit i of `starts`; up to 8 slots past the last are overwritten. */
static inline int64_t FASTLM_NAME(fastlm_write_ends)(uint64_t starts, int64_t base, int64_t *ends, int64_t written) {
#if defined(FASTLM_USE_AVX2) /* without branches, which would often be mispredicted */
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

/* What every scan does after a block: writes the starts of the one before, keeps this one's, and ends where the text
 * does. Returns whether the scan is over or there is no room for another block. */
static inline __attribute__((always_inline)) int FASTLM_NAME(fastlm_end_block)(
    uint64_t starts, int64_t base, int64_t start, int64_t n, uint64_t *pending, int64_t *ends, int64_t *written,
    int64_t capacity) {
    if (base == start) starts &= ~(uint64_t)1; /* the scan's own start is nobody's end */
    *written = FASTLM_NAME(fastlm_write_ends)(*pending, base - 64, ends, *written);
    *pending = starts;
    if (base >= n) ends[(*written)++] = n;
    return base >= n || *written > capacity - 72;
}
