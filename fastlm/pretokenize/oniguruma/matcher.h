/* The state of the matcher of backtrack.h, and the operations on it. */
#ifndef FASTLM_MATCHER_H
#define FASTLM_MATCHER_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "clusters.h"

/* In the order of Op in instructions.py. */
enum {
    FASTLM_OP_MATCH,
    FASTLM_OP_TEXT,             /* a: offset in literals, b: bytes */
    FASTLM_OP_SET,              /* a: set */
    FASTLM_OP_SPAN,             /* a: set, b: least, c: most or -1 */
    FASTLM_OP_SPAN_POSSESSIVE,  /* as SPAN */
    FASTLM_OP_JUMP,             /* a: target */
    FASTLM_OP_PUSH,             /* a: target that is tried where what follows fails */
    FASTLM_OP_LINE_START,
    FASTLM_OP_LINE_END,
    FASTLM_OP_TEXT_START,
    FASTLM_OP_TEXT_END,
    FASTLM_OP_LAST_LINE_END,
    FASTLM_OP_SEARCH_START,
    FASTLM_OP_WORD_BOUNDARY,    /* a: set of word characters, b: whether there must be none */
    FASTLM_OP_CLUSTER_BOUNDARY, /* b: whether there must be none */
    FASTLM_OP_KEEP,
    FASTLM_OP_SAVE,             /* a: register that gets the position, b: whether the next one gets -1 */
    FASTLM_OP_REFERENCE,        /* a: offset in groups, b: how many, c: whether case is ignored */
    FASTLM_OP_RESET,            /* a: register that gets 0 */
    FASTLM_OP_COUNT,            /* a: register, b: least, c: most or -1, d: where the repeat ends */
    FASTLM_OP_COUNT_LAZY,       /* as COUNT */
    FASTLM_OP_INCREMENT,        /* a: register */
    FASTLM_OP_LEAVE_IF_EMPTY,   /* a: register with the position at the start of the round, d: where the repeat ends */
    FASTLM_OP_ATOMIC_START,     /* a: register */
    FASTLM_OP_ATOMIC_END,
    FASTLM_OP_LOOK_START,       /* a: two registers */
    FASTLM_OP_LOOK_END,
    FASTLM_OP_NOT_START,        /* a: register, d: where the lookaround ends */
    FASTLM_OP_NOT_END,          /* a: register */
    FASTLM_OP_BACK,             /* a: characters */
    FASTLM_OP_BACK_RANGE,       /* a: least characters, b: most or -1 */
    FASTLM_OP_LIMIT,            /* a: register; the position becomes the end of the text */
    FASTLM_OP_UNLIMIT,          /* a: register; the position must be that end */
};

typedef struct { int32_t op, a, b, c, d; } fastlm_instruction;

typedef struct {
    const fastlm_instruction *code;
    const uint8_t *literals;
    const uint8_t *bitmaps;      /* of each set: 65,536 bits for the code points below U+10000 */
    const int32_t *astral;       /* ranges of the sets beyond, first and last code point */
    const int32_t *astral_start; /* of each set: its first range in astral, and one more */
    const int32_t *groups;       /* registers with the start of a group; its end is in the next one */
    const int32_t *folds;        /* pairs: code point, the one that it folds to; sorted */
    int32_t fold_count;
    const int32_t *marks;        /* of each instruction: its mark, or -1 */
    int32_t mark_count;
    int32_t register_count;
    const uint8_t *first_bytes;  /* of each byte whether a match may start with it; NULL where it may be empty */
    const uint8_t *clusters;     /* grapheme class of each code point, or NULL where none is asked for */
} fastlm_program;

enum { FASTLM_FRAME_BRANCH, FASTLM_FRAME_SPAN, FASTLM_FRAME_BACK, FASTLM_UNDO_REGISTER, FASTLM_UNDO_LIMIT, FASTLM_UNDO_KEEP };

typedef struct { int64_t position, value; int32_t target, kind; } fastlm_frame;

typedef struct {
    const uint8_t *text;
    int64_t size, limit, search_start, last_end, keep;
    int64_t *registers;
    fastlm_frame *frames;
    int64_t frame_count, frame_capacity;
    uint8_t *visited;            /* mark_count bits of each position; NULL until much work has been done */
    int64_t work, note_from, most_work;
} fastlm_matcher;

enum { FASTLM_NO_MATCH = -1, FASTLM_NO_MEMORY = -2, FASTLM_TOO_MUCH_WORK = -3, FASTLM_TOO_DEEP = -4 };

#define FASTLM_MOST_FRAMES ((int64_t)1 << 24)
#define FASTLM_MOST_VISITED_BYTES ((int64_t)1 << 29)

static inline int64_t fastlm_before(const uint8_t *text, int64_t at) {
    do at--;
    while (at > 0 && (text[at] & 0xC0) == 0x80);
    return at;
}

