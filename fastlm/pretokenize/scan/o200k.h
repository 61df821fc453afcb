/* The o200k family of patterns as bit operations on class masks (included once for each instruction set).
 *
 *     [^\r\n\p{L}\p{N}]?U*L+C?|[^\r\n\p{L}\p{N}]?U+L*C?|\p{N}{1,D}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *
 * U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], L = [\p{Ll}\p{Lm}\p{Lo}\p{M}], C = (?i:'s|'t|'re|'ve|'m|'ll|'d). tekken has no
 * C, and one digit per number. kimi tries [\p{Han}]+ first, has no Han in U and L, and no slash after other characters.
 *
 * Upper letters are in U only, lower letters in L only, and letters of both kinds in U and L. A span of letters is one
 * word, but a word ends
 *   - before an upper letter after a lower letter, or after letters of both kinds that follow a lower letter;
 *   - before upper letters that follow a letter of both kinds and end the span: U* matches them and must give them
 *     back, because L+ needs a letter.
 * The rest is a contraction, the one character that the first word of a span takes with it (as in cl100k.h), whitespace
 * (whitespace.h) and numbers (numbers.h).
 *
 * A mark after another character joins it or is a letter, depending on the start of its pretoken. kimi's Han characters
 * that are not letters start pretokens, but do not end other pretokens. A block is scanned character by character if
 * such a mark depends on the previous block, if it has such a Han character, or if the upper letters of the second rule
 * reach its end. */
#ifndef FASTLM_ISA
#include "isa_alone.h"
#include "class_masks.h"
#include "numbers.h"
#include "whitespace.h"
#endif

#ifndef FASTLM_O200K_ALONE
#define FASTLM_O200K_ALONE
/* Returns the end of the word that starts at `at`, without a contraction; `at` if there is no word; -1 if the text is
 * not UTF-8. A mark could also be the character before the word. It counts as its first letter: the end is the same. */
static inline int64_t fastlm_o200k_word(const uint8_t *text, int64_t n, int64_t at, int han_apart) {
    int64_t after_both = 0;
    fastlm_character c = fastlm_read(text, n, at);
    for (; (c.flags & FASTLM_UPPERLIKE) && !(han_apart && c.flags & FASTLM_HAN); c = fastlm_read(text, n, at)) {
        at += c.length;
        if (c.flags & FASTLM_LOWERLIKE) after_both = at;
    }
    int is_lower = (c.flags & FASTLM_LOWERLIKE) && !(han_apart && c.flags & FASTLM_HAN);
    if (!is_lower) return c.length < 0 ? -1 : after_both ? after_both : at;
    for (; (c.flags & FASTLM_LOWERLIKE) && !(han_apart && c.flags & FASTLM_HAN); c = fastlm_read(text, n, at))
        at += c.length;
    return c.length < 0 ? -1 : at;
}

/* Returns the end of the pretoken that starts at text[start]. On bytes that are not UTF-8, returns -1 and sets *bad to
 * their offset. */
