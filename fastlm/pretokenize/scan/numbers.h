/* Numbers of at most `digits` characters: \p{N}{1,digits} (included once for each instruction set). */
#ifndef FASTLM_ISA
#include "isa_alone.h"
#endif

/* Returns the start of every `digits`-th character of a number. `count` is the number of characters that the number has
 * in earlier blocks. */
static inline uint64_t FASTLM_NAME(fastlm_number_starts)(const uint8_t *p, const fastlm_masks *m, uint64_t inside,
                                                         uint64_t last_number, uint64_t number_starts, int digits,
                                                         int *count) {
    uint64_t number = m->number;
    /* most numbers have at most three digits and are inside the block; one condition makes one branch */
    uint64_t four = number & number >> 1 & number >> 2 & number >> 3;
    uint64_t any = digits < 3 ? number : four | last_number | number >> 63 | (number & m->above);
    if (!any) return 0;
    uint64_t starts = 0;
    for (uint64_t left = number & inside; left; left &= left - 1) {
        int i = __builtin_ctzll(left);
        if (fastlm_is_continuation(p[i])) continue;
        if (number_starts >> i & 1) *count = 0;
        if (*count == digits) {
            starts |= (uint64_t)1 << i;
            *count = 0;
        }
        ++*count;
    }
    return starts;
}
