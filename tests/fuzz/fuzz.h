/* What the fuzz targets share. A target defines LLVMFuzzerTestOneInput; libFuzzer or driver.c calls it. */
#ifndef FASTLM_TESTS_FUZZ_H
#define FASTLM_TESTS_FUZZ_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Stops the run if a condition does not hold, and prints it. */
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Characters of each class that a pattern or a normalization form treats specially. Random bytes would have few. */
static const char *const atoms[] = {
    "\n", "\r", "\r\n", " ", "  ", "\t", "\v", "\xe3\x80\x80", "\xe2\x80\xa8", "\xc2\xa0", "\xc2\x85",
    "a", "s", "t", "l", "ll", "re", "v", "B", "S", "Ab", "\xc3\xa9", "\xc7\x85", "\xca\xb0", "\xd1\x88", "\xc2\xaa",
    "\xc5\xbf", "1", "12", "345", "\xd9\xa3", "\xe2\x85\xa7", "\xc2\xbd", "\xf0\x91\xb7\xa0", "\xf0\x96\xbf\xb4",
    "!", "/", "//", "|", "-", "$", "_", "\xe3\x80\x81", "\xf0\x9f\x98\x80", "\xe2\x80\x94",
    "'", "'s", "'S", "'ll", "'LL", "'re", "'\xc5\xbf", "'x", "''",
    "\xe6\x97\xa5", "\xe6\x9c\xac", "\xe8\xaa\x9e", "\xe3\x80\x87", "\xe3\x80\x85", "\xe2\xba\x80", "\xe3\x80\xa1",
    "\xf0\x96\xbf\xb0", "\xe3\x81\xb2", "\xe3\x82\xab", "\xe3\x83\xbc", "\xe3\x83\xbb", "\xe3\x82\x9b", "\xe3\x82\x99",
    "\xed\x95\x9c", "\xe1\x84\x80", "\xe1\x85\xa1", "\xe1\x86\xa8", "\xea\xb0\x80", "\xea\xb0\x81",
    "\xcc\x81", "\xcc\xa3", "\xcd\x85", "\xe2\x83\x9d", "\xe0\xa4\x83", "\xe0\xa4\x95", "\xe0\xa4\xbc", "\xd6\xb0",
    "A", "e", "o", "\xc3\x85", "\xe2\x84\xab", "\xef\xac\x81", "\xe1\xba\x9e", "\xc4\xb0", "\xef\xb7\xba",
    "\xef\xbd\xb6", "\xef\xbe\x9e", "\xe2\x91\xa0", "\xcf\x83", "\xce\xa3",
    "\x7f", "\x01", "\xc2\xad", "\xee\x80\x80", "\xcd\xb8", "\xf4\x8f\xbf\xbf", "\xef\xbb\xbf", "\xef\xbf\xbd",
};

enum { ATOMS = sizeof atoms / sizeof *atoms, MOST_BYTES = 400 };

/* The text of an input, in memory of exactly its size, so that a read outside of it is reported. An even first byte
 * makes atoms of the others, an odd one takes them as they are. */
static inline uint8_t *text_of(const uint8_t *data, size_t size, int64_t *n) {
    uint8_t buffer[MOST_BYTES];
    int64_t length = 0;
    if (size && data[0] % 2 == 0) {
        for (size_t k = 1; k < size; k++) {
            const char *atom = atoms[data[k] % ATOMS];
            if (length + (int64_t)strlen(atom) > MOST_BYTES) break;
            memcpy(buffer + length, atom, strlen(atom));
            length += (int64_t)strlen(atom);
        }
    } else if (size > 1) {
        length = size - 1 < MOST_BYTES ? (int64_t)size - 1 : MOST_BYTES;
        memcpy(buffer, data + 1, (size_t)length);
    }
    uint8_t *text = malloc(length ? (size_t)length : 1);
    memcpy(text, buffer, (size_t)length);
    *n = length;
    return text;
}
#endif
