/* Runs the programs of program.py: a backtracking matcher over well-formed UTF-8 with Oniguruma's order of attempts.
 *
 * Positions are byte offsets. Alternatives that are left to try, and values to restore, are frames on one stack. Once
 * a text has cost much work, the matcher notes which branch points it visits at which positions: a second visit can
 * only fail as the first one did. Only branch points outside of lookarounds, atomic groups and counted repeats have a
 * mark, in programs without references; what follows from those depends on nothing but the position, and positions
 * never decrease. So the work is linear in the text. The work of other programs is bounded: the matcher gives up. */
#ifndef FASTLM_BACKTRACK_H
#define FASTLM_BACKTRACK_H
#include "matcher.h"

/* The end of the match that starts at `at`, or one of the negative codes. m->keep gets where it starts. */
static int64_t fastlm_match_at(const fastlm_program *p, fastlm_matcher *m, int64_t at) {
    int64_t next = 0, low, end;
    int64_t *registers = m->registers;
    int length, failure = 0;
    m->frame_count = 0;
    m->limit = m->size;
    m->keep = at;
    for (int32_t k = 0; k < p->register_count; k++) registers[k] = -1;
    for (;;) {
        const fastlm_instruction *i = &p->code[next];
        int32_t mark = p->marks[next];
        int fails = 0;
        next++;
        switch (i->op) {
        case FASTLM_OP_MATCH:
            return at;
        case FASTLM_OP_TEXT:
            fails = i->b > m->limit - at || memcmp(m->text + at, p->literals + i->a, (size_t)i->b) != 0;
            at += fails ? 0 : i->b;
            break;
        case FASTLM_OP_SET:
            length = fastlm_take(p, m, i->a, at);
            fails = length == 0;
            at += length;
            break;
        case FASTLM_OP_SPAN:
        case FASTLM_OP_SPAN_POSSESSIVE:
            end = fastlm_span(p, m, i, mark, at, &low);
            fails = end < 0;
            if (fails) break;
            failure = fastlm_count_work(m, 1 + (end - at));
            if (i->op == FASTLM_OP_SPAN && end > low && !failure)
                failure = fastlm_push(m, FASTLM_FRAME_SPAN, (int32_t)next, end, low);
            at = end;
            break;
        case FASTLM_OP_JUMP:
            next = i->a;
            break;
        case FASTLM_OP_PUSH:
            fails = fastlm_visit(p, m, mark, at);
            if (fails) break;
            failure = fastlm_count_work(m, 1);
            if (!failure) failure = fastlm_push(m, FASTLM_FRAME_BRANCH, i->a, at, 0);
            break;
        case FASTLM_OP_LINE_START:
        case FASTLM_OP_LINE_END:
        case FASTLM_OP_TEXT_START:
        case FASTLM_OP_TEXT_END:
        case FASTLM_OP_LAST_LINE_END:
        case FASTLM_OP_SEARCH_START:
        case FASTLM_OP_WORD_BOUNDARY:
        case FASTLM_OP_CLUSTER_BOUNDARY:
            fails = !fastlm_holds(p, m, i, at);
            break;
        case FASTLM_OP_KEEP:
            failure = fastlm_push(m, FASTLM_UNDO_KEEP, 0, 0, m->keep);
            m->keep = at;
            break;
        case FASTLM_OP_SAVE:
            failure = fastlm_set_register(m, i->a, at);
            if (i->b && !failure) failure = fastlm_set_register(m, i->a + 1, -1);
            break;
        case FASTLM_OP_REFERENCE: {
            /* of several groups with the name, the last one that has matched and that matches here */
            int32_t k = i->b;
            for (fails = 1; fails && k-- > 0;) {
                int64_t start = registers[p->groups[i->a + k]], size = registers[p->groups[i->a + k] + 1] - start;
                if (start < 0 || registers[p->groups[i->a + k] + 1] < 0 || size < 0 || size > m->limit - at) continue;
                fails = !fastlm_same(p, m->text, start, at, size, i->c);
                if (!fails) at += size;
            }
            failure = fastlm_count_work(m, 1);
            break;
        }
        case FASTLM_OP_RESET:
            failure = fastlm_set_register(m, i->a, 0);
            break;
        case FASTLM_OP_COUNT:
        case FASTLM_OP_COUNT_LAZY:
            failure = fastlm_count_work(m, 1);
            if (registers[i->a] < i->b || failure) break;
            if (registers[i->a] == i->c) {
                next = i->d;
            } else if (i->op == FASTLM_OP_COUNT) {
                failure = fastlm_push(m, FASTLM_FRAME_BRANCH, i->d, at, 0);
            } else {
                failure = fastlm_push(m, FASTLM_FRAME_BRANCH, (int32_t)next, at, 0);
                next = i->d;
            }
            break;
        case FASTLM_OP_INCREMENT:
            failure = fastlm_set_register(m, i->a, registers[i->a] + 1);
            break;
        case FASTLM_OP_LEAVE_IF_EMPTY:
            if (registers[i->a] == at) next = i->d;
            break;
        case FASTLM_OP_ATOMIC_START:
            registers[i->a] = m->frame_count;
            break;
        case FASTLM_OP_ATOMIC_END:
            fastlm_cut(m, registers[i->a]);
            break;
        case FASTLM_OP_LOOK_START:
            registers[i->a] = m->frame_count;
            registers[i->a + 1] = at;
            break;
        case FASTLM_OP_LOOK_END:
            fastlm_cut(m, registers[i->a]);
            at = registers[i->a + 1];
            break;
        case FASTLM_OP_NOT_START:
            registers[i->a] = m->frame_count;
            failure = fastlm_push(m, FASTLM_FRAME_BRANCH, i->d, at, 0);
            break;
        case FASTLM_OP_NOT_END:
            while (m->frame_count > registers[i->a]) fastlm_undo(m, &m->frames[--m->frame_count]);
            fails = 1;
            break;
        case FASTLM_OP_BACK:
            end = fastlm_back(m->text, at, i->a);
            fails = end < 0;
            at = fails ? at : end;
            break;
        case FASTLM_OP_BACK_RANGE:
            end = fastlm_back(m->text, at, i->a);
            fails = end < 0;
            if (fails) break;
            at = end;
            if (i->b != i->a)
                failure = fastlm_push(m, FASTLM_FRAME_BACK, (int32_t)next, at, i->b < 0 ? -1 : i->b - i->a);
            break;
        case FASTLM_OP_LIMIT:
            registers[i->a] = m->limit;
            failure = fastlm_push(m, FASTLM_UNDO_LIMIT, 0, 0, m->limit);
            m->limit = at;
            break;
        default: /* FASTLM_OP_UNLIMIT */
            fails = at != m->limit;
            if (fails) break;
            failure = fastlm_push(m, FASTLM_UNDO_LIMIT, 0, 0, m->limit);
            m->limit = registers[i->a];
        }
        if (!failure && fails) {
            failure = m->work >= m->note_from ? fastlm_start_noting(p, m) : fastlm_count_work(m, 1);
            next = fastlm_resume(m, &at);
            if (next < 0 && !failure) return FASTLM_NO_MATCH;
        }
        if (failure) return failure;
    }
}

/* The first match from m->search_start on: its end, with m->keep as its start, or one of the negative codes. */
static int64_t fastlm_search(const fastlm_program *p, fastlm_matcher *m) {
    for (int64_t at = m->search_start; at <= m->size; at++) {
        if (at < m->size && (m->text[at] & 0xC0) == 0x80) continue;
        if (p->first_bytes && (at == m->size || !p->first_bytes[m->text[at]])) continue;
        int64_t end = fastlm_match_at(p, m, at);
        if (end != FASTLM_NO_MATCH) return end;
        m->work++;
    }
    return FASTLM_NO_MATCH;
}

/* Forgets the visits at the end of a match: they may lie on the way to it. All on the way are at or before the end,
 * and no later search returns to a place before it. */
static void fastlm_forget(const fastlm_program *p, fastlm_matcher *m, int64_t position) {
    if (!m->visited) return;
    for (int64_t bit = position * p->mark_count; bit < (position + 1) * p->mark_count; bit++)
        m->visited[bit >> 3] &= (uint8_t)~(1 << (bit & 7));
}
#endif
