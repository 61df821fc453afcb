/* Each scanner against itself: another instruction set, the least capacity, a start at any pretoken, and, where a
 * pattern has one, the scan of one character at a time. Bytes that are not UTF-8 are refused at their offset. */
#include "scan_all.h"

/* The offset of the first byte that is not UTF-8, or -1. */
static int64_t first_bad(const uint8_t *text, int64_t n) {
    uint32_t code_point;
    for (int64_t at = 0; at < n;) {
        int length = fastlm_decode(text + at, n - at, &code_point);
        if (!length) return at;
        at += length;
    }
    return -1;
}

/* The end of the pretoken at `start`, read one character at a time, or 0 if the family has no such scan. */
static int64_t one_end(int family, const uint8_t *text, int64_t n, int64_t start) {
    int64_t bad;
    switch (family) {
        case FASTLM_O200K: return fastlm_o200k_end(text, n, start, 1, 3, 1, 0, &bad);
        case FASTLM_TEKKEN: return fastlm_o200k_end(text, n, start, 0, 1, 1, 0, &bad);
        case FASTLM_KIMI: return fastlm_o200k_end(text, n, start, 1, 3, 0, 1, &bad);
        case FASTLM_DEEPSEEK: return fastlm_deepseek_end(text, n, start, &bad);
        default: return 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3) return 0;
    int family = data[0] % FAMILIES;
    int64_t n, ends[MOST_ENDS], others[MOST_ENDS];
    uint8_t *text = text_of(data + 2, size - 2, &n);
    int64_t count = scan_all(fastlm_scanner(family, FASTLM_PORTABLE), text, n, 0, ends, MOST_CAPACITY);
    int64_t bad = first_bad(text, n);
    REQUIRE(bad < 0 ? count >= 0 && (!n || ends[count - 1] == n) : count == -1 && ends[0] == bad);
    fastlm_scan_fn best = fastlm_scanner(family, fastlm_best_isa());
    int64_t again = scan_all(best, text, n, 0, others, FASTLM_LEAST_ENDS);
    REQUIRE(again == count && !memcmp(ends, others, (count < 0 ? 1 : (size_t)count) * sizeof *ends));
    if (count > 0) {
        int64_t from = data[1] % count;
        REQUIRE(scan_all(best, text, n, ends[from], others, MOST_CAPACITY) == count - from - 1);
        REQUIRE(!memcmp(ends + from + 1, others, (size_t)(count - from - 1) * sizeof *ends));
        for (int64_t k = 0, start = 0; k < count; start = ends[k++]) {
            int64_t end = one_end(family, text, n, start);
            REQUIRE(!end || end == ends[k]);
        }
    }
    free(text);
    return 0;
}
