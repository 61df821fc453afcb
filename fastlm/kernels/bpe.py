"""Pretokens to token ids: the cache look-up and the merge-rank loop, compiled by Numba into one C function.

The function takes the whole text in one call. It asks a scanner (a C function, by address) for a block of pretoken
ends, looks each pretoken up in two tables of known pretokens, runs the merge-rank loop on a miss, and writes ids; text,
ends and ids of a block stay in cache. Its caller, `_encode.pyx`, owns all memory and holds no GIL meanwhile.

**A table of known pretokens** is a cache: a uint64 array of 2^k entries of four words, searched from the entry that the
key's hash names through at most WINDOW entries, so a look-up is bounded whatever the text.

    word 0, 1   a key of up to 15 bytes, zero-padded, its length in the top byte of word 1; or, for a longer one, its
                64-bit hash, and LONG_KEY | length << 32 | offset of its bytes in the table's `arena`
    word 2, 3   ids 0 and 1; id 2 and the number of ids in the top half of word 3. More than three ids stand in
                `arena_ids`, at the offset in word 2
    word 1 = 0  an empty entry; entries are replaced but never removed, so a search may end at the first empty one

**The merges** are an open-addressing table of two words an entry: the pair `left << 32 | right` (all ones: empty) and
`merge rank << 32 | new id`, so the smallest value is the merge to do first.

Module constants are frozen into Numba's disk cache, and a jitted function here calls only functions of this file,
because that cache does not see edits elsewhere.
"""

import functools

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

WINDOW = 8
LARGEST_TABLE = 1 << 19  # entries: 16 MB; a larger table costs more in cache misses than it saves
INLINE_KEY = 15
LONGEST_KEY = 255
LONG_KEY = 0xFF << 56
SHORT_PRETOKEN = 48
LONGEST_PRETOKEN = 0xFFFFFFFF  # positions in the heap of a long one have 32 bits

# what the entry returns
DONE, INVALID_UTF8, OUT_FULL, SCRATCH_SMALL, PRETOKEN_TOO_LONG, TABLE_FULL, UNKNOWN_BYTE = 0, 1, 2, 3, 4, 5, 6
# what it keeps in `state` between calls
POSITION, CUT, WRITTEN, ARENA_USED, ARENA_IDS_USED, WANTED, LEARNED, PARTIAL = 0, 1, 2, 3, 4, 5, 6, 7

NO_ID = np.uint32(0xFFFFFFFF)  # in byte_ids: no token has this byte
NO_MERGE = NOT_FOUND = np.uint64(0xFFFFFFFFFFFFFFFF)
HASH_0, HASH_1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)
U32 = np.uint64(32)
ONE, TWO, THREE, EIGHT = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(8)
# masks of the first `length` bytes of a key's two words: a table, because a branch on the length is a coin toss
KEEP_LOW = np.array([(1 << 8 * min(length, 8)) - 1 for length in range(16)], np.uint64)
KEEP_HIGH = np.array([(1 << 8 * max(length - 8, 0)) - 1 for length in range(16)], np.uint64)
LOW_32 = np.uint64(0xFFFFFFFF)


