/* Whitespace in the patterns since cl100k, as bit operations (included once for each instruction set).
 *
 *     [other]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *
 *   - newlines directly after other characters end their pretoken. They are the tail, which may contain more characters
 *     than newlines;
 *   - a span of whitespace is cut after its last newline, and before its last character if text other than a newline
 *     follows.
 * Only the boundary after the last newline depends on text of unlimited length. It is held back until the span ends. */
#ifndef FASTLM_ISA
#include "isa_alone.h"
#include "class_masks.h"
#endif

/* Sets and clears `starts` in whitespace and directly after it. A tail starts with a newline and continues with
 * characters in `may_tail`. Whitespace before a character in `closes` is not split. */
static inline __attribute__((always_inline)) void FASTLM_NAME(fastlm_space_starts)(
    const uint8_t *text, int64_t base, const fastlm_masks *m, uint64_t other, uint64_t last_other, uint64_t may_tail,
    uint64_t closes, fastlm_spaces *state, uint64_t *starts, uint64_t *pending, int64_t *ends, int64_t *written) {
    uint64_t inner = m->whitespace & ~m->newline;

    /* the carry of a sum passes from the first to after the last character of a tail; more seeds in the tail fall on
     * zeros that the carry left */
    uint64_t seeds = (m->newline & (other << 1 | last_other)) | (may_tail & state->tail);
    uint64_t past = may_tail + seeds;
    uint64_t in_tail = (may_tail & ~past) | seeds;
    uint64_t after_tail = (past & ~may_tail) | (state->tail & ~may_tail);
    *starts = (*starts & ~in_tail) | (after_tail & (inner | other));
    after_tail &= inner;
    state->tail = in_tail >> 63;

    /* after a newline, unless another newline follows in the same span */
    uint64_t cut = inner & (m->newline << 1 | state->last_newline) & ~after_tail;
    if (state->held >= 0 && ~inner) {
        if (!(m->newline >> __builtin_ctzll(~inner) & 1)) {
            if (state->held >= base - 64) *pending |= (uint64_t)1 << (state->held - (base - 64));
            else ends[(*written)++] = state->held;
        }
        state->held = -1;
    }
    if (cut) {
        uint64_t reach = inner + cut;
        for (uint64_t newline = reach & ~inner & m->newline; newline; newline &= newline - 1) {
            uint64_t below = cut & ((newline & -newline) - 1);
            cut &= ~((uint64_t)1 << (63 - __builtin_clzll(below)));
        }
        if (reach < inner) {
            int last = 63 - __builtin_clzll(cut);
            state->held = base + last;
            cut &= ~((uint64_t)1 << last);
        }
    }
    *starts |= cut;

    /* the last whitespace character before other text; its last byte is in `leaves` */
    uint64_t whole = m->whitespace | closes;
    uint64_t leaves = inner & (~whole >> 1) & ~((uint64_t)1 << 63);
    *pending |= ~whole & 1 ? state->last_inner_start : 0;
    FASTLM_NAME(fastlm_start_characters)(text, base, leaves, m->above, starts, pending);
    state->last = m->whitespace >> 63;
    state->last_newline = m->newline >> 63;
    state->last_inner = inner >> 63;
    state->last_inner_start = FASTLM_NAME(fastlm_last_start)(text, base, inner, m->above);
}

/* Writes the boundary that was held back, at the end of the text. */
static inline void FASTLM_NAME(fastlm_release_held)(int64_t base, int64_t n, const fastlm_spaces *state,
                                                    uint64_t *pending, int64_t *ends, int64_t *written) {
    if (state->held < 0 || state->held >= n) return;
    if (state->held >= base - 64) *pending |= (uint64_t)1 << (state->held - (base - 64));
    else ends[(*written)++] = state->held;
}
