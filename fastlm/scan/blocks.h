/* Class masks of 64 bytes of text: bit i of a mask speaks of byte i, and all bytes of a character carry its class.
 *
 * Included once for each instruction set, between `#pragma GCC target` lines; FASTLM_ISA is that set's suffix and
 * FASTLM_USE_AVX2 chooses the intrinsics. ASCII is classified by compares on whole vectors; each
 * other character is decoded, checked and looked up in the pinned table. */

#define FASTLM_JOIN_(a, b) a##b
#define FASTLM_JOIN(a, b) FASTLM_JOIN_(a, b)
#define FASTLM_NAME(stem) FASTLM_JOIN(stem, FASTLM_ISA)

#ifndef FASTLM_BLOCKS_TYPES
#define FASTLM_BLOCKS_TYPES
typedef struct {
    uint64_t letter, number, whitespace, newline /* CR, LF */, blank /* U+0020 */, apostrophe, above /* 0x7F */;
    uint64_t upper, lower, mark, slash, apart, odd; /* of some families only: see fastlm_family_flags */
} fastlm_masks;

/* The bytes of a character that reach into the next block: how many, and its class flags. */
typedef struct {
    int spill;
    uint8_t flags;
} fastlm_carry;

/* What a family of splits asks of a character beyond letter, number and white space. */
enum { FASTLM_PLAIN, FASTLM_NEWER_DIGITS, FASTLM_CASED, FASTLM_CASED_HAN, FASTLM_CJK };

/* Flags in place of those of the table, in all families but FASTLM_PLAIN */
#define FASTLM_ONLY_UPPER 16
#define FASTLM_ONLY_LOWER 32
#define FASTLM_ODD 64    /* so rare and so contrary that its surroundings are scanned one character at a time */
#define FASTLM_APART 128 /* letters that others do not join: Han, or deepseek's CJK */

static inline uint8_t fastlm_family_flags(uint32_t code_point, int family) {
    uint8_t flags = fastlm_flags(code_point);
    if (family == FASTLM_PLAIN) return flags;
    if (family == FASTLM_NEWER_DIGITS) return fastlm_is_newer_digit(code_point) ? FASTLM_NUMBER : flags;
    int is_letter = flags & (FASTLM_LETTER | FASTLM_MARK);
    if (family == FASTLM_CASED_HAN && (flags & FASTLM_HAN)) return flags & FASTLM_LETTER ? FASTLM_APART : FASTLM_ODD;
    if (family == FASTLM_CJK) {
        if (fastlm_is_cjk(code_point)) return is_letter ? FASTLM_APART : FASTLM_ODD;
        if (!(is_letter || flags & (FASTLM_NUMBER | FASTLM_WHITESPACE | FASTLM_PUNCT_OR_SYMBOL))) return FASTLM_ODD;
    }
    uint8_t shared = flags & (FASTLM_NUMBER | FASTLM_WHITESPACE | FASTLM_MARK);
    if (!is_letter) return shared;
    uint8_t cases = flags & (FASTLM_UPPERLIKE | FASTLM_LOWERLIKE);
    return shared | FASTLM_LETTER | (cases == (FASTLM_UPPERLIKE | FASTLM_LOWERLIKE) ? 0 : cases);
}
#endif

/* ASCII classes of the 64 bytes at p. */
static inline __attribute__((always_inline)) void FASTLM_NAME(fastlm_ascii_masks)(const uint8_t *p, const int family,
                                                                                  fastlm_masks *m) {
#if defined(FASTLM_USE_AVX2)
    memset(m, 0, sizeof *m);
    for (int half = 0; half < 64; half += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(p + half));
        __m256i from_a = _mm256_sub_epi8(_mm256_or_si256(v, _mm256_set1_epi8(0x20)), _mm256_set1_epi8('a'));
        __m256i from_0 = _mm256_sub_epi8(v, _mm256_set1_epi8('0'));
        __m256i from_tab = _mm256_sub_epi8(v, _mm256_set1_epi8('\t'));
#define FASTLM_BITS(x) ((uint64_t)(uint32_t)_mm256_movemask_epi8(x) << half)
#define FASTLM_AT_MOST(x, top) FASTLM_BITS(_mm256_cmpeq_epi8(_mm256_min_epu8(x, _mm256_set1_epi8(top)), x))
        m->newline |= FASTLM_BITS(_mm256_or_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('\n')),
                                                  _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\r'))));
        uint64_t blank = FASTLM_BITS(_mm256_cmpeq_epi8(v, _mm256_set1_epi8(' ')));
        m->letter |= FASTLM_AT_MOST(from_a, 25);
        m->number |= FASTLM_AT_MOST(from_0, 9);
        m->blank |= blank;
        m->whitespace |= blank | FASTLM_AT_MOST(from_tab, 4);
        m->apostrophe |= FASTLM_BITS(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('\'')));
        m->above |= FASTLM_BITS(v);
        if (family >= FASTLM_CASED) { /* a letter whose bit 0x20 is not set */
            m->upper |= FASTLM_AT_MOST(from_a, 25) & ~FASTLM_BITS(_mm256_slli_epi16(v, 2));
            m->slash |= FASTLM_BITS(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('/')));
        }
        if (family == FASTLM_CJK)
            m->odd |= FASTLM_AT_MOST(v, 0x1F) | FASTLM_BITS(_mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7F)));
