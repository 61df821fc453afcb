/* Keys of pretokens. A key of up to 15 bytes is inline in two words, with the length in the top byte. A longer pretoken
 * has its hash as the key. pretoken_cache.h has keys of its own form and uses only the hashes of this header. */
#ifndef FASTLM_HASH_H
#define FASTLM_HASH_H
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "keys are bytes packed into words of a little-endian machine"
#endif

#define FASTLM_INLINE_KEY 15
#define FASTLM_LONG_KEY ((uint64_t)0xFF << 56)

static inline uint64_t fastlm_load8(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static inline uint64_t fastlm_folded_product(uint64_t a, uint64_t b) {
    /* two products, because GCC 12 turns a single 128-bit product into a vector in memory */
    return (uint64_t)((__uint128_t)a * b >> 64) ^ a * b;
}

/* Computes the two words of the key of `length` bytes, 1 to 15, at p. `readable` bytes may be read there. */
static inline void fastlm_short_key(const uint8_t *p, int64_t length, int64_t readable, uint64_t *low, uint64_t *high) {
    /* keep + length masks the second word, keep + length + 8 the first */
    static const uint64_t keep[24] = {
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFF, 0xFFFFFFFFFFFF, 0xFFFFFFFFFFFFFF,
        ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0};
    uint8_t copy[16] = {0};
    if (readable < 16) {
        memcpy(copy, p, (size_t)length);
        p = copy;
    }
    *low = fastlm_load8(p) & keep[length + 8];
    *high = (fastlm_load8(p + 8) & keep[length]) | (uint64_t)length << 56;
}

/* A `seed` that is secret to the process prevents texts that are crafted to cause hash collisions. */
static inline uint64_t fastlm_hash_short(uint64_t low, uint64_t high, const uint64_t *seed) {
    return fastlm_folded_product(low ^ seed[0], high ^ seed[1]);
}

/* Returns the hash of `length` bytes, at least 8, at p. */
static inline uint64_t fastlm_hash_long(const uint8_t *p, int64_t length, const uint64_t *seed) {
    uint64_t mixed = seed[0] ^ (uint64_t)length;
    for (int64_t k = 0; k < length - 8; k += 8)
        mixed = fastlm_folded_product(mixed ^ fastlm_load8(p + k), seed[1]) ^ seed[0];
    return fastlm_folded_product(mixed ^ fastlm_load8(p + length - 8), seed[1]);
}
#endif
