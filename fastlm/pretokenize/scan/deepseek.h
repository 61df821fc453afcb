/* The pattern of deepseek-v3 as bit operations on class masks (included once for each instruction set).
 *
 * The first expressions split the text into numbers, \p{N}{1,3}, spans of CJK, [一-龥぀-ゟ゠-ヿ]+, and the text between
 * them. The last expression splits each of these parts as if it were a whole text:
 *
 *     [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *
 * Pretokens start where a class starts (letter or mark, CJK, number, whitespace, punctuation or symbol), but
 *   - letters take the one character before them: whitespace other than a newline. ASCII letters also take ASCII
 *     punctuation that starts a pretoken, and then end before other letters;
 *   - a space joins the punctuation after it;
 *   - whitespace before a number or CJK is at the end of a part, and is not split;
 *   - otherwise whitespace.h handles whitespace, and numbers.h handles numbers.
 *
 * Letters take a character without a class, or no alternative matches it. A CJK character that is not a letter is split
 * with the CJK around it as its whole text. A block with one of these characters is scanned character by character. */
#ifndef FASTLM_ISA
#include "isa_alone.h"
#include "class_masks.h"
#include "numbers.h"
#include "whitespace.h"
#endif
#include "safe_start.h"

#ifndef FASTLM_DEEPSEEK_ALONE
#define FASTLM_DEEPSEEK_ALONE
enum { FASTLM_WORD = FASTLM_LETTER | FASTLM_MARK };

static inline int fastlm_is_ascii_letter(fastlm_character c) {
    return c.code_point < 0x80 && c.flags & FASTLM_LETTER;
}

/* Reads the next character of the part. Outside of the part, returns a character of length 0 without flags. */
static inline fastlm_character fastlm_read_piece(const uint8_t *text, int64_t n, int64_t at, int piece) {
    fastlm_character c = fastlm_read(text, n, at);
    if (c.length > 0 && fastlm_deepseek_piece(c) != piece) c = (fastlm_character){0, 0, 0};
    return c;
}

/* Returns the end of the pretoken that starts at text[start]. On bytes that are not UTF-8, returns -1 and sets *bad to
 * their offset. */
static int64_t fastlm_deepseek_end(const uint8_t *text, int64_t n, int64_t start, int64_t *bad) {
    fastlm_character c = fastlm_read(text, n, start);
    int64_t at = start;
    int piece = fastlm_deepseek_piece(c);
    if (c.length < 0) goto over;
    if (c.flags & FASTLM_NUMBER) {
        for (int count = 0; count < 3 && c.flags & FASTLM_NUMBER; count++) {
            at += c.length;
            c = fastlm_read(text, n, at);
        }
        goto over;
    }
    fastlm_character second = fastlm_read_piece(text, n, start + c.length, piece);
    int is_punct = c.flags & FASTLM_PUNCT_OR_SYMBOL;
    if (is_punct && c.code_point < 0x80 && fastlm_is_ascii_letter(second)) {
        for (at++, c = second; fastlm_is_ascii_letter(c); c = fastlm_read(text, n, at)) at++;
        goto over;
    }
    if (c.flags & FASTLM_WORD || (!is_punct && !fastlm_is_newline(c) && second.flags & FASTLM_WORD)) {
        at += c.length;
        for (c = second; c.flags & FASTLM_WORD; c = fastlm_read_piece(text, n, at, piece)) at += c.length;
        goto over;
    }
    if (is_punct || (c.code_point == ' ' && second.flags & FASTLM_PUNCT_OR_SYMBOL)) {
        at += c.length;
        for (c = second; c.flags & FASTLM_PUNCT_OR_SYMBOL; c = fastlm_read_piece(text, n, at, piece)) at += c.length;
        for (; fastlm_is_newline(c); c = fastlm_read(text, n, at)) at++;
        goto over;
    }
    if (c.flags & FASTLM_WHITESPACE) {
        fastlm_white_space run = {start, start, start, 0};
        for (; c.flags & FASTLM_WHITESPACE; c = fastlm_read_piece(text, n, run.end, piece)) fastlm_add_space(&run, c);
        at = c.length < 0 ? run.end : fastlm_space_end(run, c.length > 0);
        goto over;
    }
    /* characters that no alternative matches form one pretoken, up to the character that letters take */
    do {
        at += c.length;
        c = second;
        second = c.length > 0 ? fastlm_read_piece(text, n, at + c.length, piece) : c;
    } while (c.length > 0 && !c.flags && !(second.flags & FASTLM_WORD));
    if (c.length > 0 && second.length < 0) {
        at += c.length;
        c = second;
    }
over:
    if (c.length >= 0) return at;
    *bad = at;
    return -1;
}
#endif