/* The character at text[at] and its length; the text is well-formed. */
static inline int fastlm_character_at(const uint8_t *text, int64_t at, uint32_t *code_point) {
    uint32_t lead = text[at];
    if (lead < 0x80) return *code_point = lead, 1;
    if (lead < 0xE0) return *code_point = (lead & 0x1F) << 6 | (text[at + 1] & 0x3F), 2;
    if (lead < 0xF0) {
        *code_point = (lead & 0x0F) << 12 | (uint32_t)(text[at + 1] & 0x3F) << 6 | (text[at + 2] & 0x3F);
        return 3;
    }
    *code_point = (lead & 0x07) << 18 | (uint32_t)(text[at + 1] & 0x3F) << 12 | (uint32_t)(text[at + 2] & 0x3F) << 6 |
                  (text[at + 3] & 0x3F);
    return 4;
}

static inline int fastlm_in_set(const fastlm_program *p, int32_t set, uint32_t code_point) {
    if (code_point < 0x10000) return p->bitmaps[(int64_t)set * 8192 + (code_point >> 3)] >> (code_point & 7) & 1;
    int32_t low = p->astral_start[set], high = p->astral_start[set + 1];
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (code_point > (uint32_t)p->astral[2 * middle + 1]) low = middle + 1;
        else high = middle;
    }
    return low < p->astral_start[set + 1] && code_point >= (uint32_t)p->astral[2 * low];
}

/* Length of the character at `at` if it is before the limit and in the set, else 0. */
static inline int fastlm_take(const fastlm_program *p, const fastlm_matcher *m, int32_t set, int64_t at) {
    uint32_t code_point;
    if (at >= m->limit) return 0;
    int length = fastlm_character_at(m->text, at, &code_point);
    return fastlm_in_set(p, set, code_point) ? length : 0;
}

static uint32_t fastlm_fold(const fastlm_program *p, uint32_t code_point) {
    int32_t low = 0, high = p->fold_count;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if ((uint32_t)p->folds[2 * middle] < code_point) low = middle + 1;
        else high = middle;
    }
    return low < p->fold_count && (uint32_t)p->folds[2 * low] == code_point ? (uint32_t)p->folds[2 * low + 1] : code_point;
}

static int fastlm_same(const fastlm_program *p, const uint8_t *text, int64_t left, int64_t right, int64_t size, int folds) {
    if (!folds) return memcmp(text + left, text + right, (size_t)size) == 0;
    int64_t a = 0, b = 0;
    while (a < size && b < size) {
        uint32_t one, other;
        a += fastlm_character_at(text, left + a, &one);
        b += fastlm_character_at(text, right + b, &other);
        if (fastlm_fold(p, one) != fastlm_fold(p, other)) return 0;
    }
    return a == size && b == size;
}

static int fastlm_push(fastlm_matcher *m, int32_t kind, int32_t target, int64_t position, int64_t value) {
    if (m->frame_count == m->frame_capacity) {
        if (m->frame_capacity >= FASTLM_MOST_FRAMES) return FASTLM_TOO_DEEP;
        int64_t capacity = m->frame_capacity ? 2 * m->frame_capacity : 256;
        fastlm_frame *grown = realloc(m->frames, (size_t)capacity * sizeof *grown);
        if (!grown) return FASTLM_NO_MEMORY;
        m->frames = grown;
        m->frame_capacity = capacity;
    }
    m->frames[m->frame_count++] = (fastlm_frame){position, value, target, kind};
    return 0;
}

static inline void fastlm_undo(fastlm_matcher *m, const fastlm_frame *frame) {
    if (frame->kind == FASTLM_UNDO_REGISTER) m->registers[frame->target] = frame->value;
    else if (frame->kind == FASTLM_UNDO_LIMIT) m->limit = frame->value;
    else if (frame->kind == FASTLM_UNDO_KEEP) m->keep = frame->value;
}

static int fastlm_set_register(fastlm_matcher *m, int32_t index, int64_t value) {
    int failure = fastlm_push(m, FASTLM_UNDO_REGISTER, index, 0, m->registers[index]);
    m->registers[index] = value;
    return failure;
}

/* Drops the alternatives above a height of the stack; values to restore remain. */
static void fastlm_cut(fastlm_matcher *m, int64_t height) {
    int64_t kept = height;
    for (int64_t k = height; k < m->frame_count; k++)
        if (m->frames[k].kind >= FASTLM_UNDO_REGISTER) m->frames[kept++] = m->frames[k];
    m->frame_count = kept;
}

/* Notes a visit; returns whether there was one before. */
static inline int fastlm_visit(const fastlm_program *p, fastlm_matcher *m, int32_t mark, int64_t position) {
    if (!m->visited || mark < 0) return 0;
    int64_t bit = position * p->mark_count + mark;
    uint8_t mask = (uint8_t)(1 << (bit & 7));
    int was = (m->visited[bit >> 3] & mask) != 0;
    m->visited[bit >> 3] |= mask;
    return was;
}

