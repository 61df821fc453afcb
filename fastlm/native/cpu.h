/* The level of this processor, read by cpuid itself: compilers differ in the names that __builtin_cpu_supports knows,
 * and on Windows it needs a library that clang does not link. */
#ifndef FASTLM_CPU_H
#define FASTLM_CPU_H
#include <stdint.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>

static inline int fastlm_has(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

static inline int fastlm_read_x86_level(void) {
    uint32_t a, b, c, d, b7 = 0, c_ext = 0, low = 0, high;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 1;
    const uint32_t sse3 = 1u << 0, ssse3 = 1u << 9, fma = 1u << 12, cx16 = 1u << 13, sse41 = 1u << 19, sse42 = 1u << 20,
                   movbe = 1u << 22, popcnt = 1u << 23, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    uint32_t c1 = c;
    if (!fastlm_has(c1, sse3 | ssse3 | cx16 | sse41 | sse42 | popcnt)) return 1;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) b7 = b;
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) c_ext = c;
    if (c1 & osxsave) __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    const uint32_t bmi1 = 1u << 3, avx2 = 1u << 5, bmi2 = 1u << 8, lzcnt = 1u << 5;
    if (!fastlm_has(c1, fma | movbe | avx | f16c) || !fastlm_has(b7, bmi1 | avx2 | bmi2) || !fastlm_has(c_ext, lzcnt) ||
        !fastlm_has(low, 0x06)) /* the system saves ymm registers */
        return 2;
    const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* F, DQ, CD, BW, VL */
    return fastlm_has(b7, avx512) && fastlm_has(low, 0xE6) ? 4 : 3;
}

/* The highest level of the x86-64 psABI that this processor and its operating system run: 1 to 4. It is read once,
 * because cpuid leaves a virtual machine, which takes microseconds. */
static inline int fastlm_x86_level(void) {
    static int known = 0;
    int level = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!level) {
        level = fastlm_read_x86_level();
        __atomic_store_n(&known, level, __ATOMIC_RELAXED);
    }
    return level;
}

/* Whether a processor of level 4 also permutes and compresses bytes (VBMI and VBMI2): since Ice Lake and Zen 4. */
static inline int fastlm_has_byte_permutes(void) {
    static int known = -1;
    int has = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (has < 0) {
        uint32_t a, b, c = 0, d;
        const uint32_t vbmi = 1u << 1, vbmi2 = 1u << 6;
        has = fastlm_x86_level() >= 4 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && fastlm_has(c, vbmi | vbmi2);
        __atomic_store_n(&known, has, __ATOMIC_RELAXED);
    }
    return has;
}
#endif
#endif
