/* Unicode normalization forms, lowercase and removal of marks of UTF-8, as Hugging Face's tokenizers computes them.
 *
 * Most characters of most texts are inert: a form leaves them as they are and they affect no neighbour. Spans of inert
 * characters are skipped, or copied, many bytes at a time. The text between two inert characters is a segment. A
 * segment is decomposed, its combining marks are sorted by combining class, and for NFC and NFKC it is composed
 * (Unicode Standard Annex 15; Unicode Standard, sections 3.11 and 3.12). For these two forms the inert character before
 * belongs to the segment, because marks compose with it. Time is linear in the text.
 *
 * Alignment follows tokenizers: a composed character comes from its first character alone. If a character becomes
 * longer, the added characters come from the character before.
 *
 * The text must be well-formed UTF-8. In other bytes the result is undefined, but nothing outside of the text is read.
 */
#ifndef FASTLM_NORMALIZE_H
#define FASTLM_NORMALIZE_H
#include <stdint.h>
#include <string.h>
#include "normalization_tables.h"

/* Also bits of fastlm_normalization_record.active. STRIP_MARKS removes all characters of the category Mark. */
enum {
    FASTLM_NFC = 0, FASTLM_NFD = 1, FASTLM_NFKC = 2, FASTLM_NFKD = 3, FASTLM_LOWERCASE = 4, FASTLM_STRIP_MARKS = 5
};

typedef enum { FASTLM_NORMALIZED = 0, FASTLM_NORMALIZE_OUT_FULL = 1, FASTLM_NORMALIZE_SEGMENT_FULL = 2 }
    fastlm_normalize_status;

/* The largest number of characters that one character decomposes to. */
enum { FASTLM_LONGEST_DECOMPOSITION = 18 };

/* A character of a segment. `change`: 0 for a character that replaces one of the text, 1 for one that is added, -k for
 * one that replaces k + 1. */
typedef struct {
    uint32_t code_point;
    int32_t change;
    uint8_t combining_class;
} fastlm_normalized_char;

typedef struct {
    const uint8_t *text;
    int64_t n, position; /* bytes of the text, and the number of bytes done */
    int64_t characters;  /* characters of the text before `position`; kept only with `origins` */
    uint8_t *out;
    int64_t out_size, written; /* bytes */
    int64_t *origins;          /* NULL, or for each character of the result the index of its character in the text */
    int64_t origins_size, origins_written;
    fastlm_normalized_char *segment; /* two halves of segment_size: the second is for sorting */
    int64_t segment_size;
    int form;
} fastlm_normalization;

static inline const fastlm_normalization_record *fastlm_normalization_of(uint32_t code_point) {
    enum { PAGE = 1 << FASTLM_NORMALIZATION_PAGE_BITS };
    uint32_t page = fastlm_normalization_page_of[code_point >> FASTLM_NORMALIZATION_PAGE_BITS];
    return &fastlm_normalization_records[fastlm_normalization_pages[page * PAGE + code_point % PAGE]];
}

/* Decodes the character at text[0]; bytes that are not well-formed give U+FFFD, one at a time. */
static inline int fastlm_next_char(const uint8_t *text, int64_t available, uint32_t *code_point) {
    uint32_t lead = text[0];
    if (lead < 0x80) {
        *code_point = lead;
        return 1;
    }
    if (lead >= 0xC2 && lead < 0xE0 && available >= 2) {
        *code_point = (lead & 0x1F) << 6 | (text[1] & 0x3F);
        return 2;
    }
    if (lead >= 0xE0 && lead < 0xF0 && available >= 3) {
        *code_point = (lead & 0x0F) << 12 | (uint32_t)(text[1] & 0x3F) << 6 | (text[2] & 0x3F);
        return 3;
    }
    if (lead >= 0xF0 && lead < 0xF5 && available >= 4) {
        uint32_t value = (lead & 0x07) << 18 | (uint32_t)(text[1] & 0x3F) << 12 | (uint32_t)(text[2] & 0x3F) << 6 |
                         (text[3] & 0x3F);
        *code_point = value < 0x110000 ? value : 0xFFFD;
        return 4;
    }
    *code_point = 0xFFFD;
    return 1;
}

