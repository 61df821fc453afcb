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

# a pretoken of up to so many bytes is merged in lanes, a longer one with a heap; known.h gives scratch accordingly
SHORT_PRETOKEN = 64

NONE = np.uint32(0xFFFFFFFF)  # no rank; no id
ZERO, ONE, TWO, SEVEN, EIGHT = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(7), np.uint64(8)
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

    fill(array, first): all lanes 0xFFFFFFFF. least(array, first): the smallest lane. equal(array, first, value): a bit
    for each lane that is `value`. equal_masked(array, first, mask, value): that is `value` where `mask` has ones.
    put(array, first, a, x, b, y, c, z): lane a becomes x, b becomes y, c becomes z; a number past the lanes is none.
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
        def equal(typingctx, array, first, value):
            def codegen(context, builder, signature, args):
                loaded = load(builder, pointer(context, builder, signature, args))
                return _bits(builder, builder.icmp_unsigned("==", loaded, _splat(builder, args[2], lanes)), lanes)

            return types.uint64(array, types.uint64, types.uint32), codegen

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

        self.fill, self.least, self.equal, self.equal_masked, self.put = fill, least, equal, equal_masked, put


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


def merge_in_lanes(size):
    """A function that merges a pretoken of up to `size` bytes, 16, 32 or 64. Quadratic, with a small constant.

    The symbols stay where their first bytes were: bit k of `alive` says that one begins at byte k, `symbols[k + 1]` is
    its id, and lane k of `ranks` is the rank of its merge with the next. The symbols before the first and after the
    last are NONE, which merges with nothing.
    """
    lanes = Lanes(size)
    fill, least, equal, put = lanes.fill, lanes.least, lanes.equal, lanes.put
    end = np.uint64(size)

    @njit
    def merge(pretoken, length, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, ids, ranks, symbols):
        n = np.uint64(length)
        fill(ranks, ZERO)
        before = np.uint64(pretoken[ZERO])
        symbols[ZERO] = symbols[end + ONE] = NONE
        symbols[ONE] = byte_ids[before]
        k = ONE
        while k < n:
            byte = np.uint64(pretoken[k])
            symbols[k + ONE] = byte_ids[byte]
            ranks[k - ONE] = byte_pairs[before << EIGHT | byte]
            before = byte
            k += ONE
        alive = ALL_BITS >> (U64 - n)
        while True:
            rank = least(ranks, ZERO)
            if rank == NONE:
                break
            at = trailing_zeros(equal(ranks, ZERO, rank))
            later = alive & ~((TWO << at) - ONE)
            merged = trailing_zeros(later)
            alive &= ~(ONE << merged)
            after = min(trailing_zeros(later & (later - ONE)), end)
            one_past_previous = U64 - leading_zeros(alive & ((ONE << at) - ONE))
            new = id_made(merges, rank)
            symbols[at + ONE] = new
            left = rank_of(slots, shift, multiplier, row_bits, merges, symbols[one_past_previous], new)
            right = rank_of(slots, shift, multiplier, row_bits, merges, new, symbols[after + ONE])
            put(ranks, ZERO, one_past_previous - ONE, left, at, right, merged, NONE)
        count = ZERO
        while alive != ZERO:
            ids[count] = symbols[trailing_zeros(alive) + ONE]
            count += ONE
            alive &= alive - ONE
        return np.int64(count)

    return merge


merge_16, merge_32, merge_64 = merge_in_lanes(16), merge_in_lanes(32), merge_in_lanes(64)


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
def merge_with_heap(pretoken, length, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, ids, scratch):
    """Ids of a pretoken of any length; returns how many. O(n log n).

    A linked list of symbols and a heap of `merge rank << 32 | position`; an entry is stale when the pair at its
    position no longer has that rank. `scratch` (3 * length,) holds two links to a word, then the heap: every merge
    takes one entry out and puts at most two in, so 2 * length are enough.
    """
    link = scratch[:length]  # next << 32 | previous; the end of the list is `length`
    heap = scratch[length : 3 * length]
    size = 0
    for k in range(length):
        ids[k] = byte_ids[pretoken[k]]
        previous = k - 1 if k > 0 else length
        link[k] = np.uint64(k + 1) << U32 | np.uint64(previous)
    for k in range(length - 1):
        rank = byte_pairs[np.uint64(pretoken[k]) << EIGHT | np.uint64(pretoken[k + 1])]
        if rank != NONE:
            sift_up(heap, size, np.uint64(rank) << U32 | np.uint64(k))
            size += 1
    while size > 0:
        entry = heap[0]
        size -= 1
        sift_down(heap, size, heap[size])
        at = np.int64(entry & LOW_32)
        after = np.int64(link[at] >> U32)
        if ids[at] == NONE or after == length:
            continue
        rank = rank_of(slots, shift, multiplier, row_bits, merges, ids[at], ids[after])
        if rank == NONE or np.uint64(rank) != entry >> U32:
            continue
        ids[at] = id_made(merges, rank)
        ids[after] = NONE
        next_after = np.int64(link[after] >> U32)
        before = np.int64(link[at] & LOW_32)
        link[at] = np.uint64(next_after) << U32 | np.uint64(before)
        if next_after < length:
            link[next_after] = (link[next_after] & ~LOW_32) | np.uint64(at)
            rank = rank_of(slots, shift, multiplier, row_bits, merges, ids[at], ids[next_after])
            if rank != NONE:
                sift_up(heap, size, np.uint64(rank) << U32 | np.uint64(at))
                size += 1
        if before < length:
            rank = rank_of(slots, shift, multiplier, row_bits, merges, ids[before], ids[at])
            if rank != NONE:
                sift_up(heap, size, np.uint64(rank) << U32 | np.uint64(before))
                size += 1
    count = 0
    for k in range(length):
        if ids[k] != NONE:
            ids[count] = ids[k]
            count += 1
    return count


def merge(
    pretoken_p, length, byte_ids_p, byte_pairs_p, slots_p, shift, multiplier, row_bits, merges_p, ids_p, scratch_p
):  # fmt: skip
    """Ids of pretoken[:length], at least one byte, into ids[:length]; returns how many. Every byte has an id.

    `scratch` has 128 words, or for a pretoken of more than SHORT_PRETOKEN bytes 3 * length.
    """
    pretoken = carray(pretoken_p, length)
    byte_ids = carray(byte_ids_p, 256)
    byte_pairs = carray(byte_pairs_p, 65536)
    slots = carray(slots_p, 8)  # these two are larger: nothing here checks an index
    merges = carray(merges_p, 2)
    ids = carray(ids_p, length)
    scratch = carray(scratch_p, 3 * length)
    if length > SHORT_PRETOKEN:
        return merge_with_heap(
            pretoken, length, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, ids, scratch
        )
    words = carray(scratch_p, 128).view(np.uint32)
    ranks, symbols = words[:64], words[64:]
    if length <= 16:
        return merge_16(
            pretoken, length, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, ids, ranks, symbols
        )
    if length <= 32:
        return merge_32(
            pretoken, length, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, ids, ranks, symbols
        )
    return merge_64(
        pretoken, length, byte_ids, byte_pairs, slots, shift, multiplier, row_bits, merges, ids, ranks, symbols
    )


_u8, _u32, _u64 = (types.CPointer(t) for t in (types.uint8, types.uint32, types.uint64))
SIGNATURE = types.int64(
    _u8, types.int64, _u32, _u32, _u32, types.uint64, types.uint64, types.uint64, _u64, _u32, _u64
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
