/* Pretoken scanners: one portable build of each and, on x86-64, an AVX2 build chosen at run time.
 * To add a family: write its header as bit algebra over the masks of class_masks.h and include it beside gpt2.h in the two
 * places below, give it a number and a case in fastlm_scanner, its name the same place in _scan.SCANNERS, and say in
 * safe_start.h where its texts may be cut. What a family needs rarely it may scan character by character
 * (one_by_one.h). */
#ifndef FASTLM_SCAN_H
#define FASTLM_SCAN_H
#include <stdint.h>
#include <string.h>
#include "one_by_one.h"
#include "safe_start.h"
#include "unicode_classes.h"
#include "utf8.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define FASTLM_X86 1
#include <immintrin.h>
#endif

typedef int64_t (*fastlm_scan_fn)(const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity);

/* Bits of the portable classifier: letter, number, white space, U+0020, apostrophe, newline; above U+007F. */
static const uint8_t fastlm_ascii_class[256] = {
    ['\t'] = 4, ['\n'] = 4 | 32, [11 ... 12] = 4, ['\r'] = 4 | 32, [' '] = 4 | 8, ['\''] = 16,
    ['0' ... '9'] = 2, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1, [128 ... 255] = 128,
};

/* More of them, for the families that ask: upper case, slash, control other than white space. */
static const uint8_t fastlm_ascii_detail[256] = {
    [0 ... 8] = 4, [14 ... 31] = 4, [127] = 4, ['/'] = 2, ['A' ... 'Z'] = 1,
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

/* The same in any case, and with U+017F, which folds to s: (?i:'s|'t|'re|'ve|'m|'ll|'d); 2 or 3 bytes, or 0. */
static inline int fastlm_contraction_any_case(const uint8_t *p, int64_t available) {
    if (available < 2) return 0;
    uint8_t second = available > 2 ? p[2] | 0x20 : 0;
    switch (p[1] | 0x20) {
        case 's': case 'd': case 'm': case 't': return p[1] & 0x40 ? 2 : 0;
        case 'l': return second == 'l' && (p[2] & 0x40) ? 3 : 0;
        case 'v': case 'r': return second == 'e' && (p[2] & 0x40) ? 3 : 0;
        default: return available > 2 && p[1] == 0xC5 && p[2] == 0xBF ? 3 : 0;
    }
}

#define FASTLM_ISA _portable
#include "class_masks.h"
#include "numbers.h"
#include "whitespace.h"
#include "gpt2.h"
#include "cl100k.h"
#include "o200k.h"
#include "deepseek.h"
#undef FASTLM_ISA

#ifdef FASTLM_X86
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#define FASTLM_ISA _avx2
#define FASTLM_USE_AVX2 1
#include "class_masks.h"
#include "numbers.h"
#include "whitespace.h"
#include "gpt2.h"
#include "cl100k.h"
#include "o200k.h"
#include "deepseek.h"
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

/* In the order of _scan.SCANNERS */
enum {
    FASTLM_GPT2, FASTLM_GPT2_DIGITS, FASTLM_STARCODER,
    FASTLM_CL100K, FASTLM_LLAMA3, FASTLM_QWEN2, FASTLM_QWEN35, FASTLM_NANOCHAT,
    FASTLM_O200K, FASTLM_TEKKEN, FASTLM_KIMI,
    FASTLM_DEEPSEEK,
};

/* The scanner for an instruction set that this processor has. */
static inline fastlm_scan_fn fastlm_scanner(int family, int isa) {
#ifdef FASTLM_X86
#define FASTLM_CHOOSE(name) isa == FASTLM_AVX2 ? name##_avx2 : name##_portable
#else
    (void)isa;
#define FASTLM_CHOOSE(name) name##_portable
#endif
    switch (family) {
        case FASTLM_GPT2_DIGITS: return FASTLM_CHOOSE(fastlm_scan_gpt2_digits);
        case FASTLM_STARCODER: return FASTLM_CHOOSE(fastlm_scan_starcoder);
        case FASTLM_CL100K: return FASTLM_CHOOSE(fastlm_scan_cl100k);
        case FASTLM_LLAMA3: return FASTLM_CHOOSE(fastlm_scan_llama3);
        case FASTLM_QWEN2: return FASTLM_CHOOSE(fastlm_scan_qwen2);
        case FASTLM_QWEN35: return FASTLM_CHOOSE(fastlm_scan_qwen35);
        case FASTLM_NANOCHAT: return FASTLM_CHOOSE(fastlm_scan_nanochat);
        case FASTLM_O200K: return FASTLM_CHOOSE(fastlm_scan_o200k);
        case FASTLM_TEKKEN: return FASTLM_CHOOSE(fastlm_scan_tekken);
        case FASTLM_KIMI: return FASTLM_CHOOSE(fastlm_scan_kimi);
        case FASTLM_DEEPSEEK: return FASTLM_CHOOSE(fastlm_scan_deepseek);
        default: return FASTLM_CHOOSE(fastlm_scan_gpt2);
    }
#undef FASTLM_CHOOSE
}

/* Where a text that goes on may be cut: see safe_start.h. */
static inline int64_t fastlm_safe_start(int family, const uint8_t *text, int64_t limit) {
    fastlm_cut_fn cut = fastlm_cl100k_cut;
    switch (family) {
        case FASTLM_GPT2: cut = fastlm_gpt2_cut; break;
        case FASTLM_GPT2_DIGITS: cut = fastlm_gpt2_digits_cut; break;
        case FASTLM_STARCODER: cut = fastlm_starcoder_cut; break;
        case FASTLM_QWEN35: cut = fastlm_qwen35_cut; break;
        case FASTLM_O200K: case FASTLM_TEKKEN: cut = fastlm_o200k_cut; break;
        case FASTLM_KIMI: cut = fastlm_kimi_cut; break;
        case FASTLM_DEEPSEEK: cut = fastlm_deepseek_cut; break;
    }
    return fastlm_last_cut(text, limit, cut);
}
#endif
