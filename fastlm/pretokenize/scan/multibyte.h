/* Class masks of characters above U+007F (included once for each instruction set): see fastlm_multibyte_masks.
 *
 * AVX2 classifies 64 bytes at a time. The leading bytes of a character of two or three bytes select a page of 64 code
 * points of the table, and its last byte selects one of them. For each page in the block, shuffles look up the flags of
 * all its characters at once. A script has few pages. Han and Hangul have many, so ranges of the first two bytes
 * classify them. Blocks with few characters above U+007F, and characters of four bytes, are decoded one by one. */
#ifndef FASTLM_ISA
#include "isa_alone.h"
#endif

#if defined(FASTLM_USE_AVX2)
#define FASTLM_LOAD(at) _mm256_loadu_si256((const __m256i *)(p + (at)))
#define FASTLM_BYTE(byte) _mm256_set1_epi8((char)(byte))
#define FASTLM_AT_LEAST(x, byte) _mm256_cmpeq_epi8(_mm256_max_epu8(x, FASTLM_BYTE(byte)), x)
/* For 64 bytes in two vectors, x0 and x1: the bytes that are all ones, and bit 7 - k of each byte */
#define FASTLM_JOINED(low, high)                                                                                       \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32)
#define FASTLM_TOP_BITS(x) FASTLM_JOINED(x##0, x##1)
#define FASTLM_BIT_FROM_TOP(x, k) FASTLM_JOINED(_mm256_slli_epi16(x##0, k), _mm256_slli_epi16(x##1, k))

#ifndef FASTLM_MULTIBYTE_VECTORS /* AVX-512 uses the functions for AVX2 too */
#define FASTLM_MULTIBYTE_VECTORS
/* Adds the flags of the characters of two and three bytes that start in `rest`. */
static inline __attribute__((always_inline)) void fastlm_flags_by_page(const uint8_t *p, uint64_t rest, __m256i *low,
                                                                       __m256i *high) {
    __m256i first0 = FASTLM_LOAD(0), first1 = FASTLM_LOAD(32);
    __m256i three0 = FASTLM_AT_LEAST(first0, 0xE0), three1 = FASTLM_AT_LEAST(first1, 0xE0);
    __m256i second0 = _mm256_and_si256(FASTLM_LOAD(1), three0), second1 = _mm256_and_si256(FASTLM_LOAD(33), three1);
    __m256i last0 = _mm256_blendv_epi8(FASTLM_LOAD(1), FASTLM_LOAD(2), three0);
    __m256i last1 = _mm256_blendv_epi8(FASTLM_LOAD(33), FASTLM_LOAD(34), three1);
    /* a shuffle selects one of 16 flags by the low four bits of the last byte, and a blend by the next two bits */
    const __m256i low_bits = FASTLM_BYTE(0x0F);
    __m256i of16_0 = _mm256_and_si256(last0, low_bits), of16_1 = _mm256_and_si256(last1, low_bits);
    __m256i bit4_0 = _mm256_slli_epi16(last0, 3), bit4_1 = _mm256_slli_epi16(last1, 3);
    __m256i bit5_0 = _mm256_slli_epi16(last0, 2), bit5_1 = _mm256_slli_epi16(last1, 2);
    while (rest) {
        int i = __builtin_ctzll(rest);
        uint32_t first = p[i], second = first < 0xE0 ? 0 : p[i + 1];
        const uint8_t *page = fastlm_page(first < 0xE0 ? first & 0x1F : (first & 0x0F) << 6 | (second & 0x3F));
        __m256i of_first = FASTLM_BYTE(first), of_second = FASTLM_BYTE(second);
        __m256i same0 = _mm256_and_si256(_mm256_cmpeq_epi8(first0, of_first), _mm256_cmpeq_epi8(second0, of_second));
        __m256i same1 = _mm256_and_si256(_mm256_cmpeq_epi8(first1, of_first), _mm256_cmpeq_epi8(second1, of_second));
#define FASTLM_16_OF_PAGE(k) _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(page + 16 * (k))))
        __m256i from_0 = FASTLM_16_OF_PAGE(0), from_16 = FASTLM_16_OF_PAGE(1);
        __m256i from_32 = FASTLM_16_OF_PAGE(2), from_48 = FASTLM_16_OF_PAGE(3);
#define FASTLM_LOOK_UP(of16, bit4, bit5)                                                                               \
    _mm256_blendv_epi8(                                                                                                \
        _mm256_blendv_epi8(_mm256_shuffle_epi8(from_0, of16), _mm256_shuffle_epi8(from_16, of16), bit4),               \
        _mm256_blendv_epi8(_mm256_shuffle_epi8(from_32, of16), _mm256_shuffle_epi8(from_48, of16), bit4), bit5)
        __m256i flags0 = FASTLM_LOOK_UP(of16_0, bit4_0, bit5_0), flags1 = FASTLM_LOOK_UP(of16_1, bit4_1, bit5_1);
#undef FASTLM_LOOK_UP
#undef FASTLM_16_OF_PAGE
        *low = _mm256_or_si256(*low, _mm256_and_si256(flags0, same0));
        *high = _mm256_or_si256(*high, _mm256_and_si256(flags1, same1));
        rest &= ~FASTLM_TOP_BITS(same);
    }
}

