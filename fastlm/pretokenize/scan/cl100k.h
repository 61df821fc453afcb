/* The cl100k family of patterns as bit operations on class masks (included once for each instruction set).
 *
 *     (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,D}| ?[^\s\p{L}\p{N}]+[\r\n]*
 *     |\s*[\r\n]+|\s+(?!\S)|\s+
 *
 * D is the maximum number of digits. Letters may include marks. cl100k_base itself keeps whitespace at the end of a
 * text in one pretoken (it tries \s++$ first). Pretokens start where a class starts, as in gpt2.h, but
 *   - letters take the one character before them: whitespace other than a newline, or another character that starts a
 *     pretoken;
 *   - whitespace.h handles whitespace and the newlines after other characters, and numbers.h handles numbers.
 * A scan may begin at any pretoken start. */
#ifndef FASTLM_ISA
#include "isa_alone.h"
#include "class_masks.h"
#include "numbers.h"
#include "whitespace.h"
#endif

static inline __attribute__((always_inline)) int64_t FASTLM_NAME(fastlm_scan_cl100k_family)(
    const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity,
    const uint8_t letter_flags, const int digits, const int whole_tail) {
    int64_t written = 0;
    fastlm_carry carry = {0, 0};
    fastlm_spaces spaces = {-1, 0, 0, 0, 0, 0};
    uint64_t pending = 0;
    uint64_t last_letter = 0, last_number = 0, last_other = 0, last_blank = 0, last_other_start = 0, start_here = 1;
    int digits_before = 0;

    for (int64_t base = start;; base += 64) {
        fastlm_masks m;
        uint64_t starts = 0;
        int64_t left = n - base;
        if (left > 0) {
            int64_t bad = FASTLM_NAME(fastlm_classify)(text, n, base, letter_flags, FASTLM_PLAIN, &m, &carry);
            if (bad >= 0) {
                ends[0] = bad;
                return -1;
            }
            uint64_t other = ~(m.letter | m.number | m.whitespace), inner = m.whitespace & ~m.newline;
            uint64_t goes_on = fastlm_goes_on(m.letter, last_letter) | fastlm_goes_on(m.number, last_number)
                             | fastlm_goes_on(other, last_other)
                             | fastlm_goes_on(m.whitespace, spaces.last);
            starts = ~(goes_on | ((m.blank << 1 | last_blank) & other)) | start_here;
            uint64_t number_starts = starts & m.number, inner_before = inner << 1 | spaces.last_inner;
            FASTLM_NAME(fastlm_space_starts)(text, base, &m, other, last_other, m.newline, 0, &spaces, &starts,
                                             &pending, ends, &written);

            /* the character that letters take with them */
            uint64_t other_starts = fastlm_spread(starts & other, m.continuation, last_other_start);
            starts &= ~(m.letter & (inner_before | other_starts << 1 | last_other_start));
            last_other_start = other_starts >> 63;

            starts |= start_here;
            start_here = 0;
            for (uint64_t quotes = starts & m.apostrophe; quotes; quotes &= quotes - 1) {
                int i = __builtin_ctzll(quotes);
                int length = fastlm_contraction_any_case(text + base + i, n - base - i);
                if (!length) continue;
                if (i + length < 64) starts |= (uint64_t)1 << (i + length);
                else start_here |= (uint64_t)1 << (i + length - 64);
            }
            uint64_t inside = left < 64 ? ((uint64_t)1 << left) - 1 : ~(uint64_t)0;
            starts |= FASTLM_NAME(fastlm_number_starts)(text + base, &m, inside, last_number, number_starts, digits,
                                                        &digits_before);
            starts &= inside;
            last_letter = m.letter >> 63;
            last_number = m.number >> 63;
            last_other = other >> 63;
            last_blank = m.blank >> 63;
        }
        if (left <= 0 && !whole_tail) FASTLM_NAME(fastlm_release_held)(base, n, &spaces, &pending, ends, &written);
        if (FASTLM_NAME(fastlm_end_block)(starts, base, start, n, &pending, ends, &written, capacity)) return written;
    }
}

#define FASTLM_CL100K_VARIANT(name, letter_flags, digits, whole_tail)                                                  \
    static int64_t FASTLM_NAME(name)(const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity) { \
        return FASTLM_NAME(fastlm_scan_cl100k_family)(text, n, start, ends, capacity, letter_flags, digits,            \
                                                      whole_tail);                                                     \
    }
FASTLM_CL100K_VARIANT(fastlm_scan_cl100k, FASTLM_LETTER, 3, 1)
FASTLM_CL100K_VARIANT(fastlm_scan_llama3, FASTLM_LETTER, 3, 0)
FASTLM_CL100K_VARIANT(fastlm_scan_qwen2, FASTLM_LETTER, 1, 0)
FASTLM_CL100K_VARIANT(fastlm_scan_qwen35, FASTLM_LETTER | FASTLM_MARK, 1, 0)
FASTLM_CL100K_VARIANT(fastlm_scan_nanochat, FASTLM_LETTER, 2, 0)
#undef FASTLM_CL100K_VARIANT
