/* Declarations that several C and Cython parts share. common.pxd declares them to Cython. */
#ifndef FASTLM_COMMON_H
#define FASTLM_COMMON_H
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define FASTLM_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define FASTLM_NOINLINE __attribute__((noinline))
#define FASTLM_ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define FASTLM_UNLIKELY(condition) (condition)
#define FASTLM_NOINLINE
#define FASTLM_ALWAYS_INLINE inline
#endif

/* Prefetches the cache line at an address that will be read, or read and written. Any address is allowed. */
static inline void fastlm_prefetch_read(const void *address) {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(address, 0);
#else
    (void)address;
#endif
}

static inline void fastlm_prefetch_write(const void *address) {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(address, 1);
#else
    (void)address;
#endif
}

/* Tables indexed by byte have this value if the vocabulary has no token for the byte. vocabulary.NO_ID is the same
 * number. */
#define FASTLM_NO_ID UINT32_MAX

/* A scanner writes the pretoken ends in text[start:n], as offsets into text, and returns their number. The next call
 * starts at the last one, which is n if the text is done. `start` must be a pretoken start and less than n. `capacity`,
 * the size of `ends`, must be at least FASTLM_LEAST_ENDS. On bytes that are not UTF-8 the scanner returns -1 and writes
 * their offset to ends[0]. */
typedef int64_t (*fastlm_scan_fn)(const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity);

enum {
    /* Bytes that a scanner handles in one step: the bits of its masks. */
    FASTLM_STEP_BYTES = 64,
    /* A scanner may overwrite this number of entries of `ends` after the last end. */
    FASTLM_SPARE_ENDS = 24,
    /* A scanner returns if `ends` cannot hold this number of further ends: a step writes one for each of its bytes, one
     * that an earlier step held back, and the end of the text. The rest is spare. */
    FASTLM_STEP_ENDS = 90,
    /* The least capacity: it holds the ends of a step, and of a pretoken that the previous step left pending. */
    FASTLM_LEAST_ENDS = 128,
};

/* Name of the capsules that hold scanners in Python. */
#define FASTLM_SCANNER_CAPSULE "fastlm.scanner"
#endif
