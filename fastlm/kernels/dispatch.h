/* The merge kernel compiled for several instruction sets, and which of them this processor runs.
 *
 * The objects come from tools/compile_kernels.py. They refer to functions of Numba's runtime on paths for Python
 * exceptions and reference counts. The kernel raises nothing and owns no memory, so these paths are never taken; a
 * call is a bug and ends the process.
 */
#ifndef FASTLM_DISPATCH_H
#define FASTLM_DISPATCH_H
#include <stdint.h>
#include <stdlib.h>

/* The build gives the sha256 of the kernel's source; a test refuses a module without it. */
#ifndef FASTLM_KERNEL_SOURCE
#define FASTLM_KERNEL_SOURCE ""
#endif

#define FASTLM_NEVER_CALLED(name) \
    __attribute__((visibility("hidden"), noreturn)) void name(void) { abort(); }
FASTLM_NEVER_CALLED(NRT_Free)
FASTLM_NEVER_CALLED(NRT_MemInfo_call_dtor)
FASTLM_NEVER_CALLED(numba_do_raise)
FASTLM_NEVER_CALLED(numba_gil_ensure)
FASTLM_NEVER_CALLED(numba_gil_release)
FASTLM_NEVER_CALLED(numba_runtime_build_excinfo_struct)
FASTLM_NEVER_CALLED(numba_unpickle)
#undef FASTLM_NEVER_CALLED

/* The functions of bpe.py, which has their signatures. */
typedef struct {
    const char *name;
    void (*merge)(void), (*merge_batch)(void);
} fastlm_kernel;

#if defined(__x86_64__)
#include <cpuid.h>

void fastlm_merge_x86_64_v2(void);
void fastlm_merge_x86_64_v3(void);
void fastlm_merge_x86_64_v4(void);
void fastlm_merge_batch_x86_64_v2(void);
void fastlm_merge_batch_x86_64_v3(void);
void fastlm_merge_batch_x86_64_v4(void);

static const fastlm_kernel fastlm_kernels[] = {
    {"x86-64-v2", fastlm_merge_x86_64_v2, fastlm_merge_batch_x86_64_v2},
    {"x86-64-v3", fastlm_merge_x86_64_v3, fastlm_merge_batch_x86_64_v3},
    {"x86-64-v4", fastlm_merge_x86_64_v4, fastlm_merge_batch_x86_64_v4},
};

static int fastlm_has(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

/* How many of the kernels this processor and its operating system run: the levels of the x86-64 psABI in order. Read by
 * cpuid itself, because compilers differ in the names that __builtin_cpu_supports knows. */
static int fastlm_kernel_count(void) {
    uint32_t a, b, c, d, b7 = 0, c_ext = 0, low = 0, high;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const uint32_t sse3 = 1u << 0, ssse3 = 1u << 9, fma = 1u << 12, cx16 = 1u << 13, sse41 = 1u << 19, sse42 = 1u << 20,
                   movbe = 1u << 22, popcnt = 1u << 23, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    uint32_t c1 = c;
    if (!fastlm_has(c1, sse3 | ssse3 | cx16 | sse41 | sse42 | popcnt)) return 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) b7 = b;
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) c_ext = c;
    if (c1 & osxsave) __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    const uint32_t bmi1 = 1u << 3, avx2 = 1u << 5, bmi2 = 1u << 8, lzcnt = 1u << 5;
    if (!fastlm_has(c1, fma | movbe | avx | f16c) || !fastlm_has(b7, bmi1 | avx2 | bmi2) || !fastlm_has(c_ext, lzcnt) ||
        !fastlm_has(low, 0x06)) /* the system saves ymm registers */
        return 1;
    const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* F, DQ, CD, BW, VL */
    return fastlm_has(b7, avx512) && fastlm_has(low, 0xE6) ? 3 : 2;
}
#else
void fastlm_merge_generic(void);
void fastlm_merge_batch_generic(void);

static const fastlm_kernel fastlm_kernels[] = {{"generic", fastlm_merge_generic, fastlm_merge_batch_generic}};

static int fastlm_kernel_count(void) { return 1; }
#endif

#endif