/* Marks the overlong characters and surrogates among 32 characters. Their number of bytes does not reveal them. */
static inline __m256i fastlm_excluded(__m256i first, __m256i second) {
    __m256i below_a0 = _mm256_cmpgt_epi8(FASTLM_BYTE(0xA0), second);
    __m256i overlong = _mm256_and_si256(_mm256_cmpeq_epi8(first, FASTLM_BYTE(0xE0)), below_a0);
    __m256i surrogate = _mm256_andnot_si256(below_a0, _mm256_cmpeq_epi8(first, FASTLM_BYTE(0xED)));
    __m256i c0_or_c1 = _mm256_cmpeq_epi8(_mm256_and_si256(first, FASTLM_BYTE(0xFE)), FASTLM_BYTE(0xC0));
    return _mm256_or_si256(_mm256_or_si256(overlong, surrogate), c0_or_c1);
}

/* U+4E00 to U+9FFF, and U+AC00 to U+D77F */
static inline __m256i fastlm_ideographs(__m256i first, __m256i second) {
    __m256i from_e5 = _mm256_sub_epi8(first, FASTLM_BYTE(0xE5));
    __m256i whole = _mm256_cmpeq_epi8(_mm256_min_epu8(from_e5, FASTLM_BYTE(4)), from_e5);
    __m256i in_part = _mm256_cmpgt_epi8(second, FASTLM_BYTE(0xB7));
    return _mm256_or_si256(whole, _mm256_and_si256(_mm256_cmpeq_epi8(first, FASTLM_BYTE(0xE4)), in_part));
}

static inline __m256i fastlm_syllables(__m256i first, __m256i second) {
    __m256i from_eb = _mm256_sub_epi8(first, FASTLM_BYTE(0xEB));
    __m256i whole = _mm256_cmpeq_epi8(_mm256_min_epu8(from_eb, FASTLM_BYTE(1)), from_eb);
    __m256i is_ea = _mm256_cmpeq_epi8(first, FASTLM_BYTE(0xEA));
    __m256i is_ed = _mm256_cmpeq_epi8(first, FASTLM_BYTE(0xED));
    __m256i of_ea = _mm256_and_si256(is_ea, _mm256_cmpgt_epi8(second, FASTLM_BYTE(0xAF)));
    __m256i of_ed = _mm256_and_si256(is_ed, _mm256_cmpgt_epi8(FASTLM_BYTE(0x9E), second));
    return _mm256_or_si256(whole, _mm256_or_si256(of_ea, of_ed));
}

