/* Types, tables and functions that all scanners share. They do not depend on the instruction set. */
#ifndef FASTLM_SCAN_BASE_H
#define FASTLM_SCAN_BASE_H
#include <stdint.h>
#include <string.h>
#include "../../native/common.h"
#include "one_by_one.h"
#include "unicode_classes.h"
#include "utf8.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define FASTLM_X86 1
#include <immintrin.h>
#endif

/* The name of a function for the instruction set whose suffix is FASTLM_ISA. */
#define FASTLM_JOIN_(a, b) a##b
#define FASTLM_JOIN(a, b) FASTLM_JOIN_(a, b)
#define FASTLM_NAME(stem) FASTLM_JOIN(stem, FASTLM_ISA)

/* Bits of the portable classifier: 1 letter, 2 number, 4 whitespace, 8 U+0020, 16 apostrophe, 32 newline, 128 above
 * U+007F. */
static const uint8_t fastlm_ascii_class[256] = {
    ['\t'] = 4, ['\n'] = 4 | 32, [11 ... 12] = 4, ['\r'] = 4 | 32, [' '] = 4 | 8, ['\''] = 16,
    ['0' ... '9'] = 2, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1, [128 ... 255] = 128,
};

/* More bits, for the families that need them: 1 upper case, 2 slash, 4 control character that is not whitespace. */
static const uint8_t fastlm_ascii_detail[256] = {
    [0 ... 8] = 4, [14 ... 31] = 4, [127] = 4, ['/'] = 2, ['A' ... 'Z'] = 1,
};

/* Returns the length in bytes of the contraction at an apostrophe, 2 or 3, or 0: '(?:[sdmt]|ll|ve|re) */
static inline int fastlm_contraction(const uint8_t *p, int64_t available) {
    if (available < 2) return 0;
    switch (p[1]) {
        case 's': case 'd': case 'm': case 't': return 2;
        case 'l': return available > 2 && p[2] == 'l' ? 3 : 0;
        case 'v': case 'r': return available > 2 && p[2] == 'e' ? 3 : 0;
        default: return 0;
    }
}

/* Does the same for letters of any case, and for U+017F, which folds to s: (?i:'s|'t|'re|'ve|'m|'ll|'d) */
static inline int fastlm_contraction_any_case(const uint8_t *p, int64_t available) {
    if (available < 2) return 0;
    uint8_t second = available > 2 ? p[2] | 0x20 : 0;
    switch (p[1] | 0x20) {
        case 's': case 'd': case 'm': case 't': return 2;
        case 'l': return second == 'l' ? 3 : 0;
        case 'v': case 'r': return second == 'e' ? 3 : 0;
        default: return available > 2 && p[1] == 0xC5 && p[2] == 0xBF ? 3 : 0;
    }
}

typedef struct {
    uint64_t letter, number, whitespace, newline /* CR, LF */, blank /* U+0020 */, apostrophe, above /* 0x7F */;
    uint64_t upper, lower, mark, slash, apart, odd; /* only for some families: see fastlm_class_of_flags */
    uint64_t continuation; /* bytes that do not start a character */
} fastlm_masks;

/* Returns the bytes of a class whose previous byte has the same class. `last` is 1 if the last byte of the previous
 * block has it. */
static inline uint64_t fastlm_goes_on(uint64_t mask, uint64_t last) { return mask & (mask << 1 | last); }

/* The classes that a family of patterns needs in addition to letter, number and whitespace. */
enum { FASTLM_PLAIN, FASTLM_NEWER_DIGITS, FASTLM_CASED, FASTLM_CASED_HAN, FASTLM_CJK };

/* Only FASTLM_CASED_HAN and FASTLM_CJK have APART and ODD. APART: letters that other letters do not join (Han, or
 * deepseek's CJK). ODD: rare characters that the masks cannot express. Text around them is scanned one character at a
 * time. */
enum {
    FASTLM_CLASS_OTHER, FASTLM_CLASS_UPPER, FASTLM_CLASS_LOWER, FASTLM_CLASS_BOTH, FASTLM_CLASS_MARK, FASTLM_CLASS_NUMBER,
    FASTLM_CLASS_WHITESPACE, FASTLM_CLASS_APART, FASTLM_CLASS_ODD, FASTLM_CLASSES,
};

/* The class of each combination of flags that occurs (fastlm_family_flags). Row 1 is for FASTLM_CASED_HAN, row 2 for
 * FASTLM_CJK, and row 0 for all other families. */
#define FASTLM_ANY_CASE (FASTLM_UPPERLIKE | FASTLM_LOWERLIKE)
#define FASTLM_SHARED_CLASSES                                                                                          \
    [FASTLM_LETTER | FASTLM_UPPERLIKE] = FASTLM_CLASS_UPPER, [FASTLM_LETTER | FASTLM_LOWERLIKE] = FASTLM_CLASS_LOWER,        \
    [FASTLM_LETTER | FASTLM_ANY_CASE] = FASTLM_CLASS_BOTH, [FASTLM_MARK | FASTLM_ANY_CASE] = FASTLM_CLASS_MARK,              \
    [FASTLM_NUMBER] = FASTLM_CLASS_NUMBER, [FASTLM_WHITESPACE] = FASTLM_CLASS_WHITESPACE
