/* Every safe cut of every known beginning of a text: both parts must have the pretokens of the whole text. */
#include "scan_all.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    int family = data[0] % FAMILIES;
    int64_t n, whole[MOST_ENDS], parts[MOST_ENDS], cut = 0;
    uint8_t *text = text_of(data + 1, size - 1, &n);
    fastlm_scan_fn scan = fastlm_scanner(family, fastlm_best_isa());
    int64_t count = scan_all(scan, text, n, 0, whole, MOST_CAPACITY);
    for (int64_t limit = 1; count > 0 && limit <= n - 4; limit++) {
        int64_t next = fastlm_safe_start(family, text, limit);
        REQUIRE(next >= cut && next <= limit);
        if (next == cut) continue;
        cut = next;
        int64_t left = scan_all(scan, text, cut, 0, parts, MOST_CAPACITY);
        REQUIRE(left > 0);
        int64_t right = scan_all(scan, text, n, cut, parts + left, MOST_CAPACITY);
        REQUIRE(right > 0 && left + right == count && !memcmp(whole, parts, (size_t)count * sizeof *whole));
    }
    free(text);
    return 0;
}