/* deepseek's CJK: ideographs without U+9FA6 to U+9FFF, and U+3040 to U+30FF */
static inline __m256i fastlm_cjk(__m256i first, __m256i second, __m256i third, __m256i ideographs) {
    __m256i is_e9 = _mm256_cmpeq_epi8(first, FASTLM_BYTE(0xE9));
    __m256i is_bf = _mm256_cmpeq_epi8(second, FASTLM_BYTE(0xBF)), is_be = _mm256_cmpeq_epi8(second, FASTLM_BYTE(0xBE));
    __m256i of_be = _mm256_and_si256(is_be, _mm256_cmpgt_epi8(third, FASTLM_BYTE(0xA5)));
    __m256i above = _mm256_and_si256(is_e9, _mm256_or_si256(of_be, is_bf));
    __m256i from_81 = _mm256_sub_epi8(second, FASTLM_BYTE(0x81));
    __m256i kana = _mm256_and_si256(_mm256_cmpeq_epi8(first, FASTLM_BYTE(0xE3)),
                                    _mm256_cmpeq_epi8(_mm256_min_epu8(from_81, FASTLM_BYTE(2)), from_81));
    return _mm256_or_si256(_mm256_andnot_si256(above, ideographs), kana);
}

/* Returns the offset of the first character from `at` that is not well-formed UTF-8. There must be one. */
static __attribute__((noinline, cold)) int64_t fastlm_first_bad(const uint8_t *text, int64_t n, int64_t at) {
    uint32_t code_point;
    for (int length; at < n && (length = fastlm_decode(text + at, n - at, &code_point)); at += length) continue;
    return at;
}

/* Up to this number of characters above U+007F, a block decodes them one by one. */
enum { FASTLM_FEW = 4 };
#endif

/* Adds the classes of the characters above U+007F to the masks of the block text[base:base + 64]. `p` has the block and
 * 3 more bytes, padded with tabs after text[:n]. Returns -1, or the offset of the first bytes that are not well-formed
 * UTF-8. The next block may report the missing bytes of a character. */