static int64_t fastlm_o200k_end(const uint8_t *text, int64_t n, int64_t start, int contractions, int digits, int slash,
                                int han_apart, int64_t *bad) {
    fastlm_character c = fastlm_read(text, n, start);
    int64_t at = start;
    if (c.length > 0 && han_apart && (c.flags & FASTLM_HAN)) {
        for (; c.flags & FASTLM_HAN; c = fastlm_read(text, n, at)) at += c.length;
        goto over;
    }
    if (c.length > 0 && !fastlm_is_newline(c) && !(c.flags & FASTLM_NUMBER)) {
        int is_letter = c.flags & (FASTLM_LETTER | FASTLM_MARK);
        int64_t word = is_letter ? start : start + c.length, end = fastlm_o200k_word(text, n, word, han_apart);
        if (end < 0) {
            for (at = word; (c = fastlm_read(text, n, at)).length > 0;) at += c.length;
            goto over;
        }
        if (end > word) {
            if (contractions && end < n && text[end] == '\'') end += fastlm_contraction_any_case(text + end, n - end);
            return end;
        }
    }
    if (c.flags & FASTLM_NUMBER) {
        for (int count = 0; count < digits && (c.flags & FASTLM_NUMBER); count++) {
            at += c.length;
            c = fastlm_read(text, n, at);
        }
        goto over;
    }
    if (c.code_point == ' ') {
        fastlm_character second = fastlm_read(text, n, start + 1);
        if (fastlm_is_other(second)) {
            at++;
            c = second;
        }
    }
    if (fastlm_is_other(c)) {
        for (; fastlm_is_other(c); c = fastlm_read(text, n, at)) at += c.length;
        for (; fastlm_is_newline(c) || (slash && c.code_point == '/'); c = fastlm_read(text, n, at)) at += c.length;
        goto over;
    }
    if (c.length > 0) {
        fastlm_white_space run = {start, start, start, 0};
        for (; c.flags & FASTLM_WHITESPACE; c = fastlm_read(text, n, run.end)) fastlm_add_space(&run, c);
        at = c.length < 0 ? run.end : fastlm_space_end(run, c.length > 0);
    }
over:
    if (c.length >= 0) return at;
    *bad = at;
    return -1;
}
#endif