static int64_t FASTLM_NAME(fastlm_scan_deepseek)(const uint8_t *text, int64_t n, int64_t start, int64_t *ends,
                                                 int64_t capacity) {
    int64_t written = 0;
    fastlm_carry carry;
    fastlm_spaces spaces;
    uint64_t pending, last_word, last_cjk, last_number, last_punct, last_blank, last_punct_start, last_taken;
    int digits_before;

again: /* from `start`, a pretoken start, without state from earlier text */
    carry = (fastlm_carry){0, 0};
    spaces = (fastlm_spaces){-1, 0, 0, 0, 0, 0};
    pending = last_word = last_cjk = last_number = last_punct = last_blank = last_punct_start = last_taken = 0;
    digits_before = 0;

    for (int64_t base = start;; base += 64) {
        fastlm_masks m;
        uint64_t starts = 0;
        int64_t left = n - base;
        if (left > 0) {
            int64_t bad = FASTLM_NAME(fastlm_classify)(text, n, base, FASTLM_LETTER, FASTLM_CJK, &m, &carry);
            if (bad >= 0) {
                ends[0] = bad;
                return -1;
            }
            if (m.odd) {
                written = FASTLM_NAME(fastlm_write_ends)(pending, base - 64, ends, written);
                int64_t at = written ? ends[written - 1] : start, past = base + 64 < n ? base + 64 : n;
                while (at < past) {
                    at = fastlm_deepseek_end(text, n, at, &ends[0]);
                    if (at < 0) return -1;
                    ends[written++] = at;
                    if (written > capacity - FASTLM_STEP_ENDS) return written;
                }
                if (at == n) return written;
                start = at;
                goto again;
            }

            uint64_t word = m.letter, cjk = m.apart, inner = m.whitespace & ~m.newline;
            uint64_t punct = ~(word | cjk | m.number | m.whitespace);
            uint64_t goes_on = fastlm_goes_on(word, last_word) | fastlm_goes_on(m.number, last_number)
                             | fastlm_goes_on(punct, last_punct) | fastlm_goes_on(cjk, last_cjk)
                             | fastlm_goes_on(m.whitespace, spaces.last);
            starts = ~(goes_on | ((m.blank << 1 | last_blank) & punct));
            if (base == start) starts |= 1;
            uint64_t number_starts = starts & m.number, inner_before = inner << 1 | spaces.last_inner;
            FASTLM_NAME(fastlm_space_starts)(text, base, &m, punct, last_punct, m.newline, m.number | cjk, &spaces,
                                             &starts, &pending, ends, &written);

            /* the characters that letters take, and the end of ASCII letters that took punctuation */
            uint64_t ascii_words = word & ~m.above, punct_starts = starts & punct & ~m.above;
            uint64_t took = starts & ascii_words & (punct_starts << 1 | last_punct_start);
            starts &= ~(took | (starts & word & inner_before));
            uint64_t past = ascii_words + took + (last_taken & ascii_words);
            starts |= ((past & ~ascii_words) | (last_taken & ~ascii_words)) & word;
            last_taken = ((ascii_words & ~past) | took) >> 63;
            last_punct_start = punct_starts >> 63;
            if (base == start) starts |= 1;

            uint64_t inside = left < 64 ? ((uint64_t)1 << left) - 1 : ~(uint64_t)0;
            starts |= FASTLM_NAME(fastlm_number_starts)(text + base, &m, inside, last_number, number_starts, 3,
                                                        &digits_before);
            starts &= inside;
            last_word = word >> 63;
            last_cjk = cjk >> 63;
            last_number = m.number >> 63;
            last_punct = punct >> 63;
            last_blank = m.blank >> 63;
        }
        if (left <= 0) FASTLM_NAME(fastlm_release_held)(base, n, &spaces, &pending, ends, &written);
        if (FASTLM_NAME(fastlm_end_block)(starts, base, start, n, &pending, ends, &written, capacity)) return written;
    }
}
