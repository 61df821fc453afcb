/* Strict UTF-8 (Unicode 15, table 3-7), one character at a time. Never reads past the end. */
#ifndef FASTLM_UTF8_H
#define FASTLM_UTF8_H
#include <stdint.h>

static inline int fastlm_is_continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

/* Returns the start of the character that has a byte at text[at]. The text must be well-formed. */
static inline int64_t fastlm_lead(const uint8_t *text, int64_t at) {
    while (fastlm_is_continuation(text[at])) at--;
    return at;
}

/* Decodes the character at text[0]; `available` bytes may be read. Returns its length in bytes, or 0 if the bytes are
 * not a well-formed character (truncated, overlong, a surrogate, or above U+10FFFF). */
static inline int fastlm_decode(const uint8_t *text, int64_t available, uint32_t *code_point) {
    uint8_t lead = text[0];
    if (lead < 0x80) {
        *code_point = lead;
        return 1;
    }
    if (lead < 0xE0) {
        if (lead < 0xC2 || available < 2 || !fastlm_is_continuation(text[1])) return 0;
        *code_point = (uint32_t)(lead & 0x1F) << 6 | (text[1] & 0x3F);
        return 2;
    }
    /* 32-bit variables, because GCC would keep bytes in memory and wait for them */
    if (lead < 0xF0) {
        if (available < 3) return 0;
        uint32_t second = text[1], third = text[2];
        if ((second & 0xC0) != 0x80 || (third & 0xC0) != 0x80) return 0;
        uint32_t cp = (uint32_t)(lead & 0x0F) << 12 | (second & 0x3F) << 6 | (third & 0x3F);
        if (cp < 0x800 || (cp >= 0xD800 && cp < 0xE000)) return 0;
        *code_point = cp;
        return 3;
    }
    if (lead > 0xF4 || available < 4) return 0;
    uint32_t second = text[1], third = text[2], fourth = text[3];
    if ((second & 0xC0) != 0x80 || (third & 0xC0) != 0x80 || (fourth & 0xC0) != 0x80) return 0;
    uint32_t cp = (uint32_t)(lead & 0x07) << 18 | (second & 0x3F) << 12 | (third & 0x3F) << 6 | (fourth & 0x3F);
    if (cp < 0x10000 || cp > 0x10FFFF) return 0;
    *code_point = cp;
    return 4;
}

#endif