static inline __attribute__((always_inline)) int64_t FASTLM_NAME(fastlm_scan_o200k_family)(
    const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity, const int contractions,
    const int digits, const int slash, const int han_apart) {
    const int family = han_apart ? FASTLM_CASED_HAN : FASTLM_CASED;
    int64_t written = 0;
    fastlm_carry carry;
    fastlm_spaces spaces;
    uint64_t pending, last_word, last_both, last_lower, last_number, last_other, last_blank, last_apart;
    uint64_t last_other_start, gone_here;
    int digits_before;

again: /* from `start`, a pretoken start, without state from earlier text */
    carry = (fastlm_carry){0, 0};
    spaces = (fastlm_spaces){-1, 0, 0, 0, 0, 0};
    pending = last_word = last_both = last_lower = last_number = last_other = last_blank = last_apart = 0;
    last_other_start = gone_here = 0;
    digits_before = 0;

    for (int64_t base = start;; base += 64) {
        fastlm_masks m;
        uint64_t starts = 0;
        int64_t left = n - base;
        if (left > 0) {
            int64_t bad = FASTLM_NAME(fastlm_classify)(text, n, base, FASTLM_LETTER, family, &m, &carry);
            if (bad >= 0) {
                ends[0] = bad;
                return -1;
            }
            uint64_t inner = m.whitespace & ~m.newline;
            uint64_t other = ~(m.letter | m.number | m.whitespace | m.apart), word = m.letter;
            int alone = (m.odd | (m.mark & last_other)) != 0;

            /* a mark after another character joins it unless that starts its pretoken; else it joins a word */
            for (uint64_t marks = m.mark & other << 1; marks; marks &= marks - 1) {
                int i = __builtin_ctzll(marks);
                int64_t before = fastlm_lead(text, base + i - 1) - base - 1;
                /* a slash may be the end of the previous pretoken */
                if (before < 0 || (slash && (text[base + i - 1] == '/' || text[base + before] == '/'))) alone = 1;
                else if ((m.blank | other) >> before & 1) {
                    uint64_t run = m.mark & ~(m.mark + ((uint64_t)1 << i));
                    run &= ~(((uint64_t)1 << i) - 1);
                    other |= run;
                    word &= ~run;
                }
            }

            /* contractions at the end of words; their letters have no class, so that a pretoken starts after them */
            uint64_t gone = gone_here;
            gone_here = 0;
            word &= ~gone;
            if (contractions) {
                for (uint64_t quotes = m.apostrophe & (word << 1 | last_word); quotes; quotes &= quotes - 1) {
                    int i = __builtin_ctzll(quotes);
                    if (i && gone >> (i - 1) & 1) continue;
                    int length = fastlm_contraction_any_case(text + base + i, n - base - i);
                    if (!length) continue;
                    uint64_t its_bytes = ((uint64_t)1 << length) - 1;
                    gone |= its_bytes << i;
                    if (i + length > 64) gone_here = its_bytes >> (64 - i);
                }
                word &= ~gone;
                other &= ~gone;
            }

            /* boundaries inside words */
            uint64_t upper = m.upper & word, lower = m.lower & word, both = word & ~(upper | lower);
            uint64_t lowered = both & (lower << 1 | last_lower);
            if (lowered) lowered |= both & ~(both + lowered);
            lowered |= lower;
            uint64_t cuts = upper & (lowered << 1 | last_lower);
            for (uint64_t uppers = upper & (both << 1 | last_both) & ~cuts; uppers; uppers &= uppers - 1) {
                int i = __builtin_ctzll(uppers);
                uint64_t after = ~upper & ~(((uint64_t)2 << i) - 1);
                if (!after) alone = 1;
                else if (!(word >> __builtin_ctzll(after) & 1)) cuts |= (uint64_t)1 << i;
            }

            if (alone) {
                written = FASTLM_NAME(fastlm_write_ends)(pending, base - 64, ends, written);
                int64_t at = written ? ends[written - 1] : start, past = base + 64 < n ? base + 64 : n;
                while (at < past) {
                    at = fastlm_o200k_end(text, n, at, contractions, digits, slash, han_apart, &ends[0]);
                    if (at < 0) return -1;
                    ends[written++] = at;
                    if (written > capacity - FASTLM_STEP_ENDS) return written;
                }
                if (at == n) return written;
                start = at;
                goto again;
            }

            uint64_t goes_on = fastlm_goes_on(word, last_word) | fastlm_goes_on(m.number, last_number)
                             | fastlm_goes_on(other, last_other) | fastlm_goes_on(m.apart, last_apart)
                             | fastlm_goes_on(m.whitespace, spaces.last);
            starts = (~(goes_on | ((m.blank << 1 | last_blank) & other)) | cuts) & ~gone;
            if (base == start) starts |= 1;
            uint64_t number_starts = starts & m.number, inner_before = inner << 1 | spaces.last_inner;
            FASTLM_NAME(fastlm_space_starts)(text, base, &m, other, last_other, m.newline | (slash ? m.slash : 0), 0,
                                             &spaces, &starts, &pending, ends, &written);

            uint64_t other_starts = fastlm_spread(starts & other, m.continuation, last_other_start);
            uint64_t taken_before = inner_before | other_starts << 1 | last_other_start;
            starts &= ~(word & taken_before);
            last_other_start = other_starts >> 63;
            if (base == start) starts |= 1;

            uint64_t inside = left < 64 ? ((uint64_t)1 << left) - 1 : ~(uint64_t)0;
            starts |= FASTLM_NAME(fastlm_number_starts)(text + base, &m, inside, last_number, number_starts, digits,
                                                        &digits_before);
            starts &= inside;
            last_word = word >> 63;
            last_both = both >> 63;
            last_lower = lowered >> 63;
            last_number = m.number >> 63;
            last_other = other >> 63;
            last_blank = m.blank >> 63;
            last_apart = m.apart >> 63;
        }
        if (left <= 0) FASTLM_NAME(fastlm_release_held)(base, n, &spaces, &pending, ends, &written);
        if (FASTLM_NAME(fastlm_end_block)(starts, base, start, n, &pending, ends, &written, capacity)) return written;
    }
}

#define FASTLM_O200K_VARIANT(name, contractions, digits, slash, han_apart)                                             \
    static int64_t FASTLM_NAME(name)(const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity) { \
        return FASTLM_NAME(fastlm_scan_o200k_family)(text, n, start, ends, capacity, contractions, digits, slash,      \
                                                     han_apart);                                                       \
    }
FASTLM_O200K_VARIANT(fastlm_scan_o200k, 1, 3, 1, 0)
FASTLM_O200K_VARIANT(fastlm_scan_tekken, 0, 1, 1, 0)
FASTLM_O200K_VARIANT(fastlm_scan_kimi, 1, 3, 0, 1)
#undef FASTLM_O200K_VARIANT
