/* Finds a place to cut a text to which more may be added, so that both parts have the pretokens of the whole text.
 * For each family, a function of two neighbouring characters tells whether a pretoken certainly ends between them, or
 * before the first one. */
#ifndef FASTLM_SAFE_START_H
#define FASTLM_SAFE_START_H
#include "one_by_one.h"
#include "utf8.h"

enum { FASTLM_NO_CUT, FASTLM_CUT_BETWEEN, FASTLM_CUT_BEFORE_BOTH };
typedef int (*fastlm_cut_fn)(fastlm_character before, fastlm_character here);

static inline int fastlm_is_space(fastlm_character c) { return (c.flags & FASTLM_WHITESPACE) != 0; }
static inline int fastlm_is_number(fastlm_character c) { return (c.flags & FASTLM_NUMBER) != 0; }
static inline int fastlm_is_letter(fastlm_character c) { return (c.flags & FASTLM_LETTER) != 0; }
static inline int fastlm_is_word(fastlm_character c) { return (c.flags & (FASTLM_LETTER | FASTLM_MARK)) != 0; }

static int fastlm_gpt2_cut(fastlm_character before, fastlm_character here) {
    const uint8_t classes = FASTLM_LETTER | FASTLM_NUMBER;
    /* not after whitespace, but before its last character: that starts a pretoken if text follows */
    if (fastlm_is_space(before)) return fastlm_is_space(here) ? FASTLM_NO_CUT : FASTLM_CUT_BEFORE_BOTH;
    if (fastlm_is_space(here)) return FASTLM_CUT_BETWEEN;
    /* a letter after an apostrophe may belong to a contraction */
    return ((before.flags ^ here.flags) & classes) && !(fastlm_is_letter(here) && before.code_point == '\'');
}

/* Each digit is a pretoken and ends the text before it. */
static int fastlm_gpt2_digits_cut(fastlm_character before, fastlm_character here) {
    return fastlm_is_number(before) || fastlm_is_number(here) ? FASTLM_CUT_BETWEEN : fastlm_gpt2_cut(before, here);
}

static int fastlm_starcoder_cut(fastlm_character before, fastlm_character here) {
    if (fastlm_is_newer_digit(before.code_point) || fastlm_is_newer_digit(here.code_point)) return FASTLM_CUT_BETWEEN;
    return fastlm_gpt2_digits_cut(before, here);
}

static inline int fastlm_cl100k_family_cut(fastlm_character before, fastlm_character here, uint8_t letter_flags) {
    const uint8_t classes = letter_flags | FASTLM_NUMBER;
    /* the pretokens of a span of whitespace depend on all of it, but a newline joins nothing after it */
    if (fastlm_is_space(before)) return fastlm_is_newline(before) && !fastlm_is_space(here);
    /* other characters take the newlines after them, and letters take one character before them */
    if (!(before.flags & classes)) return fastlm_is_space(here) ? !fastlm_is_newline(here) : fastlm_is_number(here);
    return before.flags & letter_flags ? !(here.flags & letter_flags) : !fastlm_is_number(here);
}

static int fastlm_cl100k_cut(fastlm_character before, fastlm_character here) {
    return fastlm_cl100k_family_cut(before, here, FASTLM_LETTER);
}

static int fastlm_qwen35_cut(fastlm_character before, fastlm_character here) {
    return fastlm_cl100k_family_cut(before, here, FASTLM_LETTER | FASTLM_MARK);
}

static int fastlm_o200k_cut(fastlm_character before, fastlm_character here) {
    /* a slash may continue the pretoken of other characters */
    if (fastlm_is_space(before)) return fastlm_is_newline(before) && !fastlm_is_space(here) && here.code_point != '/';
    if (fastlm_is_number(before) || fastlm_is_number(here)) return fastlm_is_number(before) != fastlm_is_number(here);
    if (fastlm_is_space(here)) return fastlm_is_letter(before) || !fastlm_is_newline(here);
    /* a mark or a contraction may continue a word, and a mark may join other characters */
    return fastlm_is_letter(before) && !fastlm_is_word(here) && here.code_point != '\'';
}

static int fastlm_kimi_cut(fastlm_character before, fastlm_character here) {
    int after_han = before.flags & FASTLM_HAN, is_han = here.flags & FASTLM_HAN;
    /* a Han letter ends every pretoken except Han; a Han character that is not a letter ends only some */
    if (after_han) return fastlm_is_letter(before) && !is_han;
    if (is_han) return fastlm_is_letter(here) && !fastlm_is_space(before);
    return fastlm_o200k_cut(before, here);
}

/* the parts of deepseek: numbers, CJK, and the text between them */
static inline int fastlm_deepseek_piece(fastlm_character c) {
    return fastlm_is_number(c) ? 1 : fastlm_is_cjk(c.code_point) ? 2 : 0;
}

static int fastlm_deepseek_cut(fastlm_character before, fastlm_character here) {
    const uint8_t known = FASTLM_LETTER | FASTLM_MARK | FASTLM_WHITESPACE | FASTLM_PUNCT_OR_SYMBOL;
    int piece = fastlm_deepseek_piece(before), next = fastlm_deepseek_piece(here);
    if (piece || next) return piece != next;
    /* letters take a character without a class, or it joins similar characters */
    if (!(before.flags & known) || !(here.flags & known)) return FASTLM_NO_CUT;
    if (fastlm_is_space(before)) return fastlm_is_newline(before) && !fastlm_is_space(here);
    if (fastlm_is_word(before)) return !fastlm_is_word(here);
    return fastlm_is_space(here) && !fastlm_is_newline(here);
}

/* Returns the last offset in (0, limit] at which `cut` allows a cut, or 0. text[0] must start a pretoken, and at least
 * 4 bytes of text must follow `limit`. Bytes that are not UTF-8 count as other characters: the scan reports them. */
static inline int64_t fastlm_last_cut(const uint8_t *text, int64_t limit, fastlm_cut_fn cut) {
    int64_t at = limit;
    while (at > 0 && fastlm_is_continuation(text[at])) at--;
    fastlm_character here = fastlm_read(text, limit + 4, at);
    while (at > 0) {
        int64_t lead = at - 1;
        while (lead > 0 && at - lead < 4 && fastlm_is_continuation(text[lead])) lead--;
        fastlm_character before = fastlm_read(text, at, lead);
        if (lead + before.length != at) {
            lead = at - 1;
            before = (fastlm_character){0, 1, 0};
        }
        switch (cut(before, here)) {
            case FASTLM_NO_CUT: break;
            case FASTLM_CUT_BEFORE_BOTH: return lead;
            default: return at;
        }
        here = before;
        at = lead;
    }
    return 0;
}

#endif
