/* The GPT-2 pattern as bit operations on class masks, 64 bytes at a time (included once for each instruction set).
 *
 *     '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * The four classes are letter, number, whitespace and other. A pretoken starts
 *   - where a class starts, but a space (U+0020) joins the letters, numbers or other characters after it;
 *   - at the last character of a span of whitespace that text follows (\s+(?!\S) does not match this character);
 *   - after a contraction: an apostrophe that starts a pretoken, and s, d, m, t, ll, ve or re. No pretoken starts
 *     inside a contraction.
 * If digits are split off first, each digit is a pretoken, and the text between digits is split as a whole text: a
 * space does not join a digit, and whitespace before a digit is not split. A pretoken start depends on at most three
 * bytes before it and one character after it. So a scan may begin at any pretoken start, and its result does not depend
 * on earlier text. */
#ifndef FASTLM_ISA
#include "isa_alone.h"
#include "class_masks.h"
#endif

static inline __attribute__((always_inline)) int64_t FASTLM_NAME(fastlm_scan_gpt2_family)(
    const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity, const int digits_apart,
    const int family) {
    int64_t written = 0;
    fastlm_carry carry = {0, 0};
    uint64_t pending = 0;                       /* starts in the previous block that are not written yet */
    uint64_t last_letter = 0, last_number = 0, last_other = 0, last_whitespace = 0, last_blank = 0;
    uint64_t last_whitespace_start = 0;
    uint64_t start_here = 1, no_start_here = 0; /* from a contraction in the previous block */

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
            uint64_t other = ~(m.letter | m.number | m.whitespace);
            uint64_t goes_on = fastlm_goes_on(m.letter, last_letter) | fastlm_goes_on(m.number, last_number)
                             | fastlm_goes_on(other, last_other)
                             | fastlm_goes_on(m.whitespace, last_whitespace);
            uint64_t joins_blank = (m.blank << 1 | last_blank) & ~m.whitespace;
            if (digits_apart && m.number) {
                uint64_t digits = m.number & ~m.above;
                for (uint64_t left_over = m.number & m.above; left_over; left_over &= left_over - 1) {
                    int i = __builtin_ctzll(left_over);
                    if (!fastlm_is_continuation(text[base + i])) digits |= (uint64_t)1 << i;
                }
                goes_on &= ~digits;
                joins_blank &= ~digits;
            }
            starts = ~(goes_on | joins_blank);

            /* The last whitespace character before other text starts a pretoken. Its last byte is in `leaves`. */
            uint64_t left_whole = m.whitespace | (digits_apart ? m.number : 0);
            uint64_t leaves = m.whitespace & (~left_whole >> 1) & ~((uint64_t)1 << 63);
            pending |= ~left_whole & 1 ? last_whitespace_start : 0;
            FASTLM_NAME(fastlm_start_characters)(text, base, leaves, m.above, &starts, &pending);

            starts = (starts & ~no_start_here) | start_here;
            start_here = no_start_here = 0;
            for (uint64_t quotes = starts & m.apostrophe; quotes; quotes &= quotes - 1) {
                int i = __builtin_ctzll(quotes);
                int length = fastlm_contraction(text + base + i, n - base - i);
                if (!length) continue;
                if (i + 1 < 64) starts &= ~((uint64_t)1 << (i + 1));
                else no_start_here = 1;
                if (i + length < 64) starts |= (uint64_t)1 << (i + length);
                else start_here |= (uint64_t)1 << (i + length - 64);
            }
            if (left < 64) starts &= ((uint64_t)1 << left) - 1;
            last_letter = m.letter >> 63;
            last_number = m.number >> 63;
            last_other = other >> 63;
            last_whitespace = m.whitespace >> 63;
            last_whitespace_start = FASTLM_NAME(fastlm_last_start)(text, base, m.whitespace, m.above);
            last_blank = m.blank >> 63;
        }
        if (FASTLM_NAME(fastlm_end_block)(starts, base, start, n, &pending, ends, &written, capacity)) return written;
    }
}

#define FASTLM_GPT2_VARIANT(name, digits_apart, family)                                                                \
    static int64_t FASTLM_NAME(name)(const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity) { \
        return FASTLM_NAME(fastlm_scan_gpt2_family)(text, n, start, ends, capacity, digits_apart, family);             \
    }
FASTLM_GPT2_VARIANT(fastlm_scan_gpt2, 0, FASTLM_PLAIN)
FASTLM_GPT2_VARIANT(fastlm_scan_gpt2_digits, 1, FASTLM_PLAIN)
FASTLM_GPT2_VARIANT(fastlm_scan_starcoder, 1, FASTLM_NEWER_DIGITS)
#undef FASTLM_GPT2_VARIANT
