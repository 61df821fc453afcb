"""The merge-rank loop, compiled by Numba into one C function: a pretoken to its ids.

The function is called for a pretoken that is not known yet (known.h); what it returns is remembered, so that it runs
once for each distinct pretoken, more or less. Its tables come from `_pairs.PairTables`:

    byte_pairs (65536,)  rank of the merge of two bytes, by `first << 8 | second`; all ones: none
    slots (8 * 2^k,)     buckets of 8 slots of 32 bits, which one vector comparison searches. A slot is a pair's row in
                         `merges`, in its low `row_bits` bits, under as many bits of the pair's hash as there is room
                         for; 0 is empty. A bucket that is full goes on in the next one
    merges (2 * rows,)   in row `rank + 1` the pair `left << 32 | right` and the id that it becomes. In row 0 is no pair

Most pairs have no merge, and that is told by the slots alone, which are few enough to stay in a processor's second
cache. Beside speed this is why nothing here branches on the text where it can be helped: a branch that could go either
way costs more than the search for the smallest of 16 ranks.

Module constants are frozen into Numba's disk cache, and a jitted function here calls only functions of this file,
because that cache does not see edits elsewhere.
"""

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

# a pretoken of up to so many bytes is merged at once, a longer one by windows of as many, or of more with a heap
SHORT_PRETOKEN = 64
SCRATCH_WORDS = 256  # at least

NONE = np.uint32(0xFFFFFFFF)  # no rank; no id
NO_RANK = np.uint32(0xFFFFFFC0)  # from here on a lane holds none; _pairs.pyx refuses as many merges as reach this
ZERO, ONE, TWO, SIX, SEVEN, EIGHT = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(6), np.uint64(7), np.uint64(8)
LOW_6 = np.uint64(63)
U29, U32, U64 = np.uint64(29), np.uint64(32), np.uint64(64)
LOW_32 = np.uint64(0xFFFFFFFF)
ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)

# --- vectors of 32-bit lanes ---
#
# What a loop over an array would do, in a few instructions and without a branch. The operations are LLVM's own on
# vectors, so the same code becomes AVX-512, AVX2, SSE2 or NEON. Each loads the whole vector from memory and stores it
# whole, because a processor forwards a store only to a load that it covers.

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
ALL_ONES = 0xFFFFFFFF


@intrinsic
def trailing_zeros(typingctx, word):
    """Number of zero bits below the lowest one of a uint64; 64 of 0."""
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.cttz(args[0], I1(0))


@intrinsic
def leading_zeros(typingctx, word):
    """Number of zero bits above the highest one of a uint64; 64 of 0."""
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.ctlz(args[0], I1(0))


def _splat(builder: ir.IRBuilder, value: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(I32, lanes), ir.Undefined)
    single = builder.insert_element(undefined, value, I32(0))
    return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def _bits(builder: ir.IRBuilder, condition: Any, lanes: int) -> Any:
    """The lanes of a vector of booleans as the bits of a uint64."""
    bits = builder.bitcast(condition, ir.IntType(lanes))
    return bits if lanes == 64 else builder.zext(bits, I64)