@intrinsic
def load_8_bytes(typingctx, array, index):
    """The eight bytes at array[index:index + 8] as a little-endian uint64, at any alignment, unchecked."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        address = builder.gep(builder.bitcast(data, cgutils.voidptr_t), [args[1]])
        load = builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()))
        load.align = 1
        return load

    return types.uint64(array, index), codegen


@intrinsic
def folded_product(typingctx, a, b):
    """High and low half of the 128-bit product a * b, xored: one multiplication that mixes all bits."""

    def codegen(context, builder, signature, args):
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
        return builder.xor(high, builder.trunc(product, ir.IntType(64)))

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic
def call_scanner(typingctx, address, text, stop, start, ends, capacity):
    """Calls the scanner at `address`; taking it as an integer keeps the kernel cacheable on disk."""

    def codegen(context, builder, signature, args):
        i64, pointer = ir.IntType(64), cgutils.voidptr_t
        function_type = ir.FunctionType(i64, [pointer, i64, i64, pointer, i64])
        function = builder.inttoptr(args[0], function_type.as_pointer())
        return builder.call(
            function,
            [builder.bitcast(args[1], pointer), args[2], args[3], builder.bitcast(args[4], pointer), args[5]],
        )

    i64 = types.int64
    return i64(i64, text, i64, i64, ends, i64), codegen


@njit(inline="always")
def pair_value(merges, mask, multiplier, left, right):
    """`merge rank << 32 | new id` of a pair of ids, or NO_MERGE."""
    key = np.uint64(left) << U32 | np.uint64(right)
    product = key * multiplier
    slot = (product ^ product >> U32) & mask
    while True:
        found = merges[np.uint64(2) * slot]
        if found == key:
            return merges[np.uint64(2) * slot + np.uint64(1)]
        if found == NO_MERGE:
            return NO_MERGE
        slot = (slot + np.uint64(1)) & mask


@njit
def merge_short(text, start, length, byte_ids, merges, mask, multiplier, ids, base, values):
    """Ids of text[start:start + length] into ids[base:]; returns how many. Quadratic, for short pretokens.

    `values` (length,) holds the merge of each adjacent pair; the smallest, leftmost is done first.
    """
    first, to, n = np.uint64(start), np.uint64(base), np.uint64(length)
    previous = byte_ids[np.uint64(text[first])]
    ids[to] = previous
    k = ONE
    while k < n:
        this = byte_ids[np.uint64(text[first + k])]
        ids[to + k] = this
        values[k - ONE] = pair_value(merges, mask, multiplier, previous, this)
        previous = this
        k += ONE
    while n > ONE:
        # first the least, then where it is: two loops without a branch that could go either way
        best = NO_MERGE
        for k in range(n - ONE):
            best = min(best, values[k])
        if best == NO_MERGE:
            break
        at = np.uint64(0)
        while values[at] != best:
            at += ONE
        merged = np.uint32(best & LOW_32)
        ids[to + at] = merged
        n -= ONE
        k = at + ONE
        while k < n:
            ids[to + k] = ids[to + k + ONE]
            values[k - ONE] = values[k]
            k += ONE
        if at > np.uint64(0):
            values[at - ONE] = pair_value(merges, mask, multiplier, ids[to + at - ONE], merged)
        if at < n - ONE:
            values[at] = pair_value(merges, mask, multiplier, merged, ids[to + at + ONE])
    return np.int64(n)


@njit
def lacks_an_id(text, start, length, byte_ids):
    """Whether a byte of text[start:start + length] has no id."""
    for k in range(start, start + length):  # noqa: SIM110 - Numba compiles no generators here
        if byte_ids[text[k]] == NO_ID:
            return True
    return False


@njit
def sift_down(heap, size, item):
    """Puts `item` into the min-heap heap[:size] whose root is free."""
    hole = 0
    child = 1
    while child < size:
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if item <= heap[child]:
            break
        heap[hole] = heap[child]
        hole, child = child, 2 * child + 1
    heap[hole] = item


@njit
def sift_up(heap, size, item):
    """Appends `item` to the min-heap heap[:size]."""
    hole = size
    while hole > 0:
        parent = (hole - 1) // 2
        if heap[parent] <= item:
            break
        heap[hole] = heap[parent]
        hole = parent
    heap[hole] = item


@njit
def merge_long(text, start, length, byte_ids, merges, mask, multiplier, ids, base, scratch):
    """Ids of text[start:start + length] into ids[base:]; returns how many. O(n log n), for long pretokens.

    A linked list of symbols and a heap of `merge rank << 32 | position`; an entry is stale when the pair at its
    position no longer has that rank. `scratch` (3 * length,) holds two links to a word, then the heap: every merge
    takes one entry out and puts at most two in, so 2 * length are enough.
    """
    link = scratch[:length]  # next << 32 | previous; the end of the list is `length`
    heap = scratch[length : 3 * length]
    size = 0
    for k in range(length):
        ids[base + k] = byte_ids[text[start + k]]
        previous = k - 1 if k > 0 else length
        link[k] = np.uint64(k + 1) << U32 | np.uint64(previous)
    for k in range(length - 1):
        value = pair_value(merges, mask, multiplier, ids[base + k], ids[base + k + 1])
        if value != NO_MERGE:
            sift_up(heap, size, (value & ~LOW_32) | np.uint64(k))
            size += 1
    gone = np.uint32(0xFFFFFFFF)
    while size > 0:
        entry = heap[0]
        size -= 1
        sift_down(heap, size, heap[size])
        at = np.int64(entry & LOW_32)
        after = np.int64(link[at] >> U32)
        if ids[base + at] == gone or after == length:
            continue
        value = pair_value(merges, mask, multiplier, ids[base + at], ids[base + after])
        if value == NO_MERGE or value >> U32 != entry >> U32:
            continue
        ids[base + at] = np.uint32(value & LOW_32)
        ids[base + after] = gone
        next_after = np.int64(link[after] >> U32)
        before = np.int64(link[at] & LOW_32)
        link[at] = np.uint64(next_after) << U32 | np.uint64(before)
        if next_after < length:
            link[next_after] = (link[next_after] & ~LOW_32) | np.uint64(at)
            value = pair_value(merges, mask, multiplier, ids[base + at], ids[base + next_after])
            if value != NO_MERGE:
                sift_up(heap, size, (value & ~LOW_32) | np.uint64(at))
                size += 1
        if before < length:
            value = pair_value(merges, mask, multiplier, ids[base + before], ids[base + at])
            if value != NO_MERGE:
                sift_up(heap, size, (value & ~LOW_32) | np.uint64(before))
                size += 1
    n = 0
    for k in range(length):
        if ids[base + k] != gone:
            ids[base + n] = ids[base + k]
            n += 1
    return n


@njit
def short_key(text, start, length):
    """Words 0 and 1 of the key of text[start:start + length], length 1 to 15, byte by byte."""
    low = np.uint64(0)
    high = np.uint64(length) << np.uint64(56)
    for k in range(min(length, 8)):
        low |= np.uint64(text[start + k]) << np.uint64(8 * k)
    for k in range(8, length):
        high |= np.uint64(text[start + k]) << np.uint64(8 * (k - 8))
    return low, high


@njit
def long_hash(text, start, length):
    """64-bit hash of text[start:start + length], length at least 8."""
    mixed = HASH_0 ^ np.uint64(length)
    for k in range(0, length - 8, 8):
        mixed = folded_product(mixed ^ load_8_bytes(text, start + k), HASH_1)
    return folded_product(mixed ^ load_8_bytes(text, start + length - 8), HASH_0)


@njit
def find_short(table, mask, hashed, low, high):
    """First word of the entry with this key, or NOT_FOUND."""
    slot = hashed & mask
    for _ in range(WINDOW):
        entry = slot << TWO
        held = table[entry + ONE]
        if held == np.uint64(0):
            return NOT_FOUND
        if held == high and table[entry] == low:
            return entry
        slot = (slot + ONE) & mask
    return NOT_FOUND


@njit
def find_long(table, mask, arena, hashed, text, start, length):
    """First word of the entry of the key text[start:start + length], 16 to LONGEST_KEY bytes, or NOT_FOUND."""
    tag = (np.uint64(LONG_KEY) >> U32) | np.uint64(length)
    slot = hashed & mask
    for _ in range(WINDOW):
        entry = slot << TWO
        held = table[entry + ONE]
        if held == np.uint64(0):
            return NOT_FOUND
        if held >> U32 == tag and table[entry] == hashed:
            offset = np.int64(held & LOW_32)
            same = load_8_bytes(arena, offset + length - 8) == load_8_bytes(text, start + length - 8)
            for k in range(0, length - 8, 8):
                same &= load_8_bytes(arena, offset + k) == load_8_bytes(text, start + k)
            if same:
                return entry
        slot = (slot + ONE) & mask
    return NOT_FOUND


@njit
def remember(table, mask, arena, arena_ids, state, hashed, low, high, text, start, length, ids, base, n_ids):
    """Puts a pretoken and its ids into the table, in the place of another where its window is full.

    Where an arena is full the table is taken for full, so that it grows before the next block; one of the largest size
    forgets everything instead, since a fresh start costs less than choosing.
    """
    if length > LONGEST_KEY:
        return
    in_arena = length if length > INLINE_KEY else 0
    ids_in_arena = n_ids if n_ids > 3 else 0
    if state[ARENA_USED] + in_arena > arena.size or state[ARENA_IDS_USED] + ids_in_arena > arena_ids.size:
        if mask < np.uint64(LARGEST_TABLE - 1):
            state[LEARNED] = np.int64(mask)
            return
        table[:] = np.uint64(0)
        state[ARENA_USED] = state[ARENA_IDS_USED] = state[LEARNED] = 0
    if in_arena:
        offset = state[ARENA_USED]
        for k in range(length):
            arena[offset + k] = text[start + k]
        state[ARENA_USED] += length
        low = hashed
        high = np.uint64(LONG_KEY) | np.uint64(length) << U32 | np.uint64(offset)
    slot = hashed & mask
    for _ in range(WINDOW):
        if table[(slot << TWO) + ONE] == np.uint64(0):
            state[LEARNED] += 1
            break
        slot = (slot + ONE) & mask
    else:
        slot = (hashed + (hashed >> np.uint64(61))) & mask
    entry = slot << TWO
    table[entry] = low
    table[entry + ONE] = high
    if ids_in_arena:
        offset = state[ARENA_IDS_USED]
        for k in range(n_ids):
            arena_ids[offset + k] = ids[base + k]
        state[ARENA_IDS_USED] += n_ids
        table[entry + TWO] = np.uint64(offset)
        table[entry + THREE] = np.uint64(n_ids) << U32
    else:
        second = np.uint64(ids[base + 1]) if n_ids > 1 else np.uint64(0)
        third = np.uint64(ids[base + 2]) if n_ids > 2 else np.uint64(0)
        table[entry + TWO] = second << U32 | np.uint64(ids[base])
        table[entry + THREE] = np.uint64(n_ids) << U32 | third


@njit
def emit_known(
    text, n, ends, i, count, position, seeded, seeded_mask, seeded_ids, learned, learned_mask, learned_ids, ids, written
):
    """Writes the ids of the pretokens ends[i:count], from `position` on, as long as each is short and known; n >= 16.

    Returns (i, position, written) at the first that is not. This loop is where the time goes: a function of its own
    that calls none with arrays, whose references Numba would count, and with unsigned indices, which need no test for
    being negative. Both tables are searched as `find_short` does.
    """
    at, stop = np.uint64(i), np.uint64(count)
    start, to = np.uint64(position), np.uint64(written)
    last_load = np.uint64(n) - np.uint64(16)
    while at < stop:
        end = np.uint64(ends[at])
        length = end - start
        # a pretoken that an earlier call has done makes this wrap around
        if length - ONE >= np.uint64(INLINE_KEY):
            break
        if start <= last_load:
            low = load_8_bytes(text, start)
            high = load_8_bytes(text, start + EIGHT)
        else:
            # the last 16 bytes, without those before the pretoken
            low = load_8_bytes(text, last_load)
            high = load_8_bytes(text, last_load + EIGHT)
            skipped = EIGHT * (start - last_load)
            if skipped < np.uint64(64):
                low = low >> skipped | high << (np.uint64(64) - skipped)
                high >>= skipped
            else:
                low = high >> (skipped - np.uint64(64))
                high = np.uint64(0)
        low &= KEEP_LOW[length]
        high = high & KEEP_HIGH[length] | length << np.uint64(56)
        hashed = folded_product(low ^ HASH_0, high ^ HASH_1)
        slot = hashed & seeded_mask
        entry = slot << TWO
        held = seeded[entry + ONE]
        probes = ONE
        while held != np.uint64(0) and (held != high or seeded[entry] != low):
            slot = (slot + ONE) & seeded_mask
            entry = slot << TWO
            held = seeded[entry + ONE] if probes < np.uint64(WINDOW) else np.uint64(0)
            probes += ONE
        is_seeded = held != np.uint64(0)
        if is_seeded:
            first = seeded[entry + TWO]
            second = seeded[entry + THREE]
        else:
            slot = hashed & learned_mask
            entry = slot << TWO
            held = learned[entry + ONE]
            probes = ONE
            while held != np.uint64(0) and (held != high or learned[entry] != low):
                slot = (slot + ONE) & learned_mask
                entry = slot << TWO
                held = learned[entry + ONE] if probes < np.uint64(WINDOW) else np.uint64(0)
                probes += ONE
            if held == np.uint64(0):
                break
            first = learned[entry + TWO]
            second = learned[entry + THREE]
        n_ids = second >> U32
        if n_ids <= THREE:
            ids[to] = np.uint32(first & LOW_32)
            ids[to + ONE] = np.uint32(first >> U32)
            ids[to + TWO] = np.uint32(second & LOW_32)
        elif is_seeded:
            for k in range(n_ids):
                ids[to + np.uint64(k)] = seeded_ids[first + np.uint64(k)]
        else:
            for k in range(n_ids):
                ids[to + np.uint64(k)] = learned_ids[first + np.uint64(k)]
        to += n_ids
        start = end
        at += ONE
    return np.int64(at), np.int64(start), np.int64(to)


@njit
def recall(table, arena_ids, entry, ids, base):
    """Writes the ids of an entry to ids[base:]; returns how many."""
    n_ids = np.int64(table[entry + THREE] >> U32)
    first = table[entry + TWO]
    if n_ids > 3:
        for k in range(n_ids):
            ids[base + k] = arena_ids[np.int64(first) + k]
        return n_ids
    ids[base] = np.uint32(first & LOW_32)
    ids[base + 1] = np.uint32(first >> U32)
    ids[base + 2] = np.uint32(table[entry + THREE] & LOW_32)
    return n_ids


def encode(
    text_p, n, cuts_p, n_cuts, scanner, ends_p, n_ends,
    merges_p, merges_mask, multiplier, byte_ids_p,
    seeded_p, seeded_mask, seeded_arena_p, seeded_ids_p,
    learned_p, learned_mask, arena_p, arena_size, arena_ids_p, arena_ids_size,
    scratch_p, scratch_size, out_p, out_size, state_p,
):  # fmt: skip
    """Ids of text[state[POSITION]:n] into out[state[WRITTEN]:]; see the types in SIGNATURE.

    `cuts` (n_cuts, 3) gives start, end and id of each special token, which cuts the text and becomes its id. `scanner`
    0 means that `ends` already holds all `n_ends` pretoken ends. `state` is kept up to date block by block: after
    OUT_FULL or SCRATCH_SMALL the caller makes room for state[WANTED] more ids or words and calls again. Where
    state[PARTIAL] says that some bytes have no id, UNKNOWN_BYTE tells of a pretoken of state[WANTED] bytes with one.
    """
    text = carray(text_p, n)
    cuts = carray(cuts_p, 3 * n_cuts)
    ends = carray(ends_p, n_ends)
    merges = carray(merges_p, 2 * (np.int64(merges_mask) + 1))
    byte_ids = carray(byte_ids_p, 256)
    seeded = carray(seeded_p, 4 * (np.int64(seeded_mask) + 1))
    seeded_arena = carray(seeded_arena_p, 1)
    seeded_ids = carray(seeded_ids_p, 1)
    learned = carray(learned_p, 4 * (np.int64(learned_mask) + 1))
    arena = carray(arena_p, arena_size)
    arena_ids = carray(arena_ids_p, arena_ids_size)
    scratch = carray(scratch_p, scratch_size)
    out = carray(out_p, out_size)
    state = carray(state_p, 8)

    position, cut, written = state[POSITION], state[CUT], state[WRITTEN]
    first = count = np.int64(0)
    while True:
        stop = cuts[3 * cut] if cut < n_cuts else n
        while position < stop:
            if scanner != 0:
                count = call_scanner(scanner, text_p, stop, position, ends_p, n_ends)
                if count < 0:
                    state[POSITION] = ends[0]
                    return INVALID_UTF8
            else:
                first = count
                while count < n_ends and ends[count] <= stop:
                    count += 1
            state[POSITION], state[CUT], state[WRITTEN] = position, cut, written
            if 2 * state[LEARNED] > np.int64(learned_mask) and learned_mask < np.uint64(LARGEST_TABLE - 1):
                return TABLE_FULL
            if written + (ends[count - 1] - position) + 3 > out_size:
                state[WANTED] = ends[count - 1] - position + 3
                return OUT_FULL
            i = first
            while True:
                if n >= 16:
                    i, position, written = emit_known(
                        text, n, ends, i, count, position,
                        seeded, seeded_mask, seeded_ids, learned, learned_mask, arena_ids, out, written,
                    )  # fmt: skip
                if i == count:
                    break
                length = ends[i] - position
                i += 1
                if length <= 0:  # done before this call
                    continue
                low = high = hashed = np.uint64(0)
                in_seeded = in_learned = NOT_FOUND
                if length <= INLINE_KEY:
                    low, high = short_key(text, position, length)
                    hashed = folded_product(low ^ HASH_0, high ^ HASH_1)
                    if n < 16:
                        in_seeded = find_short(seeded, seeded_mask, hashed, low, high)
                        in_learned = find_short(learned, learned_mask, hashed, low, high)
                elif length <= LONGEST_KEY:
                    hashed = long_hash(text, position, length)
                    in_seeded = find_long(seeded, seeded_mask, seeded_arena, hashed, text, position, length)
                    in_learned = find_long(learned, learned_mask, arena, hashed, text, position, length)
                if in_seeded != NOT_FOUND or in_learned != NOT_FOUND:
                    if in_seeded != NOT_FOUND:
                        written += recall(seeded, seeded_ids, in_seeded, out, written)
                    else:
                        written += recall(learned, arena_ids, in_learned, out, written)
                    position += length
                    continue
                if state[PARTIAL] and lacks_an_id(text, position, length, byte_ids):
                    state[POSITION], state[WRITTEN], state[WANTED] = position, written, length
                    return UNKNOWN_BYTE
                if length <= SHORT_PRETOKEN:
                    n_ids = merge_short(
                        text, position, length, byte_ids, merges, merges_mask, multiplier, out, written, scratch
                    )
                else:
                    if length >= LONGEST_PRETOKEN:
                        state[POSITION] = position
                        return PRETOKEN_TOO_LONG
                    if 3 * length > scratch_size:
                        state[POSITION], state[WRITTEN], state[WANTED] = position, written, 3 * length
                        return SCRATCH_SMALL
                    n_ids = merge_long(
                        text, position, length, byte_ids, merges, merges_mask, multiplier, out, written, scratch
                    )
                remember(
                    learned, learned_mask, arena, arena_ids, state,
                    hashed, low, high, text, position, length, out, written, n_ids,
                )  # fmt: skip
                written += n_ids
                position += length
        if cut == n_cuts:
            break
        if written + 1 > out_size:
            state[POSITION], state[CUT], state[WRITTEN], state[WANTED] = position, cut, written, 1
            return OUT_FULL
        out[written] = np.uint32(cuts[3 * cut + 2])
        written += 1
        position = cuts[3 * cut + 1]
        cut += 1
    state[POSITION], state[CUT], state[WRITTEN] = position, cut, written
    return DONE


_u8, _u32, _u64, _i64 = (types.CPointer(t) for t in (types.uint8, types.uint32, types.uint64, types.int64))
SIGNATURE = types.int64(
    _u8, types.int64, _i64, types.int64, types.int64, _i64, types.int64,
    _u64, types.uint64, types.uint64, _u32,
    _u64, types.uint64, _u8, _u32,
    _u64, types.uint64, _u8, types.int64, _u32, types.int64,
    _u64, types.int64, _u32, types.int64, _i64,
)  # fmt: skip


@functools.cache
def compiled() -> CFunc:
    """The compiled kernel, from Numba's disk cache where that works.

    A read-only installation with an unwritable home has no place for the cache, and a cache file may be damaged:
    both cost compilation in this process, nothing else.
    """
    try:
        return cfunc(SIGNATURE, nopython=True, cache=True)(encode)
    except Exception:  # Numba raises RuntimeError, OSError or whatever unpickling a damaged file gives
        return cfunc(SIGNATURE, nopython=True)(encode)
