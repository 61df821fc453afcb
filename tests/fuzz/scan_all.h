/* Scans whole texts for the targets that test scanners. */
#ifndef FASTLM_TESTS_SCAN_ALL_H
#define FASTLM_TESTS_SCAN_ALL_H
#include "fuzz.h"
#include "pretokenize/scan/scan.h"

enum { FAMILIES = FASTLM_DEEPSEEK + 1, MOST_ENDS = MOST_BYTES + 8, MOST_CAPACITY = 512 };

/* The pretoken ends of text[start:n], and their number; on bytes that are not UTF-8, -1 and their offset in ends[0].
 * The scanner writes to memory of exactly `capacity` ends, which is kept for the next scan. */
static inline int64_t scan_all(fastlm_scan_fn scan, const uint8_t *text, int64_t n, int64_t start, int64_t *ends,
                               int64_t capacity) {
    static int64_t *blocks[MOST_CAPACITY + 1];
    if (!blocks[capacity]) blocks[capacity] = malloc((size_t)capacity * sizeof **blocks);
    int64_t found = 0, *block = blocks[capacity];
    while (start < n) {
        int64_t written = scan(text, n, start, block, capacity);
        if (written < 0) {
            ends[0] = block[0];
            found = -1;
            break;
        }
        REQUIRE(written > 0 && written <= capacity && found + written <= MOST_ENDS);
        for (int64_t k = 0; k < written; k++) {
            REQUIRE(block[k] > start && block[k] <= n);
            ends[found++] = start = block[k];
        }
    }
    return found;
}
#endif