#define FASTLM_HAN_CLASSES(letter, mark, number, symbol)                                                               \
    [FASTLM_HAN | FASTLM_LETTER | FASTLM_ANY_CASE] = letter, [FASTLM_HAN | FASTLM_MARK | FASTLM_ANY_CASE] = mark,      \
    [FASTLM_HAN | FASTLM_NUMBER] = number, [FASTLM_HAN | FASTLM_PUNCT_OR_SYMBOL] = symbol
static const uint8_t fastlm_class_of_flags[3][256] = {
    {FASTLM_SHARED_CLASSES,
     FASTLM_HAN_CLASSES(FASTLM_CLASS_BOTH, FASTLM_CLASS_MARK, FASTLM_CLASS_NUMBER, FASTLM_CLASS_OTHER)},
    {FASTLM_SHARED_CLASSES,
     FASTLM_HAN_CLASSES(FASTLM_CLASS_APART, FASTLM_CLASS_ODD, FASTLM_CLASS_ODD, FASTLM_CLASS_ODD)},
    {[0] = FASTLM_CLASS_ODD, FASTLM_SHARED_CLASSES, [FASTLM_HAN] = FASTLM_CLASS_ODD,
     FASTLM_HAN_CLASSES(FASTLM_CLASS_APART, FASTLM_CLASS_APART, FASTLM_CLASS_ODD, FASTLM_CLASS_ODD)},
};

#if defined(FASTLM_X86)
/* For each byte value, the positions of its set bits, lowest first: one position in each byte of two words. */
#define FASTLM_POSITION(x, i) ((uint64_t)((x) >> (i) & 1) * (i) << 8 * __builtin_popcount((x) & ((1 << (i)) - 1)))
#define FASTLM_ALL(x)                                                                                                  \
    (FASTLM_POSITION(x, 0) | FASTLM_POSITION(x, 1) | FASTLM_POSITION(x, 2) | FASTLM_POSITION(x, 3)                     \
     | FASTLM_POSITION(x, 4) | FASTLM_POSITION(x, 5) | FASTLM_POSITION(x, 6) | FASTLM_POSITION(x, 7))
#define FASTLM_ROW(x) {(uint32_t)FASTLM_ALL(x), (uint32_t)(FASTLM_ALL(x) >> 32)}
#define FASTLM_ROWS4(x) FASTLM_ROW(x), FASTLM_ROW(x + 1), FASTLM_ROW(x + 2), FASTLM_ROW(x + 3)
#define FASTLM_ROWS16(x) FASTLM_ROWS4(x), FASTLM_ROWS4(x + 4), FASTLM_ROWS4(x + 8), FASTLM_ROWS4(x + 12)
#define FASTLM_ROWS64(x) FASTLM_ROWS16(x), FASTLM_ROWS16(x + 16), FASTLM_ROWS16(x + 32), FASTLM_ROWS16(x + 48)
static const uint32_t fastlm_bits_of_byte[256][2] = {
    FASTLM_ROWS64(0), FASTLM_ROWS64(64), FASTLM_ROWS64(128), FASTLM_ROWS64(192)};

/* 0 to 63 */
#define FASTLM_COUNT8(x) x, x + 1, x + 2, x + 3, x + 4, x + 5, x + 6, x + 7
static const uint8_t fastlm_positions[64] = {
    FASTLM_COUNT8(0), FASTLM_COUNT8(8), FASTLM_COUNT8(16), FASTLM_COUNT8(24),
    FASTLM_COUNT8(32), FASTLM_COUNT8(40), FASTLM_COUNT8(48), FASTLM_COUNT8(56)};
#undef FASTLM_COUNT8
#undef FASTLM_ROWS64
#undef FASTLM_ROWS16
#undef FASTLM_ROWS4
#undef FASTLM_ROW
#undef FASTLM_ALL
#undef FASTLM_POSITION
#endif

/* The last character of a block, if it continues in the next block: its bytes there, and its flags. */
typedef struct {
    uint64_t due;
    uint8_t flags;
} fastlm_carry;

/* Returns the flags of a character, which differ from the table for some families. FASTLM_HAN marks the characters that
 * other letters do not join: for deepseek, its CJK. */
static inline uint8_t fastlm_family_flags(uint32_t code_point, const int family) {
    uint8_t flags = fastlm_flags(code_point);
    if (family == FASTLM_NEWER_DIGITS && fastlm_is_newer_digit(code_point)) return FASTLM_NUMBER;
    if (family == FASTLM_CJK) flags = (uint8_t)((flags & ~FASTLM_HAN) | (fastlm_is_cjk(code_point) ? FASTLM_HAN : 0));
    return flags;
}

/* Returns `firsts`, the first bytes of characters, together with the other bytes of these characters. `carried` is 1 if
 * the block starts inside such a character. The carry of a sum passes through each span of continuation bytes. */
static inline uint64_t fastlm_spread(uint64_t firsts, uint64_t continuation, uint64_t carried) {
    uint64_t seeds = (firsts << 1 | carried) & continuation;
    return firsts | (continuation & ~(continuation + seeds));
}

/* The state of whitespace that a block passes to the next one. */
typedef struct {
    int64_t held;                                 /* the boundary held back, or -1 */
    uint64_t last, last_newline, last_inner, tail; /* the last byte was whitespace, ...; a tail may continue */
    uint64_t last_inner_start; /* bit at the start of the last character, if it is in `inner` */
} fastlm_spaces;
#endif