static inline __attribute__((always_inline)) int64_t FASTLM_NAME(fastlm_multibyte_masks)(
    const uint8_t *text, int64_t n, int64_t base, const uint8_t *p, const uint8_t letter_flags, const int family,
    fastlm_masks *m, fastlm_carry *carry) {
    __m256i first0 = FASTLM_LOAD(0), first1 = FASTLM_LOAD(32), flags0, flags1;
    uint64_t leads = m->above & FASTLM_BIT_FROM_TOP(first, 1), continuation = m->above & ~leads;
    uint64_t three = leads & FASTLM_BIT_FROM_TOP(first, 2), four = three & FASTLM_BIT_FROM_TOP(first, 3);
    uint64_t due = leads >> 63 | three >> 62 | four >> 61, here = carry->due | leads << 1 | three << 2 | four << 3;
    if ((here ^ continuation) | (n - base <= 64 ? due : 0)) goto bad; /* one condition makes one branch */

    uint64_t single = __builtin_popcountll(leads) <= FASTLM_FEW ? leads : four, rest = leads & ~single;
    uint8_t alone[64];
    flags0 = flags1 = _mm256_setzero_si256();
    if (single) {
        memset(alone, 0, sizeof alone);
        for (; single; single &= single - 1) {
            int i = __builtin_ctzll(single);
            uint32_t code_point;
            if (!fastlm_decode(text + base + i, n - base - i, &code_point)) goto bad;
            alone[i] = fastlm_family_flags(code_point, family);
        }
        flags0 = _mm256_loadu_si256((const __m256i *)alone);
        flags1 = _mm256_loadu_si256((const __m256i *)(alone + 32));
    }
    if (rest) {
        __m256i second0 = FASTLM_LOAD(1), second1 = FASTLM_LOAD(33);
        __m256i bad = _mm256_or_si256(fastlm_excluded(first0, second0), fastlm_excluded(first1, second1));
        if (!_mm256_testz_si256(bad, bad)) goto bad;
        __m256i han0 = _mm256_setzero_si256(), han1 = han0;
        __m256i from_e4_0 = FASTLM_AT_LEAST(first0, 0xE4), from_e4_1 = FASTLM_AT_LEAST(first1, 0xE4);
        if (FASTLM_TOP_BITS(from_e4_) & ~four) {
            han0 = fastlm_ideographs(first0, second0), han1 = fastlm_ideographs(first1, second1);
            __m256i hangul0 = fastlm_syllables(first0, second0), hangul1 = fastlm_syllables(first1, second1);
            __m256i either0 = _mm256_or_si256(han0, hangul0), either1 = _mm256_or_si256(han1, hangul1);
            const __m256i of_han = FASTLM_BYTE(FASTLM_IDEOGRAPH);
            const __m256i of_hangul = FASTLM_BYTE(FASTLM_SYLLABLE);
            flags0 = _mm256_or_si256(flags0, _mm256_or_si256(_mm256_and_si256(han0, of_han),
                                                             _mm256_and_si256(hangul0, of_hangul)));
            flags1 = _mm256_or_si256(flags1, _mm256_or_si256(_mm256_and_si256(han1, of_han),
                                                             _mm256_and_si256(hangul1, of_hangul)));
            rest &= ~FASTLM_TOP_BITS(either);
        }
        fastlm_flags_by_page(p, rest, &flags0, &flags1);
        if (family == FASTLM_CJK && three) {
            const __m256i is_han = FASTLM_BYTE(FASTLM_HAN);
            __m256i cjk0 = fastlm_cjk(first0, second0, FASTLM_LOAD(2), han0);
            __m256i cjk1 = fastlm_cjk(first1, second1, FASTLM_LOAD(34), han1);
            flags0 = _mm256_or_si256(_mm256_andnot_si256(is_han, flags0), _mm256_and_si256(is_han, cjk0));
            flags1 = _mm256_or_si256(_mm256_andnot_si256(is_han, flags1), _mm256_and_si256(is_han, cjk1));
        }
    }
#define FASTLM_SPREAD(bits, flag) fastlm_spread(bits, continuation, (carry->flags & (flag)) != 0)
    __m256i either = _mm256_or_si256(flags0, flags1);
#define FASTLM_HAS(flag) ((carry->flags & (flag)) || !_mm256_testz_si256(either, FASTLM_BYTE(flag)))
    uint64_t letter, mark = 0, number = 0;
    if (family >= FASTLM_CASED) { /* letters and marks count as upper case, lower case, or both */
        uint64_t upper = FASTLM_SPREAD(FASTLM_BIT_FROM_TOP(flags, 3), FASTLM_UPPERLIKE);
        uint64_t lower = FASTLM_SPREAD(FASTLM_BIT_FROM_TOP(flags, 2), FASTLM_LOWERLIKE);
        letter = upper | lower;
        m->upper |= upper & ~lower;
        m->lower |= lower & ~upper;
    } else {
        letter = FASTLM_SPREAD(FASTLM_BIT_FROM_TOP(flags, 7), FASTLM_LETTER);
    }
    if ((letter_flags & FASTLM_MARK || family >= FASTLM_CASED) && FASTLM_HAS(FASTLM_MARK)) {
        mark = FASTLM_SPREAD(FASTLM_BIT_FROM_TOP(flags, 4), FASTLM_MARK);
        letter |= mark;
        m->mark |= mark;
    }
    if (FASTLM_HAS(FASTLM_NUMBER | FASTLM_WHITESPACE)) {
        number = FASTLM_SPREAD(FASTLM_BIT_FROM_TOP(flags, 6), FASTLM_NUMBER);
        m->whitespace |= FASTLM_SPREAD(FASTLM_BIT_FROM_TOP(flags, 5), FASTLM_WHITESPACE);
    }
#undef FASTLM_HAS
    if (family == FASTLM_CASED_HAN || family == FASTLM_CJK) {
        uint64_t han = FASTLM_SPREAD(FASTLM_TOP_BITS(flags), FASTLM_HAN);
        uint64_t joined = family == FASTLM_CJK ? letter : letter & ~mark;
        m->apart |= han & joined;
        m->odd |= han & ~joined;
        letter &= ~han;
        number &= ~han;
        m->mark &= ~han;
    }
    if (family == FASTLM_CJK) {
        __m256i none0 = _mm256_cmpeq_epi8(flags0, _mm256_setzero_si256());
        __m256i none1 = _mm256_cmpeq_epi8(flags1, _mm256_setzero_si256());
        uint64_t none = leads & FASTLM_TOP_BITS(none), carried = continuation & 1 & (carry->flags == 0);
        if (none | carried) m->odd |= fastlm_spread(none, continuation, carried);
    }
#undef FASTLM_SPREAD
    m->letter |= letter;
    m->number |= number;
    m->continuation = continuation;
    carry->due = due;
    _mm256_storeu_si256((__m256i *)alone, flags1);
    carry->flags = alone[(63 - __builtin_clzll(leads | 1)) & 31]; /* ignored if `due` is 0 */
    return -1;
bad:
    return fastlm_first_bad(text, n, carry->due ? fastlm_lead(text, base - 1) : base);
}
#undef FASTLM_BIT_FROM_TOP
#undef FASTLM_TOP_BITS
#undef FASTLM_JOINED
#undef FASTLM_AT_LEAST
#undef FASTLM_BYTE
#undef FASTLM_LOAD
#else
static inline __attribute__((always_inline)) int64_t FASTLM_NAME(fastlm_multibyte_masks)(
    const uint8_t *text, int64_t n, int64_t base, const uint8_t *p, const uint8_t letter_flags, const int family,
    fastlm_masks *m, fastlm_carry *carry) {
    uint64_t of_class[FASTLM_CLASSES] = {0}, left = m->above & ~carry->due;
    const uint8_t *class_of = fastlm_class_of_flags[family > FASTLM_CASED ? family - FASTLM_CASED : 0];
    (void)p;
    of_class[class_of[carry->flags]] = m->continuation = carry->due;
    carry->due = 0;
    while (left) {
        int i = __builtin_ctzll(left);
        uint32_t code_point;
        int length = fastlm_decode(text + base + i, n - base - i, &code_point);
        if (!length) return base + i;
        uint8_t flags = fastlm_family_flags(code_point, family);
        uint64_t bits = (((uint64_t)1 << length) - 1) << i;
        of_class[class_of[flags]] |= bits;
        left &= ~bits;
        m->continuation |= bits & bits << 1;
        if (i + length > 64) {
            carry->due = ((uint64_t)1 << (i + length - 64)) - 1;
            carry->flags = flags;
        }
    }
    uint64_t mark = of_class[FASTLM_CLASS_MARK];
    m->upper |= of_class[FASTLM_CLASS_UPPER];
    m->lower |= of_class[FASTLM_CLASS_LOWER];
    m->letter |= of_class[FASTLM_CLASS_UPPER] | of_class[FASTLM_CLASS_LOWER] | of_class[FASTLM_CLASS_BOTH];
    if (letter_flags & FASTLM_MARK || family >= FASTLM_CASED) {
        m->letter |= mark;
        m->mark |= mark;
    }
    m->number |= of_class[FASTLM_CLASS_NUMBER];
    m->whitespace |= of_class[FASTLM_CLASS_WHITESPACE];
    m->apart |= of_class[FASTLM_CLASS_APART];
    m->odd |= of_class[FASTLM_CLASS_ODD];
    return -1;
}
#endif