static int fastlm_start_noting(const fastlm_program *p, fastlm_matcher *m) {
    m->note_from = INT64_MAX;
    if (p->mark_count == 0 || m->size >= FASTLM_MOST_VISITED_BYTES / p->mark_count * 8 - 8) return 0;
    m->visited = calloc((size_t)((m->size + 1) * p->mark_count / 8 + 1), 1);
    return m->visited ? 0 : FASTLM_NO_MEMORY;
}

static inline int fastlm_count_work(fastlm_matcher *m, int64_t work) {
    m->work += work;
    return m->work > m->most_work ? FASTLM_TOO_MUCH_WORK : 0;
}

/* One character at a time as long as they are in a set. Returns the end, or FASTLM_NO_MATCH; *low gets the first
 * position after the least number of them. Without a limit, any position after the least number is as good as a new
 * start, so that one that was visited before ends the span before it. */
static int64_t fastlm_span(const fastlm_program *p, fastlm_matcher *m, const fastlm_instruction *span, int32_t mark,
                           int64_t at, int64_t *low) {
    int32_t taken = 0;
    int length, is_limited = span->c >= 0;
    if (is_limited && fastlm_visit(p, m, mark, at)) return FASTLM_NO_MATCH;
    for (; taken < span->b; taken++, at += length)
        if (!(length = fastlm_take(p, m, span->a, at))) return FASTLM_NO_MATCH;
    *low = at;
    if (!is_limited && fastlm_visit(p, m, mark, at)) return FASTLM_NO_MATCH;
    for (; taken != span->c && (length = fastlm_take(p, m, span->a, at)); taken++) {
        if (!is_limited && fastlm_visit(p, m, mark, at + length))
            return span->op == FASTLM_OP_SPAN_POSSESSIVE ? FASTLM_NO_MATCH : at;
        at += length;
    }
    return at;
}

static int fastlm_is_word_boundary(const fastlm_program *p, const fastlm_matcher *m, int32_t words, int64_t at) {
    uint32_t code_point;
    int before = 0, after = 0;
    if (at > 0) {
        fastlm_character_at(m->text, fastlm_before(m->text, at), &code_point);
        before = fastlm_in_set(p, words, code_point);
    }
    if (at < m->size) {
        fastlm_character_at(m->text, at, &code_point);
        after = fastlm_in_set(p, words, code_point);
    }
    return before != after;
}

static int fastlm_holds(const fastlm_program *p, const fastlm_matcher *m, const fastlm_instruction *anchor, int64_t at) {
    const uint8_t *text = m->text;
    switch (anchor->op) {
    case FASTLM_OP_LINE_START: return at == 0 || (text[at - 1] == '\n' && at < m->size);
    case FASTLM_OP_LINE_END: return at == m->size || text[at] == '\n';
    case FASTLM_OP_TEXT_START: return at == 0;
    case FASTLM_OP_TEXT_END: return at == m->size;
    case FASTLM_OP_LAST_LINE_END: return at == m->size || (at + 1 == m->size && text[at] == '\n');
    case FASTLM_OP_SEARCH_START: return at == m->search_start;
    case FASTLM_OP_WORD_BOUNDARY: return fastlm_is_word_boundary(p, m, anchor->a, at) != anchor->b;
    default: return fastlm_is_cluster_boundary(p->clusters, text, m->size, at) != anchor->b;
    }
}

/* Goes back `count` characters; returns FASTLM_NO_MATCH where there are fewer. */
static int64_t fastlm_back(const uint8_t *text, int64_t at, int64_t count) {
    for (; count > 0; count--) {
        if (at == 0) return FASTLM_NO_MATCH;
        at = fastlm_before(text, at);
    }
    return at;
}

/* The next alternative: its instruction, with *position; FASTLM_NO_MATCH where none is left. */
static int64_t fastlm_resume(fastlm_matcher *m, int64_t *position) {
    while (m->frame_count) {
        fastlm_frame *frame = &m->frames[m->frame_count - 1];
        int32_t target = frame->target;
        switch (frame->kind) {
        case FASTLM_FRAME_BRANCH:
            *position = frame->position;
            m->frame_count--;
            return target;
        case FASTLM_FRAME_SPAN:
            *position = frame->position = fastlm_before(m->text, frame->position);
            if (frame->position <= frame->value) m->frame_count--;
            return target;
        case FASTLM_FRAME_BACK:
            if (frame->position == 0) {
                m->frame_count--;
                break;
            }
            *position = frame->position = fastlm_before(m->text, frame->position);
            if (frame->value > 0 && --frame->value == 0) m->frame_count--;
            return target;
        default:
            fastlm_undo(m, frame);
            m->frame_count--;
        }
    }
    return FASTLM_NO_MATCH;
}
#endif
