/* The cl100k family of splits as bit algebra over class masks (included once for each instruction set).
 *
 *     (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,D}| ?[^\s\p{L}\p{N}]+[\r\n]*
 *     |\s*[\r\n]+|\s+(?!\S)|\s+
 *
 * with D digits a number, letters that may include marks, and, for cl100k_base itself, a tail of white space in one
 * piece (\s++$ tried first). Runs of a class start pretokens as in gpt2.h, but
 *   - a letter run takes the one character before it: white space other than a newline, or another character that
 *     starts a pretoken;
 *   - newlines just after other characters end their pretoken;
 *   - a run of white space is cut after its last newline, and before its last character where something follows that
 *     is no newline;
 *   - numbers are cut every D characters.
 * A scan may begin at any pretoken start. Only the cut after the last newline depends on text of any length: it is held
 * back until the run of white space ends. */

/* Sets a start at every `digits`-th character of a number; `count` is how many the number has had before this block. */
static inline uint64_t FASTLM_NAME(fastlm_number_starts)(const uint8_t *p, uint64_t number, uint64_t number_starts,
                                                         int digits, int *count) {
    uint64_t starts = 0;
    for (uint64_t left = number; left; left &= left - 1) {
        int i = __builtin_ctzll(left);
        if (fastlm_is_continuation(p[i])) continue;
        if (number_starts >> i & 1) *count = 0;
        if (*count == digits) {
            starts |= (uint64_t)1 << i;
            *count = 0;
        }
        ++*count;
    }
    return starts;
}

static inline __attribute__((always_inline)) int64_t FASTLM_NAME(fastlm_scan_cl100k_family)(
    const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity,
    const uint8_t letter_flags, const int digits, const int whole_tail) {
    int64_t written = 0, held = -1;
    fastlm_carry carry = {0, 0};
    uint64_t pending = 0;
    uint64_t last_letter = 0, last_number = 0, last_other = 0, last_whitespace = 0, last_blank = 0, last_newline = 0;
    uint64_t last_other_start = 0, newlines_join = 0, start_here = 1;
    int digits_before = 0;

    for (int64_t base = start;; base += 64) {
        fastlm_masks m = {0};
        uint64_t starts = 0;
        int64_t left = n - base;
        if (left > 0) {
            int bad = FASTLM_NAME(fastlm_classify)(text, n, base, letter_flags, &m, &carry);
            if (bad >= 0) {
                ends[0] = base + bad;
                return -1;
            }
            uint64_t other = ~(m.letter | m.number | m.whitespace), inner = m.whitespace & ~m.newline;
            uint64_t goes_on = (m.letter & (m.letter << 1 | last_letter)) | (m.number & (m.number << 1 | last_number))
                             | (other & (other << 1 | last_other))
                             | (m.whitespace & (m.whitespace << 1 | last_whitespace));
            starts = ~(goes_on | ((m.blank << 1 | last_blank) & other)) | start_here;
            uint64_t number_starts = starts & m.number;

            /* newlines that end a pretoken of other characters; a sum carries from the first to past the last */
            uint64_t joining = m.newline & (other << 1 | last_other | newlines_join);
            uint64_t past = m.newline + joining;
            starts &= ~joining;
            uint64_t after_joined = ((past & ~m.newline) | (newlines_join & ~m.newline)) & inner;
            newlines_join = (m.newline & ~past) >> 63;

            /* after a newline, unless another one follows in the same run */
            uint64_t cut = inner & (m.newline << 1 | last_newline) & ~after_joined;
            if (held >= 0 && ~inner) {
                if (!(m.newline >> __builtin_ctzll(~inner) & 1)) {
                    if (held >= base - 64) pending |= (uint64_t)1 << (held - (base - 64));
                    else ends[written++] = held;
                }
                held = -1;
            }
            if (cut) {
                uint64_t reach = inner + cut;
                for (uint64_t newline = reach & ~inner & m.newline; newline; newline &= newline - 1) {
                    uint64_t below = cut & ((newline & -newline) - 1);
                    cut &= ~((uint64_t)1 << (63 - __builtin_clzll(below)));
                }
                if (reach < inner) {
                    int last = 63 - __builtin_clzll(cut);
                    held = base + last;
                    cut &= ~((uint64_t)1 << last);
                }
            }
            starts |= cut | after_joined;

            /* the last white space before something else; its last byte is in `leaves` */
            uint64_t leaves = inner & (~m.whitespace >> 1) & ~((uint64_t)1 << 63);
            if (last_whitespace & ~last_newline & ~m.whitespace & 1) {
                int64_t at = fastlm_lead(text, base - 1);
                pending |= (uint64_t)1 << (at - (base - 64));
            }
            FASTLM_NAME(fastlm_start_characters)(text, base, leaves, m.above, &starts, &pending);

            /* what a letter run takes with it */
            uint64_t other_starts = starts & other, letters = starts & m.letter;
            uint64_t taken = inner << 1 | (last_whitespace & ~last_newline) | other_starts << 1 | last_other_start;
            starts &= ~(letters & taken);
            for (uint64_t wide = letters & (other & m.above) << 1; wide; wide &= wide - 1) {
                int64_t i = __builtin_ctzll(wide), at = fastlm_lead(text, base + i - 1);
                uint64_t is_start = at >= base ? starts >> (at - base) : pending >> (at - (base - 64));
                if (is_start & 1) starts &= ~((uint64_t)1 << i);
            }
            if (letters & last_other && base > start && text[base - 1] >= 0x80) {
                int64_t at = fastlm_lead(text, base - 1);
                if (at == start || pending >> (at - (base - 64)) & 1) starts &= ~(uint64_t)1;
            }
            last_other_start = other_starts >> 63 & ~(m.above >> 63);

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
            uint64_t four = m.number & m.number >> 1 & m.number >> 2 & m.number >> 3;
            /* most numbers have at most three digits and lie within the block */
            if (m.number && (digits < 3 || four || last_number || m.number >> 63 || (m.number & m.above)))
                starts |= FASTLM_NAME(fastlm_number_starts)(text + base, m.number & inside, number_starts, digits,
                                                            &digits_before);
            starts &= inside;
            last_letter = m.letter >> 63;
            last_number = m.number >> 63;
            last_other = other >> 63;
            last_whitespace = m.whitespace >> 63;
            last_blank = m.blank >> 63;
            last_newline = m.newline >> 63;
        }
        if (left <= 0 && held >= 0 && !whole_tail && held < n) {
            if (held >= base - 64) pending |= (uint64_t)1 << (held - (base - 64));
            else ends[written++] = held;
        }
        if (base == start) starts &= ~(uint64_t)1; /* the scan's own start is nobody's end */
        written = FASTLM_NAME(fastlm_write_ends)(pending, base - 64, ends, written);
        if (left <= 0) {
            ends[written++] = n;
            return written;
        }
        pending = starts;
        if (written > capacity - 72) return written;
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