class Lanes:
    """Operations on array[first:first + lanes] of an uint32 array, unchecked; to be called from jitted functions.

    fill(array, first): all lanes 0xFFFFFFFF. least(array, first): the smallest lane. equal_masked(array, first, mask,
    value): a bit for each lane that is `value` where `mask` has ones. put(array, first, a, x, b, y, c, z): lane a
    becomes x, b becomes y, c becomes z; a number past the lanes is none.
    """

    def __init__(self, lanes: int) -> None:
        vector = ir.VectorType(I32, lanes)

        def pointer(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            return builder.bitcast(builder.gep(data, [args[1]]), vector.as_pointer())

        def load(builder: ir.IRBuilder, address: Any) -> Any:
            loaded = builder.load(address)
            loaded.align = 4
            return loaded

        @intrinsic
        def fill(typingctx, array, first):
            def codegen(context, builder, signature, args):
                address = pointer(context, builder, signature, args)
                builder.store(ir.Constant(vector, [ALL_ONES] * lanes), address).align = 4
                return context.get_dummy_value()

            return types.void(array, types.uint64), codegen

        @intrinsic
        def least(typingctx, array, first):
            def codegen(context, builder, signature, args):
                name = f"llvm.vector.reduce.umin.v{lanes}i32"
                function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, [vector]), name)
                return builder.call(function, [load(builder, pointer(context, builder, signature, args))])

            return types.uint32(array, types.uint64), codegen

        @intrinsic
        def equal_masked(typingctx, array, first, mask, value):
            def codegen(context, builder, signature, args):
                loaded = load(builder, pointer(context, builder, signature, args))
                kept = builder.and_(loaded, _splat(builder, args[2], lanes))
                return _bits(builder, builder.icmp_unsigned("==", kept, _splat(builder, args[3], lanes)), lanes)

            return types.uint64(array, types.uint64, types.uint32, types.uint32), codegen

        @intrinsic
        def put(typingctx, array, first, a, x, b, y, c, z):
            def codegen(context, builder, signature, args):
                address = pointer(context, builder, signature, args)
                held = load(builder, address)
                numbers = ir.Constant(vector, list(range(lanes)))
                for lane, value in (args[2:4], args[4:6], args[6:8]):
                    chosen = builder.icmp_unsigned("==", numbers, _splat(builder, builder.trunc(lane, I32), lanes))
                    held = builder.select(chosen, _splat(builder, value, lanes), held)
                builder.store(held, address).align = 4
                return context.get_dummy_value()

            u32, u64 = types.uint32, types.uint64
            return types.void(array, u64, u64, u32, u64, u32, u64, u32), codegen

        self.fill, self.least, self.equal_masked, self.put = fill, least, equal_masked, put


# --- the merge of a pair ---

equal_slots = Lanes(8).equal_masked


@njit(inline="always")
def rank_of(slots, shift, multiplier, row_bits, merges, left, right):
    """Merge rank of a pair of ids, or NONE."""
    pair = np.uint64(left) << U32 | np.uint64(right)
    hashed = (pair ^ pair >> U29) * multiplier
    rows = np.uint32((ONE << row_bits) - ONE)
    tag = np.uint32(hashed) & ~rows
    bucket = hashed >> shift
    while True:
        found = equal_slots(slots, bucket * EIGHT, ~rows, tag)
        while found != ZERO:
            row = np.uint64(slots[bucket * EIGHT + trailing_zeros(found)] & rows)
            if merges[TWO * row] == pair:
                return np.uint32(row - ONE)
            found &= found - ONE
        if slots[bucket * EIGHT + SEVEN] == np.uint32(0):
            return NONE
        bucket = (bucket + ONE) & ((ONE << (U64 - shift)) - ONE)


@njit(inline="always")
def id_made(merges, rank):
    """The id that the merge of this rank makes."""
    return np.uint32(merges[TWO * np.uint64(rank) + np.uint64(3)])


# --- pretokens ---


@njit(inline="always")
def rank_at(rank, position):
    """A rank, or NONE, over a position of up to 63, as a lane holds them."""
    return np.uint32(np.uint64(rank) << SIX | position)


def settling_in_lanes(size):
    """A function that merges text[start:start + n], 1 to `size` bytes, as far as it goes; `size` is 16, 32 or 64.

    The symbols stay where their first bytes were: bit k of `alive`, which is returned, says that one begins at byte k,
    `symbols[k + 1]` is its id, NONE where none begins, and lane k of `ranks` is the rank of its merge with the next,
    over k: the smallest lane tells both at once, and of equal ranks the first. The symbols before the first and after
    the last are NONE, which merges with nothing. Quadratic, with a small constant.
    """
    lanes = Lanes(size)
    fill, least, put = lanes.fill, lanes.least, lanes.put
    end = np.uint64(size)

    @njit
    def settle(text, start, n, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, ranks, symbols):
        fill(ranks, ZERO)
        before = np.uint64(text[start])
        symbols[ZERO] = symbols[end + ONE] = NONE
        symbols[ONE] = byte_ids[before]
        k = ONE
        while k < n:
            byte = np.uint64(text[start + k])
            symbols[k + ONE] = byte_ids[byte]
            ranks[k - ONE] = rank_at(byte_pairs[before << EIGHT | byte], k - ONE)
            before = byte
            k += ONE
        alive = ALL_BITS >> (U64 - n)
        while True:
            found = least(ranks, ZERO)
            if found >= NO_RANK:
                break
            rank, at = np.uint64(found) >> SIX, np.uint64(found) & LOW_6
            later = alive & ~((TWO << at) - ONE)
            merged = trailing_zeros(later)
            alive &= ~(ONE << merged)
            after = min(trailing_zeros(later & (later - ONE)), end)
            one_past_previous = U64 - leading_zeros(alive & ((ONE << at) - ONE))
            new = id_made(merges, rank)
            symbols[at + ONE] = new
            symbols[merged + ONE] = NONE
            left = rank_of(slots, shift, multiplier, row_bits, merges, symbols[one_past_previous], new)
            right = rank_of(slots, shift, multiplier, row_bits, merges, new, symbols[after + ONE])
            previous = one_past_previous - ONE
            put(ranks, ZERO, previous, rank_at(left, previous), at, rank_at(right, at), merged, NONE)
        return alive

    return settle


