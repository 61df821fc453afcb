/* Calls a fuzz target, for compilers without libFuzzer: with pseudo-random inputs (TARGET -runs=N -seed=N), or with the
 * contents of files (TARGET FILE...). */
#include "fuzz.h"

enum { LONGEST = 200 };

static uint64_t state;

static uint64_t next(void) { /* splitmix64 */
    uint64_t z = state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static void call_with(const char *path) {
    enum { MOST = 1 << 12 };
    uint8_t content[MOST];
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    size_t size = fread(content, 1, MOST, file);
    fclose(file);
    uint8_t *data = malloc(size + !size); /* of exactly the size */
    memcpy(data, content, size);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

int main(int argc, char **argv) {
    uint64_t runs = 1000;
    int files = 0;
    for (int k = 1; k < argc; k++) {
        if (!strncmp(argv[k], "-runs=", 6)) runs = strtoull(argv[k] + 6, NULL, 10);
        else if (!strncmp(argv[k], "-seed=", 6)) state = strtoull(argv[k] + 6, NULL, 10);
        else call_with(argv[k]), files++;
    }
    if (files) {
        printf("Done %d files\n", files);
        return 0;
    }
    for (uint64_t run = 0; run < runs; run++) {
        uint64_t first = state;
        size_t size = next() % (next() % 4 ? 16 : LONGEST);
        uint8_t *data = malloc(size + 1);
        for (size_t k = 0; k < size; k++) data[k] = (uint8_t)next();
        /* repeated bytes make long spans of a class */
        for (size_t k = 4; k < size; k++)
            if (next() % 4 == 0) data[k] = data[k - 1 - next() % 3];
        if (run % 1000000 == 0)
            fprintf(stderr, "run %llu, seed %llu\n", (unsigned long long)run, (unsigned long long)first);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    printf("Done %llu runs\n", (unsigned long long)runs);
    return 0;
}
