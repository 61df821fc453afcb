/* Entry of a pretoken counter: the two words of its key (see hash.h) and its count. */
#ifndef FASTLM_ENTRY_H
#define FASTLM_ENTRY_H
#include <stdint.h>

struct fastlm_entry {
    uint64_t low, high, count;
};

enum { FASTLM_ENTRY_WORDS = sizeof(struct fastlm_entry) / sizeof(uint64_t) };
#endif