static inline int fastlm_put_char(uint8_t *out, uint32_t code_point) {
    if (code_point < 0x80) {
        out[0] = (uint8_t)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (uint8_t)(0xC0 | code_point >> 6);
        out[1] = (uint8_t)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code_point >> 12);
        out[1] = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (code_point & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | code_point >> 18);
    out[1] = (uint8_t)(0x80 | (code_point >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (code_point & 0x3F));
    return 4;
}

/* Hangul syllables are computed (Unicode Standard, section 3.12): L + V, or LV + T. */
enum {
    FASTLM_HANGUL_S = 0xAC00, FASTLM_HANGUL_L = 0x1100, FASTLM_HANGUL_V = 0x1161, FASTLM_HANGUL_T = 0x11A7,
    FASTLM_HANGUL_L_COUNT = 19, FASTLM_HANGUL_V_COUNT = 21, FASTLM_HANGUL_T_COUNT = 28,
    FASTLM_HANGUL_S_COUNT = 11172
};

static inline int fastlm_is_hangul_syllable(uint32_t code_point) {
    return code_point - FASTLM_HANGUL_S < FASTLM_HANGUL_S_COUNT;
}

/* Returns the character that two characters compose to, or 0. */
static inline uint32_t fastlm_composed(uint32_t first, uint32_t second) {
    if (first - FASTLM_HANGUL_L < FASTLM_HANGUL_L_COUNT && second - FASTLM_HANGUL_V < FASTLM_HANGUL_V_COUNT)
        return FASTLM_HANGUL_S + ((first - FASTLM_HANGUL_L) * FASTLM_HANGUL_V_COUNT + second - FASTLM_HANGUL_V) *
                                     FASTLM_HANGUL_T_COUNT;
    if (fastlm_is_hangul_syllable(first) && (first - FASTLM_HANGUL_S) % FASTLM_HANGUL_T_COUNT == 0 &&
        second - FASTLM_HANGUL_T - 1 < FASTLM_HANGUL_T_COUNT - 1)
        return first + second - FASTLM_HANGUL_T;
    uint32_t slot = (first * FASTLM_COMPOSITION_FIRST + second * FASTLM_COMPOSITION_SECOND) >> 21;
    for (; fastlm_compositions[slot][0]; slot = (slot + 1) % FASTLM_COMPOSITION_SLOTS)
        if (fastlm_compositions[slot][0] == first && fastlm_compositions[slot][1] == second)
            return fastlm_compositions[slot][2];
    return 0;
}

static inline int fastlm_is_active(uint32_t code_point, int form) {
    if (fastlm_is_hangul_syllable(code_point)) return form == FASTLM_NFD || form == FASTLM_NFKD;
    return fastlm_normalization_of(code_point)->active >> form & 1;
}

/* Returns the start of the first active character at or after `at`, or n. */
static int64_t fastlm_skip_inert(const uint8_t *text, int64_t n, int64_t at, int form) {
    /* the first byte of the first active character: U+0300, U+00C0, U+00A0, U+00A0, A, U+0300 */
    static const uint8_t first_active[] = {0xCC, 0xC3, 0xC2, 0xC2, 'A', 0xCC};
    uint8_t least = first_active[form];
    uint32_t code_point;
    while (at < n) {
        if (text[at] < least) {
            while (at + 64 <= n) {
                uint8_t any = 0;
                for (int k = 0; k < 64; k++) any |= text[at + k] >= least;
                if (any) break;
                at += 64;
            }
            while (at < n && text[at] < least) at++;
            continue;
        }
        int length = fastlm_next_char(text + at, n - at, &code_point);
        if (fastlm_is_active(code_point, form)) return at;
        at += length;
    }
    return n;
}

/* Returns the end of the segment whose active characters begin at `at`. */
static int64_t fastlm_segment_end(const uint8_t *text, int64_t n, int64_t at, int form) {
    uint32_t code_point;
    do {
        int length = fastlm_next_char(text + at, n - at, &code_point);
        if (!fastlm_is_active(code_point, form)) return at;
        at += length;
    } while (at < n);
    return at;
}

static int64_t fastlm_add_char(fastlm_normalized_char *segment, int64_t size, uint32_t code_point, int form) {
    static const uint32_t *pool = fastlm_normalized_code_points;
    if (fastlm_is_hangul_syllable(code_point) && form != FASTLM_LOWERCASE) {
        uint32_t index = code_point - FASTLM_HANGUL_S, tail = index % FASTLM_HANGUL_T_COUNT;
        uint32_t parts[3] = {FASTLM_HANGUL_L + index / (FASTLM_HANGUL_V_COUNT * FASTLM_HANGUL_T_COUNT),
                             FASTLM_HANGUL_V + index / FASTLM_HANGUL_T_COUNT % FASTLM_HANGUL_V_COUNT,
                             FASTLM_HANGUL_T + tail};
        for (int k = 0; k < (tail ? 3 : 2); k++) segment[size++] = (fastlm_normalized_char){parts[k], k > 0, 0};
        return size;
    }
    const fastlm_normalization_record *record = fastlm_normalization_of(code_point);
    uint32_t start = record->canonical, length = record->canonical_length;
    if (form == FASTLM_LOWERCASE) start = record->lower, length = record->lower_length;
    if (form == FASTLM_NFKC || form == FASTLM_NFKD) start = record->compatible, length = record->compatible_length;
    if (!length) {
        segment[size++] = (fastlm_normalized_char){code_point, 0, record->combining_class};
        return size;
    }
    for (uint32_t k = 0; k < length; k++) {
        uint32_t part = pool[start + k];
        segment[size++] = (fastlm_normalized_char){part, k > 0, fastlm_normalization_of(part)->combining_class};
    }
    return size;
}

/* Sorts a sequence of combining marks by class. The sort is stable, and takes linear time for long sequences. */
static void fastlm_sort_marks(fastlm_normalized_char *marks, int64_t n, fastlm_normalized_char *spare) {
    if (n <= 16) {
        for (int64_t k = 1; k < n; k++) {
            fastlm_normalized_char mark = marks[k];
            int64_t at = k;
            for (; at > 0 && marks[at - 1].combining_class > mark.combining_class; at--) marks[at] = marks[at - 1];
            marks[at] = mark;
        }
        return;
    }
    int64_t starts[257] = {0};
    for (int64_t k = 0; k < n; k++) starts[marks[k].combining_class + 1]++;
    for (int number = 0; number < 256; number++) starts[number + 1] += starts[number];
    for (int64_t k = 0; k < n; k++) spare[starts[marks[k].combining_class]++] = marks[k];
    memcpy(marks, spare, (size_t)n * sizeof *marks);
}

/* Joins each character with the last starter unless one between blocks it (D115 to D117); returns how many remain. */
static int64_t fastlm_compose(fastlm_normalized_char *segment, int64_t n) {
    int64_t size = 0, starter = -1;
    int last_class = 0;
    for (int64_t k = 0; k < n; k++) {
        fastlm_normalized_char next = segment[k];
        if (starter >= 0 && (starter == size - 1 || last_class < next.combining_class)) {
            uint32_t composed = fastlm_composed(segment[starter].code_point, next.code_point);
            if (composed) {
                segment[starter].code_point = composed;
                segment[starter].change += next.change - 1;
                continue;
            }
        }
        if (next.combining_class == 0) starter = size;
        last_class = next.combining_class;
        segment[size++] = next;
    }
    return size;
}

/* Normalizes text[start:end], one segment. Returns its number of characters, or -1 if `segment` is too small. */
static int64_t fastlm_normalize_segment(fastlm_normalization *s, int64_t start, int64_t end) {
    fastlm_normalized_char *segment = s->segment;
    int64_t size = 0;
    uint32_t code_point;
    while (start < end) {
        if (size + FASTLM_LONGEST_DECOMPOSITION > s->segment_size) return -1;
        start += fastlm_next_char(s->text + start, end - start, &code_point);
        if (s->form != FASTLM_STRIP_MARKS) size = fastlm_add_char(segment, size, code_point, s->form);
    }
    for (int64_t k = 0, first; k < size; k++) {
        if (!segment[k].combining_class || s->form == FASTLM_LOWERCASE) continue;
        for (first = k; k < size && segment[k].combining_class; k++) {}
        fastlm_sort_marks(segment + first, k - first, segment + s->segment_size);
    }
    return s->form == FASTLM_NFC || s->form == FASTLM_NFKC ? fastlm_compose(segment, size) : size;
}

/* Whether a normalized segment equals text[start:end]. */
static int fastlm_is_unchanged(const fastlm_normalization *s, int64_t start, int64_t end, int64_t size) {
    uint32_t code_point;
    for (int64_t k = 0; k < size; k++) {
        if (start >= end) return 0;
        start += fastlm_next_char(s->text + start, end - start, &code_point);
        if (code_point != s->segment[k].code_point) return 0;
    }
    return start == end;
}

/* Finds the next segment at or after s->position: returns the end of the inert characters before it, and sets `end`. */
static int64_t fastlm_next_segment(const fastlm_normalization *s, int64_t *end) {
    int64_t start = fastlm_skip_inert(s->text, s->n, s->position, s->form);
    *end = start < s->n ? fastlm_segment_end(s->text, s->n, start, s->form) : start;
    if (start < s->n && start > s->position && (s->form == FASTLM_NFC || s->form == FASTLM_NFKC))
        for (start--; start > s->position && (s->text[start] & 0xC0) == 0x80; start--) {}
    return start;
}

/* Moves s->position to the first segment that the form changes, or to n. */
static fastlm_normalize_status fastlm_find_change(fastlm_normalization *s) {
    int64_t end;
    while (s->position < s->n) {
        int64_t start = fastlm_next_segment(s, &end);
        int64_t size = fastlm_normalize_segment(s, start, end);
        if (size < 0) return FASTLM_NORMALIZE_SEGMENT_FULL;
        s->position = start;
        if (!fastlm_is_unchanged(s, start, end, size)) return FASTLM_NORMALIZED;
        s->position = end;
    }
    return FASTLM_NORMALIZED;
}

static void fastlm_copy_inert(fastlm_normalization *s, int64_t end) {
    memcpy(s->out + s->written, s->text + s->position, (size_t)(end - s->position));
    s->written += end - s->position;
    if (s->origins)
        for (int64_t k = s->position; k < end; k++)
            if ((s->text[k] & 0xC0) != 0x80) s->origins[s->origins_written++] = s->characters++;
    s->position = end;
}

static void fastlm_put_segment(fastlm_normalization *s, int64_t size, int64_t end) {
    if (s->origins && s->form == FASTLM_STRIP_MARKS)
        for (int64_t k = s->position; k < end; k++) s->characters += (s->text[k] & 0xC0) != 0x80;
    for (int64_t k = 0; k < size; k++) {
        s->written += fastlm_put_char(s->out + s->written, s->segment[k].code_point);
        if (!s->origins) continue;
        int32_t change = s->segment[k].change;
        int64_t before = s->characters > 0 ? s->characters - 1 : 0;
        s->origins[s->origins_written++] = change > 0 ? before : s->characters;
        s->characters += change > 0 ? 0 : 1 - change;
    }
}

/* Writes the rest of the text from s->position. After OUT_FULL or SEGMENT_FULL, enlarge the array and call it again. */
static fastlm_normalize_status fastlm_normalize(fastlm_normalization *s) {
    int64_t end;
    while (s->position < s->n) {
        int64_t start = fastlm_next_segment(s, &end), inert = start - s->position;
        int64_t size = fastlm_normalize_segment(s, start, end);
        if (size < 0) return FASTLM_NORMALIZE_SEGMENT_FULL;
        if (s->out_size - s->written < inert + 4 * size || (s->origins && s->origins_size - s->origins_written < inert + size))
            return FASTLM_NORMALIZE_OUT_FULL;
        fastlm_copy_inert(s, start);
        fastlm_put_segment(s, size, end);
        s->position = end;
    }
    return FASTLM_NORMALIZED;
}

#endif
