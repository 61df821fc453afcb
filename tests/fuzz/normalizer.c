/* A normalization form: a well-formed result that the form leaves as it is, the same result through another form, and
 * an origin of each character. The memory grows from the least, as in _normalize.pyx. */
#include "fuzz.h"
#include "text/normalize.h"

typedef struct {
    uint8_t *bytes;
    int64_t n, *origins, n_origins;
} result;

static int64_t characters_of(const uint8_t *text, int64_t n) {
    int64_t count = 0;
    for (int64_t at = 0; at < n; at++) count += (text[at] & 0xC0) != 0x80;
    return count;
}

static void *grown(void *old, int64_t used, int64_t size) {
    void *new = malloc((size_t)size);
    memcpy(new, old, (size_t)used);
    free(old);
    return new;
}

static void widen_segment(fastlm_normalization *s, int64_t size) {
    free(s->segment);
    s->segment = malloc((size_t)(2 * size) * sizeof *s->segment);
    s->segment_size = size;
}

static int64_t first_change(const uint8_t *text, int64_t n, int form) {
    fastlm_normalization s = {.text = text, .n = n, .form = form};
    widen_segment(&s, 1);
    while (fastlm_find_change(&s) != FASTLM_NORMALIZED) widen_segment(&s, 2 * s.segment_size);
    free(s.segment);
    return s.position;
}

static result normalized(const uint8_t *text, int64_t n, int form) {
    fastlm_normalization s = {.text = text, .n = n, .form = form, .out = malloc(1), .origins = malloc(8)};
    widen_segment(&s, FASTLM_LONGEST_DECOMPOSITION + 1);
    for (;;) {
        fastlm_normalize_status status = fastlm_normalize(&s);
        if (status == FASTLM_NORMALIZED) break;
        if (status == FASTLM_NORMALIZE_SEGMENT_FULL) {
            widen_segment(&s, 2 * s.segment_size);
            continue;
        }
        int64_t size = s.out_size + s.out_size / 2 + 4 * s.segment_size;
        s.out = grown(s.out, s.written, size);
        s.origins = grown(s.origins, 8 * s.origins_written, 8 * size);
        s.out_size = s.origins_size = size;
    }
    free(s.segment);
    return (result){s.out, s.written, s.origins, s.origins_written};
}

static void free_result(result r) {
    free(r.bytes);
    free(r.origins);
}

static int is_equal(result a, result b) { return a.n == b.n && !memcmp(a.bytes, b.bytes, (size_t)a.n); }

static void check_form(const uint8_t *text, int64_t n, int form, result r) {
    int64_t changed = first_change(text, n, form);
    REQUIRE(changed <= n && !memcmp(text, r.bytes, (size_t)(changed < r.n ? changed : r.n)));
    REQUIRE((changed == n) == (r.n == n && !memcmp(text, r.bytes, (size_t)n)));
    REQUIRE(r.n_origins == characters_of(r.bytes, r.n));
    for (int64_t k = 0; k < r.n_origins; k++)
        REQUIRE(r.origins[k] >= (k ? r.origins[k - 1] : 0) && r.origins[k] < characters_of(text, n));
    /* lowercase of U+0130 is "i" and a mark, and lowercase leaves it so */
    REQUIRE(first_change(r.bytes, r.n, form) == r.n);
}

/* The first byte chooses a form, and another one that a text may be normalized to before without a difference. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { FORMS = 6, UNICODE_FORMS = 4 };
    int64_t n;
    uint8_t even[MOST_BYTES];
    if (size < 1 || size > sizeof even) return 0;
    even[0] = 0; /* the text must be UTF-8 */
    memcpy(even + 1, data + 1, size - 1);
    int form = data[0] % FORMS, through = data[0] / FORMS % UNICODE_FORMS;
    if (form < 2) through &= 1; /* a compatible form loses what canonical ones keep */
    uint8_t *text = text_of(even, size, &n);
    result r = normalized(text, n, form);
    check_form(text, n, form, r);
    if (form < UNICODE_FORMS) {
        result other = normalized(text, n, through), again = normalized(other.bytes, other.n, form);
        REQUIRE(is_equal(again, r));
        free_result(other);
        free_result(again);
    }
    free_result(r);
    free(text);
    return 0;
}