settle_16, settle_32, settle_64 = settling_in_lanes(16), settling_in_lanes(32), settling_in_lanes(64)


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
def settle_with_heap(
    text, start, n, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, heap_and_links, symbols
):  # fmt: skip
    """The same for any number of bytes, O(n log n): symbols[k] is the id of the symbol at byte k, or NONE.

    A linked list of symbols and a heap of `merge rank << 32 | position`; an entry is stale when the pair at its
    position no longer has that rank. `heap_and_links` (3 * n,) holds two links to a word, then the heap: every merge
    takes one entry out and puts at most two in, so 2 * n are enough.
    """
    link = heap_and_links[:n]  # next << 32 | previous; the end of the list is `n`
    heap = heap_and_links[n : 3 * n]
    size = 0
    for k in range(n):
        symbols[k] = byte_ids[text[start + k]]
        previous = k - 1 if k > 0 else n
        link[k] = np.uint64(k + 1) << U32 | np.uint64(previous)
    for k in range(n - 1):
        rank = byte_pairs[np.uint64(text[start + k]) << EIGHT | np.uint64(text[start + k + 1])]
        if rank != NONE:
            sift_up(heap, size, np.uint64(rank) << U32 | np.uint64(k))
            size += 1
    while size > 0:
        entry = heap[0]
        size -= 1
        sift_down(heap, size, heap[size])
        at = np.int64(entry & LOW_32)
        after = np.int64(link[at] >> U32)
        if symbols[at] == NONE or after == n:
            continue
        rank = rank_of(slots, shift, multiplier, row_bits, merges, symbols[at], symbols[after])
        if rank == NONE or np.uint64(rank) != entry >> U32:
            continue
        symbols[at] = id_made(merges, rank)
        symbols[after] = NONE
        next_after = np.int64(link[after] >> U32)
        before = np.int64(link[at] & LOW_32)
        link[at] = np.uint64(next_after) << U32 | np.uint64(before)
        if next_after < n:
            link[next_after] = (link[next_after] & ~LOW_32) | np.uint64(at)
            rank = rank_of(slots, shift, multiplier, row_bits, merges, symbols[at], symbols[next_after])
            if rank != NONE:
                sift_up(heap, size, np.uint64(rank) << U32 | np.uint64(at))
                size += 1
        if before < n:
            rank = rank_of(slots, shift, multiplier, row_bits, merges, symbols[before], symbols[at])
            if rank != NONE:
                sift_up(heap, size, np.uint64(rank) << U32 | np.uint64(before))
                size += 1


@njit
def next_start(symbols, at, n):
    """Where the symbol after that at `at` begins, or n."""
    at += 1
    while at < n and symbols[at] == NONE:
        at += 1
    return at


@njit
def is_repeated(text, first, second, n):
    """Whether text[first:first + n] is text[second:second + n]."""
    k = 0
    while k < n and text[first + k] == text[second + k]:
        k += 1
    return k == n


@njit
def settle_window(
    text, start, n, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, window, scratch, symbols
):  # fmt: skip
    """Merges text[start:start + n] in lanes, or with a heap in larger windows; symbols[k + 1] is that of byte k."""
    if window == SHORT_PRETOKEN:
        settle_64(
            text, np.uint64(start), np.uint64(n), byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges,
            scratch.view(np.uint32), symbols,
        )  # fmt: skip
    else:
        settle_with_heap(
            text, start, n, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, scratch, symbols[1:]
        )


