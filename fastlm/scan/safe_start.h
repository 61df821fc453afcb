/* Where a text that goes on may be cut so that the splits of both parts are that of the whole.
 * Each function gives the last such position in (0, limit], or 0 where it knows of none. text[0] must start a pretoken,
 * and at least 4 bytes of text follow `limit`. */
#ifndef FASTLM_SAFE_START_H
#define FASTLM_SAFE_START_H
#include "characters.h"
#include "unicode_classes.h"
#include "utf8.h"

enum { FASTLM_OTHER_CLASS, FASTLM_LETTER_CLASS, FASTLM_NUMBER_CLASS, FASTLM_BLANK_CLASS, FASTLM_NEWLINE_CLASS };

/* The class of a character; `letter_flags` say what counts as a letter. */
static inline int fastlm_class_of(uint32_t code_point, uint8_t letter_flags) {
    uint8_t flags = fastlm_flags(code_point);
    if (flags & letter_flags) return FASTLM_LETTER_CLASS;
    if (flags & FASTLM_NUMBER) return FASTLM_NUMBER_CLASS;
    if (!(flags & FASTLM_WHITESPACE)) return FASTLM_OTHER_CLASS;
    return code_point == '\n' || code_point == '\r' ? FASTLM_NEWLINE_CLASS : FASTLM_BLANK_CLASS;
}

/* The class of the character whose bytes end just before text[at]; *lead is where it starts. Bytes that are not UTF-8
 * count as other characters: the scan reports them. */
static inline int fastlm_class_before(const uint8_t *text, int64_t at, uint8_t letter_flags, int64_t *lead) {
    int64_t p = at - 1;
    while (p > 0 && at - p < 4 && fastlm_is_continuation(text[p])) p--;
    uint32_t code_point = 0;
    *lead = p;
    if (p + fastlm_decode(text + p, at - p, &code_point) == at) return fastlm_class_of(code_point, letter_flags);
    *lead = at - 1;
    return FASTLM_OTHER_CLASS;
}

/* The start of the character at or before text[limit], and its class. */
static inline int64_t fastlm_last_character(const uint8_t *text, int64_t limit, uint8_t letter_flags, int *its_class) {
    int64_t at = limit;
    while (at > 0 && fastlm_is_continuation(text[at])) at--;
    uint32_t code_point = 0;
    int length = fastlm_decode(text + at, limit + 4 - at, &code_point);
    *its_class = length ? fastlm_class_of(code_point, letter_flags) : FASTLM_OTHER_CLASS;
    return at;
}

/* With `digits_apart` each digit is a pretoken and ends the text before it. */
static inline int64_t fastlm_gpt2_safe_start(const uint8_t *text, int64_t limit, int digits_apart) {
    int here;
    int64_t lead = 0, at = fastlm_last_character(text, limit, FASTLM_LETTER, &here);
    for (; at > 0; at = lead) {
        int before = fastlm_class_before(text, at, FASTLM_LETTER, &lead);
        if (digits_apart && (here == FASTLM_NUMBER_CLASS || before == FASTLM_NUMBER_CLASS)) return at;
        int is_space = here >= FASTLM_BLANK_CLASS, was_space = before >= FASTLM_BLANK_CLASS;
        /* not after white space but before its last character, which is left over when something follows */
        if (was_space && !is_space) return lead;
        /* a letter after an apostrophe may belong to a contraction */
        if (!was_space && here != before && !(here == FASTLM_LETTER_CLASS && text[at - 1] == '\'')) return at;
        here = before;
    }
    return 0;
}

static inline int64_t fastlm_cl100k_safe_start(const uint8_t *text, int64_t limit, uint8_t letter_flags) {
    int here;
    int64_t lead = 0, at = fastlm_last_character(text, limit, letter_flags, &here);
    for (; at > 0; at = lead) {
        int before = fastlm_class_before(text, at, letter_flags, &lead);
        int safe = here != before;
        /* other characters take newlines after them, and letters take one of them or a blank */
        if (before == FASTLM_OTHER_CLASS) safe = here == FASTLM_NUMBER_CLASS || here == FASTLM_BLANK_CLASS;
        /* where a run of white space is cut depends on all of it */
        if (before == FASTLM_BLANK_CLASS) safe = 0;
        if (before == FASTLM_NEWLINE_CLASS) safe = here < FASTLM_BLANK_CLASS;
        if (safe) return at;
        here = before;
    }
    return 0;
}

