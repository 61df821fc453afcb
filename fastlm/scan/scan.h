/* Pretoken scanners: one portable build of each and, on x86-64, an AVX2 build chosen at run time.
 * To add a family: write its header as bit algebra over the masks of blocks.h, include it beside gpt2.h in the two places
 * below, add its row to fastlm_scanner, and say where its pretokens provably start in a safe_start function. */
#ifndef FASTLM_SCAN_H
#define FASTLM_SCAN_H
#include <stdint.h>
#include <string.h>
#include "unicode_classes.h"
#include "utf8.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define FASTLM_X86 1
#include <immintrin.h>
#endif

typedef int64_t (*fastlm_scan_fn)(const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity);

/* Bits of the portable classifier: letter, number, white space, U+0020, apostrophe, and above U+007F. */
static const uint8_t fastlm_ascii_class[256] = {
    [9 ... 13] = 4, [' '] = 4 | 8, ['\''] = 16, ['0' ... '9'] = 2, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
    [128 ... 255] = 128,
};

/* Length of the contraction at an apostrophe (2 or 3), or 0: '(?:[sdmt]|ll|ve|re) */
static inline int fastlm_contraction(const uint8_t *p, int64_t available) {
    if (available < 2) return 0;
    switch (p[1]) {
        case 's': case 'd': case 'm': case 't': return 2;
        case 'l': return available > 2 && p[2] == 'l' ? 3 : 0;
        case 'v': case 'r': return available > 2 && p[2] == 'e' ? 3 : 0;
        default: return 0;
    }
}

#define FASTLM_ISA _portable
#include "blocks.h"
#include "gpt2.h"
#undef FASTLM_ISA

#ifdef FASTLM_X86
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#define FASTLM_ISA _avx2
#define FASTLM_USE_AVX2 1
#include "blocks.h"
#include "gpt2.h"
#undef FASTLM_USE_AVX2
#undef FASTLM_ISA
#pragma GCC pop_options
#endif

enum { FASTLM_PORTABLE, FASTLM_AVX2 };

static inline int fastlm_best_isa(void) {
#ifdef FASTLM_X86
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")
        && __builtin_cpu_supports("popcnt") ? FASTLM_AVX2 : FASTLM_PORTABLE;
#else
    return FASTLM_PORTABLE;
#endif
}

/* The GPT-2 scanner for an instruction set that this processor has. */
static inline fastlm_scan_fn fastlm_gpt2_scanner(int isa) {
#ifdef FASTLM_X86
    if (isa == FASTLM_AVX2) return fastlm_scan_gpt2_avx2;
#endif
    (void)isa;
    return fastlm_scan_gpt2_portable;
}

/* Class flags of the character whose bytes end just before text[at]; *lead is where it starts. Bytes that are not
 * UTF-8 count as characters of no class: the scan reports them. */
static inline uint8_t fastlm_flags_before(const uint8_t *text, int64_t at, int64_t *lead) {
    int64_t p = at - 1;
    while (p > 0 && at - p < 4 && fastlm_is_continuation(text[p])) p--;
    uint32_t code_point = 0;
    *lead = p;
    int length = fastlm_decode(text + p, at - p, &code_point);
    if (p + length != at) {
        *lead = at - 1;
        return 0;
    }
    return fastlm_flags(code_point) & (FASTLM_LETTER | FASTLM_NUMBER | FASTLM_WHITESPACE);
}

/* The last position in (0, limit] where a text that goes on may be cut in two whose GPT-2 splits are that of the whole,
 * or 0 where there is none. text[0] must start a pretoken, and at least 4 bytes of text follow `limit`. */
static inline int64_t fastlm_gpt2_safe_start(const uint8_t *text, int64_t limit) {
    int64_t at = limit, lead = 0;
    while (at > 0 && fastlm_is_continuation(text[at])) at--;
    if (at <= 0) return 0;
    uint32_t code_point = 0;
    uint8_t here = fastlm_decode(text + at, limit + 4 - at, &code_point)
                 ? fastlm_flags(code_point) & (FASTLM_LETTER | FASTLM_NUMBER | FASTLM_WHITESPACE) : 0;
    for (; at > 0; at = lead) {
        uint8_t before = fastlm_flags_before(text, at, &lead);
        if (here != before) {
            /* not after white space but before its last character, which is left over when something follows */
            if (before & FASTLM_WHITESPACE) return lead;
            /* a letter after an apostrophe may belong to a contraction */
            if (!((here & FASTLM_LETTER) && text[at - 1] == '\'')) return at;
        }
        here = before;
    }
    return 0;
}
#endif