#undef FASTLM_AT_MOST
#undef FASTLM_BITS
    }
#else
    memset(m, 0, sizeof *m);
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

/* Sets the classes of the characters above U+007F; returns -1, or the offset in the block of the
 * first byte that is not well-formed UTF-8. `p` has `available` readable bytes; bits of `carry` are the previous
 * block's last character. */
static inline __attribute__((always_inline)) int FASTLM_NAME(fastlm_other_masks)(
    const uint8_t *p, int64_t available, const uint8_t letter_flags, const int family, fastlm_masks *m,
    fastlm_carry *carry) {
    uint64_t above = m->above;
    uint64_t bits = carry->spill ? ((uint64_t)1 << carry->spill) - 1 : 0;
    uint8_t flags = carry->flags;
    carry->spill = 0;
    for (;;) {
        if (flags & letter_flags) {
            m->letter |= bits;
            if (family >= FASTLM_CASED) {
                m->upper |= flags & FASTLM_ONLY_UPPER ? bits : 0;
                m->lower |= flags & FASTLM_ONLY_LOWER ? bits : 0;
                m->mark |= flags & FASTLM_MARK ? bits : 0;
            }
        } else if (flags & FASTLM_NUMBER) m->number |= bits;
        else if (flags & FASTLM_WHITESPACE) m->whitespace |= bits;
        else if (family > FASTLM_CASED) {
            m->apart |= flags & FASTLM_APART ? bits : 0;
            m->odd |= flags & FASTLM_ODD ? bits : 0;
        }
        above &= ~bits;
        if (!above) return -1;
        int i = __builtin_ctzll(above);
        uint32_t code_point;
        int length = fastlm_decode(p + i, available - i, &code_point);
        if (!length) return i;
        flags = fastlm_family_flags(code_point, family);
        bits = (((uint64_t)1 << length) - 1) << i;
        if (i + length > 64) {
            carry->spill = i + length - 64;
            carry->flags = flags;
        }
    }
}

/* Fills the masks of the block at text[base:base + 64], of which text[base:n] exists; bytes past n read as tabs. A
 * character is a letter where it has one of `letter_flags`. Returns -1, or the offset in the block of the first byte
 * that is not well-formed UTF-8. */
static inline __attribute__((always_inline)) int FASTLM_NAME(fastlm_classify)(
    const uint8_t *text, int64_t n, int64_t base, const uint8_t letter_flags, const int family, fastlm_masks *m,
    fastlm_carry *carry) {
    uint8_t padded[64];
    const uint8_t *p = text + base;
    if (n - base < 64) {
        memset(padded, '\t', sizeof padded);
        memcpy(padded, p, (size_t)(n - base));
        p = padded;
    }
    FASTLM_NAME(fastlm_ascii_masks)(p, family, m);
    if (!m->above) return -1;
    return FASTLM_NAME(fastlm_other_masks)(text + base, n - base, letter_flags, family, m, carry);
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

/* Appends base + i to ends[written:] for each bit i of `starts`; up to 3 slots past the last are overwritten. */
static inline int64_t FASTLM_NAME(fastlm_write_ends)(uint64_t starts, int64_t base, int64_t *ends, int64_t written) {
#if defined(FASTLM_USE_AVX2) /* _tzcnt_u64(0) is defined, so four go without a branch */
    int64_t count = __builtin_popcountll(starts);
    int64_t *to = ends + written;
    for (int64_t done = 0; done < count; done += 4) {
        for (int k = 0; k < 4; k++) {
            to[done + k] = base + (int64_t)_tzcnt_u64(starts);
            starts &= starts - 1;
        }
    }
    return written + count;
#else
    for (; starts; starts &= starts - 1) ends[written++] = base + __builtin_ctzll(starts);
    return written;
#endif
}