/* The character whose bytes end just before text[at]; *lead is where it starts. */
static inline fastlm_character fastlm_read_before(const uint8_t *text, int64_t at, int64_t *lead) {
    int64_t p = at - 1;
    while (p > 0 && at - p < 4 && fastlm_is_continuation(text[p])) p--;
    *lead = p;
    return fastlm_read(text, at, p);
}

static inline int fastlm_is_space(fastlm_character c) { return c.flags & FASTLM_WHITESPACE; }

/* Whether a pretoken ends between two characters, whatever stands around them. */
static inline int fastlm_o200k_parts(fastlm_character before, fastlm_character here, int han_apart) {
    if (han_apart && (before.flags | here.flags) & FASTLM_HAN) {
        /* Han letters end all pretokens but those of Han, Han that are none only some */
        if (!(before.flags & FASTLM_HAN)) return here.flags & FASTLM_LETTER && !fastlm_is_space(before);
        return before.flags & FASTLM_LETTER && !(here.flags & FASTLM_HAN);
    }
    if (fastlm_is_newline(before)) return !fastlm_is_space(here) && here.code_point != '/';
    if (fastlm_is_space(before)) return 0;
    if (before.flags & FASTLM_NUMBER || here.flags & FASTLM_NUMBER) return (before.flags ^ here.flags) & FASTLM_NUMBER;
    if (fastlm_is_space(here)) return before.flags & FASTLM_LETTER || !fastlm_is_newline(here);
    /* a word may go on with a mark or a contraction; a mark may be an other character */
    return before.flags & FASTLM_LETTER && !(here.flags & (FASTLM_LETTER | FASTLM_MARK)) && here.code_point != '\'';
}

/* deepseek's pieces: numbers, CJK, and the text between them */
static inline int fastlm_deepseek_piece(fastlm_character c) {
    return c.flags & FASTLM_NUMBER ? 1 : fastlm_is_cjk(c.code_point) ? 2 : 0;
}

static inline int fastlm_deepseek_parts(fastlm_character before, fastlm_character here) {
    int piece = fastlm_deepseek_piece(before);
    if (piece || fastlm_deepseek_piece(here)) return piece != fastlm_deepseek_piece(here);
    const uint8_t letters = FASTLM_LETTER | FASTLM_MARK, known = letters | FASTLM_WHITESPACE | FASTLM_PUNCT_OR_SYMBOL;
    if (!(before.flags & known) || !(here.flags & known)) return 0;
    if (fastlm_is_newline(before)) return !fastlm_is_space(here);
    if (fastlm_is_space(before)) return 0;
    if (before.flags & letters) return !(here.flags & letters);
    return fastlm_is_space(here) && !fastlm_is_newline(here);
}

static inline int64_t fastlm_last_parting(const uint8_t *text, int64_t limit, int is_deepseek, int han_apart) {
    int64_t lead = 0, at = limit;
    while (at > 0 && fastlm_is_continuation(text[at])) at--;
    fastlm_character here = fastlm_read(text, limit + 4, at);
    for (; at > 0; at = lead) {
        fastlm_character before = fastlm_read_before(text, at, &lead);
        /* the scan reports what is not UTF-8 */
        if (before.length < 0 || here.length < 0 || lead + before.length != at) return 0;
        if (is_deepseek ? fastlm_deepseek_parts(before, here) : fastlm_o200k_parts(before, here, han_apart)) return at;
        here = before;
    }
    return 0;
}

static inline int64_t fastlm_o200k_safe_start(const uint8_t *text, int64_t limit, int han_apart) {
    return fastlm_last_parting(text, limit, 0, han_apart);
}

static inline int64_t fastlm_deepseek_safe_start(const uint8_t *text, int64_t limit) {
    return fastlm_last_parting(text, limit, 1, 0);
}

#endif