@njit
def merge_by_windows(
    text, length, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, ids, window, scratch
):  # fmt: skip
    """Ids of a pretoken from windows of `window` bytes that overlap; returns how many, or -1 where that fails.

    Tokens are what merging makes of a text if and only if merging makes each two neighbours of what the two spell: the
    merges within two neighbours happen in the same order with any text around them, up to the first that would reach
    across, and then it would reach across in the two alone as well. So where two windows have a token in common, same
    bytes and same place, those of the first up to it and those of the second from it on are what merging makes of both
    together: each two neighbours come from one window. The second window begins at a token of the first; then what
    they make of the overlap differs only towards the first window's end, if at all.

    `scratch`: (4 * window,) words.
    """
    room = scratch.view(np.uint32)
    # two windows take turns; their symbols begin at index 1, as the lanes have them
    if window == SHORT_PRETOKEN:
        held, other = room[2 * window :], room[4 * window :]
    else:
        held, other = room[6 * window - 1 :], room[7 * window - 1 :]
    start = done = count = 0  # done: how far into the held window its tokens are in `ids`
    size = min(window, length)
    settle_window(
        text, 0, size, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, window, scratch, held
    )
    while start + size < length:
        # the next window begins at the last token of the first five eighths
        step = 5 * window // 8
        while step > done and held[step + 1] == NONE:
            step -= 1
        if step <= done:
            return -1
        next_size = min(window, length - start - step)
        repeated = next_size == size and is_repeated(text, start, start + step, size)
        if repeated:  # is merged once
            following = held
        else:
            following = other
            settle_window(
                text, start + step, next_size, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges,
                window, scratch, other,
            )  # fmt: skip
        # a token that both have
        at = step
        while at < size:
            end = next_start(held[1:], at, size)
            same = held[at + 1] == following[at - step + 1]
            if same and end - step == next_start(following[1:], at - step, next_size):
                break
            at = end
        if at == size:
            return -1
        while done <= at:
            ids[count] = held[done + 1]
            count += 1
            done = next_start(held[1:], done, size)
        start += step
        done -= step
        if not repeated:
            held, other = other, held
        size = next_size
    while done < size:
        ids[count] = held[done + 1]
        count += 1
        done = next_start(held[1:], done, size)
    return count


def merge(
    pretoken_p, length, byte_ids_p, byte_pairs_p, slots_p, shift, multiplier, row_bits, merges_p,
    ids_p, scratch_p, scratch_words,
):  # fmt: skip
    """Ids of pretoken[:length], at least one byte, into ids[:length]; returns how many. Every byte has an id.

    `scratch` has SCRATCH_WORDS or more. Where that is too little, the negative of how many it takes is returned.
    """
    pretoken = carray(pretoken_p, length)
    byte_ids = carray(byte_ids_p, 256)
    byte_pairs = carray(byte_pairs_p, 65536)
    slots = carray(slots_p, 8)  # these two are larger: nothing here checks an index
    merges = carray(merges_p, 2)
    ids = carray(ids_p, length)
    scratch = carray(scratch_p, scratch_words)
    if length > SHORT_PRETOKEN:
        window = np.int64(SHORT_PRETOKEN)
        while True:
            if 4 * window > scratch_words:
                return -4 * window
            count = merge_by_windows(
                pretoken, length, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, ids, window, scratch
            )
            if count >= 0:
                return count
            window = min(8 * window, length)
    n, words = np.uint64(length), scratch.view(np.uint32)
    ranks, symbols = words[:64], words[64:]
    if length <= 16:
        alive = settle_16(
            pretoken, ZERO, n, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, ranks, symbols
        )
    elif length <= 32:
        alive = settle_32(
            pretoken, ZERO, n, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, ranks, symbols
        )
    else:
        alive = settle_64(
            pretoken, ZERO, n, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, ranks, symbols
        )
    count = 0
    while alive != ZERO:
        ids[count] = symbols[trailing_zeros(alive) + ONE]
        count += 1
        alive &= alive - ONE
    return count


_u8, _u32, _u64 = (types.CPointer(t) for t in (types.uint8, types.uint32, types.uint64))
SIGNATURE = types.int64(
    _u8, types.int64, _u32, _u32, _u32, types.uint64, types.uint64, types.uint64, _u64, _u32, _u64,
    types.int64,
)  # fmt: skip


@functools.cache
def compiled() -> CFunc:
    """The compiled kernel, from Numba's disk cache where that works.

    A read-only installation with an unwritable home has no place for the cache, and a cache file may be damaged:
    both cost compilation in this process, nothing else.
    """
    try:
        return cfunc(SIGNATURE, nopython=True, cache=True)(merge)
    except Exception:  # Numba raises RuntimeError, OSError or whatever unpickling a damaged file gives
        return cfunc(SIGNATURE, nopython=True)(merge)
