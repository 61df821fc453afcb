/* Pretoken scanners. Each has a portable build and, on x86-64, builds for AVX2 and AVX-512. One is
 * selected at run time.
 *
 * To add a family of patterns: write its header as bit operations on the masks of class_masks.h, and add it to parts.h.
 * Add a number and a case to fastlm_scanner, and add its name at the same position to _scan.SCANNERS. Define in
 * safe_start.h where its texts may be cut. Text that the masks cannot express may be scanned character by character
 * (one_by_one.h). */
#ifndef FASTLM_SCAN_H
#define FASTLM_SCAN_H
#include "../../native/cpu.h"
#include "base.h"
#include "safe_start.h"

#define FASTLM_ISA _portable
#include "parts.h"
#undef FASTLM_ISA

/* GCC and clang have different pragmas for the target of the functions that follow. */
#ifdef FASTLM_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#endif
#define FASTLM_ISA _avx2
#define FASTLM_USE_AVX2 1
#include "parts.h"
#undef FASTLM_ISA
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(                                                                                          \
    __attribute__((target("avx2,bmi,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2"))),         \
    apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")
#endif
#define FASTLM_ISA _avx512
#define FASTLM_USE_AVX512 1
#include "parts.h"
#undef FASTLM_USE_AVX512
#undef FASTLM_USE_AVX2
#undef FASTLM_ISA
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

enum { FASTLM_PORTABLE, FASTLM_AVX2, FASTLM_AVX512 };

static inline int fastlm_best_isa(void) {
#ifdef FASTLM_X86
    if (fastlm_has_byte_permutes()) return FASTLM_AVX512;
    return fastlm_x86_level() >= 3 ? FASTLM_AVX2 : FASTLM_PORTABLE;
#else
    return FASTLM_PORTABLE;
#endif
}

/* In the order of _scan.SCANNERS. */
enum {
    FASTLM_GPT2, FASTLM_GPT2_DIGITS, FASTLM_STARCODER,
    FASTLM_CL100K, FASTLM_LLAMA3, FASTLM_QWEN2, FASTLM_QWEN35, FASTLM_NANOCHAT,
    FASTLM_O200K, FASTLM_TEKKEN, FASTLM_KIMI,
    FASTLM_DEEPSEEK,
};

/* Returns the scanner of a family for an instruction set, which the processor must support. */
static inline fastlm_scan_fn fastlm_scanner(int family, int isa) {
#ifdef FASTLM_X86
#define FASTLM_CHOOSE(name)                                                                                            \
    isa == FASTLM_AVX512 ? name##_avx512 : isa == FASTLM_AVX2 ? name##_avx2 : name##_portable
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

/* Returns the last offset up to `limit` at which an unfinished text may be cut, or 0: see safe_start.h. */
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
