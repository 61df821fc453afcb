/* Boundaries of extended grapheme clusters (Unicode Standard Annex 29) as Oniguruma finds them. */
#ifndef FASTLM_CLUSTERS_H
#define FASTLM_CLUSTERS_H
#include <stdint.h>

/* In the order of CLUSTER_CLASSES in properties.py. */
enum {
    FASTLM_GC_OTHER, FASTLM_GC_CR, FASTLM_GC_LF, FASTLM_GC_CONTROL, FASTLM_GC_EXTEND, FASTLM_GC_JOINER,
    FASTLM_GC_SPACING, FASTLM_GC_PREPEND, FASTLM_GC_REGIONAL, FASTLM_GC_PICTOGRAPH,
    FASTLM_GC_L, FASTLM_GC_V, FASTLM_GC_T, FASTLM_GC_LV, FASTLM_GC_LVT,
};

static int fastlm_cluster_class(const uint8_t *classes, const uint8_t *text, int64_t at, int64_t *start) {
    uint32_t code_point, lead;
    do at--;
    while (at > 0 && (text[at] & 0xC0) == 0x80);
    *start = at;
    lead = text[at];
    if (lead < 0x80) code_point = lead;
    else if (lead < 0xE0) code_point = (lead & 0x1F) << 6 | (text[at + 1] & 0x3F);
    else if (lead < 0xF0)
        code_point = (lead & 0x0F) << 12 | (uint32_t)(text[at + 1] & 0x3F) << 6 | (text[at + 2] & 0x3F);
    else
        code_point = (lead & 0x07) << 18 | (uint32_t)(text[at + 1] & 0x3F) << 12 | (uint32_t)(text[at + 2] & 0x3F) << 6 |
                     (text[at + 3] & 0x3F);
    return classes[code_point];
}

static int fastlm_is_cluster_boundary(const uint8_t *classes, const uint8_t *text, int64_t size, int64_t at) {
    int64_t start;
    if (at == 0 || at == size) return 1;
    int64_t after_end = at + 1;
    while (after_end < size && (text[after_end] & 0xC0) == 0x80) after_end++;
    int after = fastlm_cluster_class(classes, text, after_end, &start);
    int before = fastlm_cluster_class(classes, text, at, &start);
    if (before == FASTLM_GC_CR && after == FASTLM_GC_LF) return 0;
    if (before >= FASTLM_GC_CR && before <= FASTLM_GC_CONTROL) return 1;
    if (after >= FASTLM_GC_CR && after <= FASTLM_GC_CONTROL) return 1;
    if (before == FASTLM_GC_L &&
        (after == FASTLM_GC_L || after == FASTLM_GC_V || after == FASTLM_GC_LV || after == FASTLM_GC_LVT)) return 0;
    if ((before == FASTLM_GC_LV || before == FASTLM_GC_V) && (after == FASTLM_GC_V || after == FASTLM_GC_T)) return 0;
    if ((before == FASTLM_GC_LVT || before == FASTLM_GC_T) && after == FASTLM_GC_T) return 0;
    if (after == FASTLM_GC_EXTEND || after == FASTLM_GC_JOINER || after == FASTLM_GC_SPACING) return 0;
    if (before == FASTLM_GC_PREPEND) return 0;
    if (before == FASTLM_GC_JOINER && after == FASTLM_GC_PICTOGRAPH) {
        while (start > 0) {
            int found = fastlm_cluster_class(classes, text, start, &start);
            if (found == FASTLM_GC_PICTOGRAPH) return 0;
            if (found != FASTLM_GC_EXTEND) return 1;
        }
        return 1;
    }
    if (before == FASTLM_GC_REGIONAL && after == FASTLM_GC_REGIONAL) {
        int is_pair = 1;
        while (start > 0 && fastlm_cluster_class(classes, text, start, &start) == FASTLM_GC_REGIONAL) is_pair = !is_pair;
        return !is_pair;
    }
    return 1;
}
#endif
