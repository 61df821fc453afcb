/* Reads text one character at a time, for rare text that masks of 64 bytes cannot express. */
#ifndef FASTLM_CHARACTERS_H
#define FASTLM_CHARACTERS_H
#include "unicode_classes.h"
#include "utf8.h"

/* At the end of a text, the length and the code point are 0. Where the text is not UTF-8, the length is -1. In both
 * cases there are no flags, so that loops over a class end. */
typedef struct {
    uint32_t code_point, flags;
    int length;
} fastlm_character;

/* Always inline: a character returned in two registers would pass through memory, and the reader would wait. */
static inline __attribute__((always_inline)) fastlm_character fastlm_read(const uint8_t *text, int64_t n, int64_t at) {
    fastlm_character c = {0, 0, 0};
    if (at >= n) return c;
    c.length = fastlm_decode(text + at, n - at, &c.code_point);
    if (!c.length) {
        c.length = -1;
        return c;
    }
    c.flags = fastlm_flags(c.code_point);
    return c;
}

static inline int fastlm_is_newline(fastlm_character c) { return c.code_point == '\n' || c.code_point == '\r'; }

/* Whether a character is not a letter, a number or whitespace. */
static inline int fastlm_is_other(fastlm_character c) {
    return c.length > 0 && !(c.flags & (FASTLM_LETTER | FASTLM_NUMBER | FASTLM_WHITESPACE));
}

/* Numbers that Unicode 17 added. The Digits pre-tokenizer of tokenizers knows them; the regular expressions do not. */
static inline int fastlm_is_newer_digit(uint32_t code_point) {
    return (code_point >= 0x11DE0 && code_point <= 0x11DE9) || (code_point >= 0x16FF4 && code_point <= 0x16FF6);
}

/* [一-龥぀-ゟ゠-ヿ], which deepseek splits off */
static inline int fastlm_is_cjk(uint32_t code_point) {
    return (code_point >= 0x4E00 && code_point <= 0x9FA5) || (code_point >= 0x3040 && code_point <= 0x30FF);
}

/* A span of whitespace, split as \s*[\r\n]+|\s+(?!\S)|\s+ while it is read. */
typedef struct {
    int64_t first, last, end, after_newline; /* also of the last character, the end, and the end of the last newline */
} fastlm_white_space;

static inline void fastlm_add_space(fastlm_white_space *run, fastlm_character c) {
    run->last = run->end;
    run->end += c.length;
    if (fastlm_is_newline(c)) run->after_newline = run->end;
}

/* Returns the end of the first pretoken of a complete span. `more`: text follows in the same part. */
static inline int64_t fastlm_space_end(fastlm_white_space run, int more) {
    if (run.after_newline) return run.after_newline;
    return more && run.last > run.first ? run.last : run.end;
}

#endif
