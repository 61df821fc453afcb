"""Mutants of the scanners and of the safe cuts."""

from tests.mutants.mutant import Mutant, of

SCAN = "fastlm/pretokenize/scan"

MUTANTS: list[Mutant] = [
    *of(
        f"{SCAN}/safe_start.h",
        ("? FASTLM_NO_CUT : FASTLM_CUT_BEFORE_BOTH;", "? FASTLM_NO_CUT : FASTLM_CUT_BETWEEN;"),
        (" && !(fastlm_is_letter(here) && before.code_point == '\\'');", ";"),
        (
            "return fastlm_is_number(before) || fastlm_is_number(here) ? FASTLM_CUT_BETWEEN",
            "return fastlm_is_number(before) ? FASTLM_CUT_BETWEEN",
        ),
        (
            "if (fastlm_is_newer_digit(before.code_point) || fastlm_is_newer_digit(here.code_point)) return",
            "if (0) return",
        ),
        (
            "after it */\n    if (fastlm_is_space(before)) return fastlm_is_newline(before) && !fastlm_is_space(here);",
            "after it */\n    if (fastlm_is_space(before)) return fastlm_is_newline(before);",
        ),
        (
            "after it */\n    if (fastlm_is_space(before)) return fastlm_is_newline(before) && !fastlm_is_space(here);",
            "after it */\n    if (fastlm_is_space(before)) return !fastlm_is_space(here);",
        ),
        (
            "return fastlm_is_space(here) ? !fastlm_is_newline(here) : fastlm_is_number(here);",
            "return fastlm_is_space(here) || fastlm_is_number(here);",
        ),
        (
            "? !(here.flags & letter_flags) : !fastlm_is_number(here);",
            "? !(here.flags & letter_flags) : FASTLM_CUT_BETWEEN;",
        ),
        (
            "FASTLM_LETTER | FASTLM_MARK);\n}\n\nstatic int fastlm_o200k_cut",
            "FASTLM_LETTER);\n}\n\nstatic int fastlm_o200k_cut",
        ),
        (" && here.code_point != '/';", ";"),
        ("return fastlm_is_number(before) != fastlm_is_number(here);", "return FASTLM_CUT_BETWEEN;"),
        ("return fastlm_is_letter(before) || !fastlm_is_newline(here);", "return FASTLM_CUT_BETWEEN;"),
        (" && here.code_point != '\\'';", ";"),
        ("fastlm_is_letter(before) && !fastlm_is_word(here)", "fastlm_is_letter(before) && !fastlm_is_letter(here)"),
        ("fastlm_is_letter(here) && !fastlm_is_space(before);", "fastlm_is_letter(here);"),
        ("if (after_han) return fastlm_is_letter(before) && !is_han;", "if (after_han) return !is_han;"),
        ("return fastlm_is_space(here) && !fastlm_is_newline(here);", "return fastlm_is_space(here);"),
    ),
    Mutant(
        f"{SCAN}/safe_start.h",
        "    if (!(before.flags & known) || !(here.flags & known)) return FASTLM_NO_CUT;\n",
        "",
        "no pretoken has a character without a class and a space after it, or a word or newline before it",
    ),
    *of(
        f"{SCAN}/safe_start.h",
        ("    while (at > 0 && fastlm_is_continuation(text[at])) at--;\n", ""),
        ("default: return at;", "default: return lead;"),
    ),
    *of(
        f"{SCAN}/whitespace.h",
        ("if (reach < inner) {", "if (0) {"),
        ("*pending |= ~whole & 1 ? state->last_inner_start : 0;", ""),
        ("state->tail = in_tail >> 63;", "state->tail = 0;"),
        ("(m->newline & (other << 1 | last_other))", "(m->newline & (other << 1))"),
        ("if (state->held < 0 || state->held >= n) return;", "if (state->held < 0) return;"),
        ("(after_tail & (inner | other));", "(after_tail & inner);"),
    ),
    *of(
        f"{SCAN}/numbers.h",
        ("four | last_number | number >> 63", "four | number >> 63"),
        ("four | last_number | number >> 63 |", "four | last_number |"),
        ("number >> 63 | (number & m->above);", "number >> 63;"),
        ("        if (number_starts >> i & 1) *count = 0;\n", ""),
    ),
    *of(
        f"{SCAN}/gpt2.h",
        ("else no_start_here = 1;", "else no_start_here = 0;"),
        ("else start_here |= (uint64_t)1 << (i + length - 64);", "else start_here |= 0;"),
        ("                joins_blank &= ~digits;\n", ""),
        ("last_blank = m.blank >> 63;", "last_blank = 0;"),
        ("m.whitespace | (digits_apart ? m.number : 0);", "m.whitespace;"),
        ("if (!fastlm_is_continuation(text[base + i])) digits |=", "digits |="),
    ),
    *of(
        f"{SCAN}/cl100k.h",
        ("last_other_start = other_starts >> 63;", "last_other_start = 0;"),
        ("if (left <= 0 && !whole_tail)", "if (left <= 0)"),
        (
            "fastlm_contraction_any_case(text + base + i, n - base - i);",
            "fastlm_contraction_any_case(text + base + i, n - base - i + 1);",
        ),
    ),
    *of(
        f"{SCAN}/o200k.h",
        (
            "if (before < 0 || (slash && (text[base + i - 1] == '/' || text[base + before] == '/'))) alone = 1;",
            "if (before < 0) alone = 1;",
        ),
        ("else if (!(word >> __builtin_ctzll(after) & 1)) cuts |=", "else cuts |="),
        ("if (!after) alone = 1;", "if (!after) alone |= 0;"),
        ("                    if (i + length > 64) gone_here = its_bytes >> (64 - i);\n", ""),
        ("                    if (i && gone >> (i - 1) & 1) continue;\n", ""),
        ("last_lower = lowered >> 63;", "last_lower = lower >> 63;"),
        ("last_both = both >> 63;", "last_both = 0;"),
        ("int alone = (m.odd | (m.mark & last_other)) != 0;", "int alone = m.odd != 0;"),
        ("return c.length < 0 ? -1 : after_both ? after_both : at;", "return c.length < 0 ? -1 : at;"),
        ("for (; fastlm_is_newline(c) || (slash && c.code_point == '/');", "for (; fastlm_is_newline(c);"),
        (
            "FASTLM_O200K_VARIANT(fastlm_scan_tekken, 0, 1, 1, 0)",
            "FASTLM_O200K_VARIANT(fastlm_scan_tekken, 1, 1, 1, 0)",
        ),
    ),
    *of(
        f"{SCAN}/deepseek.h",
        ("last_taken = ((ascii_words & ~past) | took) >> 63;", "last_taken = 0;"),
        ("m.number | cjk, &spaces,", "m.number, &spaces,"),
    ),
    Mutant(
        f"{SCAN}/deepseek.h",
        "punct_starts = starts & punct & ~m.above;",
        "punct_starts = starts & punct;",
        "a non-ASCII character starts at its first byte, which no ASCII letter follows",
    ),
    *of(
        f"{SCAN}/deepseek.h",
        ("while (c.length > 0 && !c.flags && !(second.flags & FASTLM_WORD));", "while (c.length > 0 && !c.flags);"),
    ),
    *of(
        f"{SCAN}/class_masks.h",
        ("if (n - base < 68) {", "if (n - base < 64) {"),
        ("FASTLM_FROM(v, '\\t', 5)", "FASTLM_FROM(v, '\\t', 4)"),
        ("*written > capacity - FASTLM_STEP_ENDS;", "*written > capacity - FASTLM_STEP_BYTES + 8;"),
    ),
    *of(
        f"{SCAN}/multibyte.h",
        ("_mm256_andnot_si256(below_a0, _mm256_cmpeq_epi8(first, FASTLM_BYTE(0xED)));", "_mm256_setzero_si256();"),
        ("_mm256_cmpgt_epi8(FASTLM_BYTE(0x9E), second)", "_mm256_cmpgt_epi8(FASTLM_BYTE(0x9F), second)"),
        ("            carry->flags = flags;\n", "            carry->flags = 0;\n"),
    ),
    Mutant(
        f"{SCAN}/multibyte.h",
        "enum { FASTLM_FEW = 4 };",
        "enum { FASTLM_FEW = 0 };",
        "chooses between two ways to the same masks",
    ),
    *of(
        f"{SCAN}/one_by_one.h",
        ("return more && run.last > run.first ? run.last : run.end;", "return more ? run.last : run.end;"),
        ("code_point <= 0x11DE9", "code_point <= 0x11DE8"),
    ),
    *of(
        f"{SCAN}/base.h",
        ("[11 ... 12] = 4,", "[11] = 4,"),
        ("default: return available > 2 && p[1] == 0xC5 && p[2] == 0xBF ? 3 : 0;", "default: return 0;"),
    ),
]
