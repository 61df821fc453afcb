"""The merge loop of BPE, compiled by Numba into two C functions: the bytes of pretokens to token ids.

`merge` takes a pretoken of any length, `merge_batch` a few pretokens of up to 16 bytes. The encoder calls one of them
for pretokens that its cache lacks (encoding/pretoken_cache.h) and caches the result, so each runs about once for each
distinct pretoken.

Why Numba: the loop is fast because it compares 16 to 64 ranks with a few vector instructions. From this one source
the build compiles machine code for each level of x86-64, or for this machine's architecture (tools/compile_kernels.py),
and the best one is chosen at run time (merge.py). C would need intrinsics for each instruction set; on one machine it
was as fast. Nothing is compiled at run time, and Numba is not imported.

`encoding._merge_table.MergeTable` has the tables:

    byte_ids (256,)      id of each byte
    byte_pairs (65536,)  rank of the merge of two bytes, by `first << 8 | second`; all ones: none
    slots (8 * 2^k,)     buckets of 8 slots of 32 bits; one vector comparison searches a bucket. The low `row_bits` bits
                         of a slot are a pair's row in `merges`, and the bits above are bits of the pair's hash. 0 is
                         an empty slot. If a bucket is full, the search continues in the next one
    merges (2 * rows,)   row `rank + 1` has the pair, `left << 32 | right`, and the id that it becomes. Row 0 has no
                         pair

Most pairs have no merge. The slots alone tell that, and they are few enough for a processor's second-level cache. The
code avoids branches that depend on the text: a mispredicted branch costs more than finding the smallest of 16 ranks.

The build compares a hash of this file only, so a jitted function here calls functions of this file only.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

# A pretoken of up to this many bytes is merged at once, a longer one in windows of this many bytes, or of more with a
# heap.
SHORT_PRETOKEN = 64
SCRATCH_WORDS = 768  # the least memory to work in; encoding/encode_loop.h has the same number
# Pretokens of a batch and the bytes of each; encoding/encode_loop.h has the same numbers. Their data fit into the
# first-level cache.
BATCH, WIDTH = 32, 16

NONE = np.uint32(0xFFFFFFFF)  # no rank, and no id
NO_RANK = np.uint32(0xFFFFFFC0)  # a lane from here on has no rank; _merge_table.pyx refuses merges of such a rank
ZERO, ONE, TWO, SIX, SEVEN, EIGHT = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(6), np.uint64(7), np.uint64(8)
LOW_6 = np.uint64(63)
U29, U32, U64 = np.uint64(29), np.uint64(32), np.uint64(64)
LOW_32 = np.uint64(0xFFFFFFFF)
ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)


class Tables(NamedTuple):
    """The tables of a merge table, in the order of struct fastlm_merge_tables in encoding/encode_loop.h."""

    byte_ids: Any
    byte_pairs: Any
    slots: Any
    merges: Any
    shift: np.uint64
    multiplier: np.uint64
    row_bits: np.uint64


# --- vectors of 32-bit lanes ---
#
# They replace loops over an array by a few instructions without branches. The operations are LLVM's own on vectors,
# so the same code becomes AVX-512, AVX2, SSE2 or NEON. Each loads the whole vector from memory and stores it whole,
# because a processor forwards a store only to a load that it covers.

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
ALL_ONES = 0xFFFFFFFF


@intrinsic
def trailing_zeros(typingctx, word):
    """Number of zero bits below the lowest set bit of a uint64; 64 for 0."""
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.cttz(args[0], I1(0))


@intrinsic
def leading_zeros(typingctx, word):
    """Number of zero bits above the highest set bit of a uint64; 64 for 0."""
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.ctlz(args[0], I1(0))


@intrinsic
def uint32_pointer(typingctx, address):
    """A pointer to uint32 from an address, which is a uint64."""
    codegen = lambda context, builder, signature, args: builder.inttoptr(args[0], I32.as_pointer())  # noqa: E731
    return types.CPointer(types.uint32)(types.uint64), codegen


@intrinsic
def uint64_pointer(typingctx, address):
    """A pointer to uint64 from an address, which is a uint64."""
    codegen = lambda context, builder, signature, args: builder.inttoptr(args[0], I64.as_pointer())  # noqa: E731
    return types.CPointer(types.uint64)(types.uint64), codegen


@intrinsic
def prefetch(typingctx, array, index):
    """Starts to load array[index]."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        address = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        function_type = ir.FunctionType(ir.VoidType(), [address.type, I32, I32, I32])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        builder.call(function, [address, I32(0), I32(3), I32(1)])  # to read, into all levels, data
        return context.get_dummy_value()

    return types.void(array, types.uint64), codegen


def _splat(builder: ir.IRBuilder, value: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(I32, lanes), ir.Undefined)
    single = builder.insert_element(undefined, value, I32(0))
    return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def _bits(builder: ir.IRBuilder, condition: Any, lanes: int) -> Any:
    """The lanes of a vector of booleans as the bits of a uint64."""
    bits = builder.bitcast(condition, ir.IntType(lanes))
    return bits if lanes == 64 else builder.zext(bits, I64)


class Lanes:
    """Operations on array[first:first + lanes] of a uint32 array, for jitted functions. No index is checked.

    fill(array, first): sets all lanes to 0xFFFFFFFF. least(array, first): returns the smallest lane.
    equal_masked(array, first, mask, value): returns a bit for each lane that equals `value` in the bits of `mask`.
    put(array, first, a, x, b, y, c, z): sets lane a to x, b to y, and c to z. A lane number that is too large is
    ignored.
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
def rank_of(tables, left, right):
    """The merge rank of a pair of ids, or NONE."""
    pair = np.uint64(left) << U32 | np.uint64(right)
    hashed = (pair ^ pair >> U29) * tables.multiplier
    rows = np.uint32((ONE << tables.row_bits) - ONE)
    tag = np.uint32(hashed) & ~rows
    bucket = hashed >> tables.shift
    while True:
        found = equal_slots(tables.slots, bucket * EIGHT, ~rows, tag)
        while found != ZERO:
            row = np.uint64(tables.slots[bucket * EIGHT + trailing_zeros(found)] & rows)
            if tables.merges[TWO * row] == pair:
                return np.uint32(row - ONE)
            found &= found - ONE
        if tables.slots[bucket * EIGHT + SEVEN] == np.uint32(0):
            return NONE
        bucket = (bucket + ONE) & ((ONE << (U64 - tables.shift)) - ONE)


@njit(inline="always")
def id_made(tables, rank):
    """The id that the merge of a rank makes."""
    return np.uint32(tables.merges[TWO * np.uint64(rank) + np.uint64(3)])


# --- pretokens ---


@njit(inline="always")
def rank_at(rank, position):
    """A lane: a rank or NONE in the high bits, above a position of up to 63."""
    return np.uint32(np.uint64(rank) << SIX | position)


def settling_in_lanes(size):
    """Makes a function that merges text[start:start + n], 1 to `size` bytes, until no merge is left.

    `size` is 16, 32 or 64. A symbol is a part of the text that has become one id. It stays at the position of its first
    byte k: bit k of `alive`, which the function returns, is set, symbols[k + 1] is its id, and lane k of `ranks` is
    the rank of its merge with the next symbol, above k. So the smallest lane gives the next merge and its place, and
    of equal ranks the first. At other places the id is NONE; so it is before the first and after the last symbol.
    NONE merges with nothing. The time is quadratic, with a small constant.
    """
    lanes = Lanes(size)
    fill, least, put = lanes.fill, lanes.least, lanes.put
    end = np.uint64(size)

    @njit
    def settle(text, start, n, tables, ranks, symbols):
        fill(ranks, ZERO)
        before = np.uint64(text[start])
        symbols[ZERO] = symbols[end + ONE] = NONE
        symbols[ONE] = tables.byte_ids[before]
        k = ONE
        while k < n:
            byte = np.uint64(text[start + k])
            symbols[k + ONE] = tables.byte_ids[byte]
            ranks[k - ONE] = rank_at(tables.byte_pairs[before << EIGHT | byte], k - ONE)
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
            new = id_made(tables, rank)
            symbols[at + ONE] = new
            symbols[merged + ONE] = NONE
            left = rank_of(tables, symbols[one_past_previous], new)
            right = rank_of(tables, new, symbols[after + ONE])
            previous = one_past_previous - ONE
            put(ranks, ZERO, previous, rank_at(left, previous), at, rank_at(right, at), merged, NONE)
        return alive

    return settle


settle_16, settle_32, settle_64 = settling_in_lanes(16), settling_in_lanes(32), settling_in_lanes(64)


class Batch(NamedTuple):
    """The memory of `settle_batch`, for each of BATCH pretokens.

    ranks and symbols are as in settling_in_lanes, with SYMBOLS words for the symbols of a pretoken. `active` has the
    numbers of the pretokens that are not done, and what follows it belongs to a step of these, in the same order: the
    smallest lane, the pairs of the new symbol with its neighbours, their rows in `merges`, or 0, and three places.
    """

    ranks: Any
    symbols: Any
    alive: Any
    active: Any
    found: Any
    left_pair: Any
    right_pair: Any
    left_row: Any
    right_row: Any
    places: Any


SYMBOLS = np.uint64(20)  # WIDTH + 2, so that the symbols of each pretoken begin at a multiple of 16 bytes
LANES = np.uint64(WIDTH)
SIXTEEN, LOW_8, UNSURE = np.uint64(16), np.uint64(255), np.uint64(1 << 31)
batch_lanes = Lanes(WIDTH)
fill_lanes, least_lane, put_lanes = batch_lanes.fill, batch_lanes.least, batch_lanes.put


@njit(inline="always")
def hash_of(tables, pair):
    return (pair ^ pair >> U29) * tables.multiplier


@njit(inline="always")
def likely_row(tables, pair):
    """The row of a pair in `merges`, or 0, above a bit that says that a search may find another row.

    Has no branch. The row is the pair's if merges[2 * row] is the pair.
    """
    rows = np.uint32((ONE << tables.row_bits) - ONE)
    hashed = hash_of(tables, pair)
    first = (hashed >> tables.shift) * EIGHT
    found = equal_slots(tables.slots, first, ~rows, np.uint32(hashed) & ~rows)
    is_found = ZERO - np.uint64(found != ZERO)
    row = np.uint64(tables.slots[first + (trailing_zeros(found) & SEVEN)] & rows) & is_found
    is_unsure = np.uint64(found & (found - ONE) & is_found != ZERO) | np.uint64(
        tables.slots[first + SEVEN] != np.uint32(0)
    )
    return np.uint32(row | UNSURE * is_unsure)


@njit(inline="always")
def rank_of_row(tables, pair, row):
    """The rank of a pair, or NONE, from its `likely_row`."""
    sure = np.uint64(row) & (UNSURE - ONE)
    is_hit = np.uint64(tables.merges[TWO * sure] == pair)
    if is_hit == ZERO and np.uint64(row) >= UNSURE:
        return rank_of(tables, np.uint32(pair >> U32), np.uint32(pair))
    return np.uint32((sure - ONE) | (is_hit - ONE))


@njit
def settle_batch(texts, lengths, count, tables, batch):
    """Merges pretokens texts[WIDTH * w:WIDTH * w + lengths[w]] until no merge is left; see settling_in_lanes.

    A merge alone waits for memory several times: for the id that it makes, and for the merges of two new pairs. Here
    each step is done for all pretokens that are not done, and loads what the next step reads.
    """
    for w in range(count):
        pretoken = np.uint64(w)
        lanes, symbols = LANES * pretoken, SYMBOLS * pretoken
        n = np.uint64(lengths[w])
        fill_lanes(batch.ranks, lanes)
        before = np.uint64(texts[lanes])
        batch.symbols[symbols] = batch.symbols[symbols + LANES + ONE] = NONE
        batch.symbols[symbols + ONE] = tables.byte_ids[before]
        k = ONE
        while k < n:
            byte = np.uint64(texts[lanes + k])
            batch.symbols[symbols + k + ONE] = tables.byte_ids[byte]
            batch.ranks[lanes + k - ONE] = rank_at(tables.byte_pairs[before << EIGHT | byte], k - ONE)
            before = byte
            k += ONE
        batch.alive[pretoken] = ALL_BITS >> (U64 - n)
        batch.active[pretoken] = np.uint32(w)
    number = np.uint64(count)
    while number > ZERO:
        # the next merge of each pretoken
        kept = k = ZERO
        while k < number:
            pretoken = np.uint64(batch.active[k])
            found = least_lane(batch.ranks, LANES * pretoken)
            batch.found[kept], batch.active[kept] = found, np.uint32(pretoken)
            is_left = np.uint64(found < NO_RANK)
            prefetch(tables.merges, (TWO * (np.uint64(found) >> SIX) + np.uint64(3)) & (ZERO - is_left))
            kept += is_left
            k += ONE
        number = kept
        # the new symbol, and its pairs
        k = ZERO
        while k < number:
            pretoken = np.uint64(batch.active[k])
            symbols = SYMBOLS * pretoken
            rank, at = np.uint64(batch.found[k]) >> SIX, np.uint64(batch.found[k]) & LOW_6
            alive = batch.alive[pretoken]
            later = alive & ~((TWO << at) - ONE)
            merged = trailing_zeros(later)
            alive &= ~(ONE << merged)
            batch.alive[pretoken] = alive
            after = min(trailing_zeros(later & (later - ONE)), LANES)
            one_past_previous = U64 - leading_zeros(alive & ((ONE << at) - ONE))
            new = np.uint64(id_made(tables, rank))
            batch.symbols[symbols + at + ONE] = np.uint32(new)
            batch.symbols[symbols + merged + ONE] = NONE
            left = np.uint64(batch.symbols[symbols + one_past_previous]) << U32 | new
            right = new << U32 | np.uint64(batch.symbols[symbols + after + ONE])
            batch.left_pair[k], batch.right_pair[k] = left, right
            prefetch(tables.slots, (hash_of(tables, left) >> tables.shift) * EIGHT)
            prefetch(tables.slots, (hash_of(tables, right) >> tables.shift) * EIGHT)
            batch.places[k] = np.uint32(one_past_previous << SIXTEEN | at << EIGHT | merged)
            k += ONE
        # the merges of the pairs
        k = ZERO
        while k < number:
            left_row = likely_row(tables, batch.left_pair[k])
            right_row = likely_row(tables, batch.right_pair[k])
            prefetch(tables.merges, TWO * (np.uint64(left_row) & (UNSURE - ONE)))
            prefetch(tables.merges, TWO * (np.uint64(right_row) & (UNSURE - ONE)))
            batch.left_row[k], batch.right_row[k] = left_row, right_row
            k += ONE
        k = ZERO
        while k < number:
            places = np.uint64(batch.places[k])
            previous, at, merged = (places >> SIXTEEN) - ONE, places >> EIGHT & LOW_8, places & LOW_8
            left = rank_of_row(tables, batch.left_pair[k], batch.left_row[k])
            right = rank_of_row(tables, batch.right_pair[k], batch.right_row[k])
            lanes = LANES * np.uint64(batch.active[k])
            put_lanes(batch.ranks, lanes, previous, rank_at(left, previous), at, rank_at(right, at), merged, NONE)
            k += ONE


@njit
def sift_down(heap, size, item):
    """Puts `item` into the min-heap heap[:size], whose root is free."""
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
def settle_with_heap(text, start, n, tables, heap_and_links, symbols):
    """Does the same for any number of bytes, in O(n log n): symbols[k] is the id of the symbol at byte k, or NONE.

    Uses a linked list of symbols and a heap of `merge rank << 32 | position`. An entry of the heap is stale if the
    pair at its position no longer has that rank. `heap_and_links` (3 * n,) has two links in each of its first n
    words, then the heap: a merge removes one entry and adds two at most, so 2 * n words are enough.
    """
    link = heap_and_links[:n]  # next << 32 | previous; the end of the list is `n`
    heap = heap_and_links[n : 3 * n]
    size = 0
    for k in range(n):
        symbols[k] = tables.byte_ids[text[start + k]]
        previous = k - 1 if k > 0 else n
        link[k] = np.uint64(k + 1) << U32 | np.uint64(previous)
    for k in range(n - 1):
        rank = tables.byte_pairs[np.uint64(text[start + k]) << EIGHT | np.uint64(text[start + k + 1])]
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
        rank = rank_of(tables, symbols[at], symbols[after])
        if rank == NONE or np.uint64(rank) != entry >> U32:
            continue
        symbols[at] = id_made(tables, rank)
        symbols[after] = NONE
        next_after = np.int64(link[after] >> U32)
        before = np.int64(link[at] & LOW_32)
        link[at] = np.uint64(next_after) << U32 | np.uint64(before)
        if next_after < n:
            link[next_after] = (link[next_after] & ~LOW_32) | np.uint64(at)
            rank = rank_of(tables, symbols[at], symbols[next_after])
            if rank != NONE:
                sift_up(heap, size, np.uint64(rank) << U32 | np.uint64(at))
                size += 1
        if before < n:
            rank = rank_of(tables, symbols[before], symbols[at])
            if rank != NONE:
                sift_up(heap, size, np.uint64(rank) << U32 | np.uint64(before))
                size += 1


@njit
def next_start(symbols, at, n):
    """The start of the symbol after the one at `at`, or n."""
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
def settle_window(text, start, n, tables, window, scratch, symbols):
    """Merges text[start:start + n] in lanes, or a larger window with a heap; symbols[k + 1] is the symbol at byte k."""
    if window == SHORT_PRETOKEN:
        settle_64(
            text,
            np.uint64(start),
            np.uint64(n),
            tables,
            scratch.view(np.uint32),
            symbols,
        )
    else:
        settle_with_heap(text, start, n, tables, scratch, symbols[1:])


@njit
def merge_by_windows(text, length, tables, ids, window, scratch):
    """Merges a pretoken in windows of `window` bytes that overlap; returns the number of ids, or -1 if that fails.

    A sequence of tokens is the result of merging a text if and only if each two neighbours are the result of merging
    the bytes of the two. The merges within two neighbours happen in the same order with any text around them, up to
    the first merge that would cross the boundary between them, and that merge would cross it in the two alone as well.
    So if two windows have a token in common, with the same bytes at the same place, then the tokens of the first window
    up to it and the tokens of the second window from it on are the result for both windows together: each two
    neighbours come from one window. The second window begins at a token of the first one, so the two differ only near
    the end of the first window, if at all.

    `scratch` has 4 * window words.
    """
    room = scratch.view(np.uint32)
    # two windows alternate; their symbols begin at index 1, as for lanes
    if window == SHORT_PRETOKEN:
        held, other = room[2 * window :], room[4 * window :]
    else:
        held, other = room[6 * window - 1 :], room[7 * window - 1 :]
    start = done = count = 0  # done: the bytes of the first window whose tokens are in `ids`
    size = min(window, length)
    settle_window(text, 0, size, tables, window, scratch, held)
    while start + size < length:
        # the next window begins at the last token that starts in the first five eighths
        step = 5 * window // 8
        while step > done and held[step + 1] == NONE:
            step -= 1
        if step <= done:
            return -1
        next_size = min(window, length - start - step)
        repeated = next_size == size and is_repeated(text, start, start + step, size)
        if repeated:  # merge it once
            following = held
        else:
            following = other
            settle_window(
                text,
                start + step,
                next_size,
                tables,
                window,
                scratch,
                other,
            )
        # find a token that both windows have
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


@njit(inline="always")
def tables_at(fields_p):
    """The tables of a struct fastlm_merge_tables."""
    fields = carray(fields_p, 7)
    return Tables(
        carray(uint32_pointer(fields[0]), 256),
        carray(uint32_pointer(fields[1]), 65536),
        carray(uint32_pointer(fields[2]), 8),  # slots and merges are larger: no index is checked here
        carray(uint64_pointer(fields[3]), 2),
        fields[4],
        fields[5],
        fields[6],
    )


def merge_batch(tables_p, texts_p, lengths_p, count, ids_p, n_ids_p, scratch_p):
    """Writes the ids of `count` pretokens, at most BATCH; returns 0.

    Pretoken w is the first lengths[w] bytes, 1 to WIDTH, of texts[w], of (BATCH, WIDTH) bytes. Its ids become the first
    n_ids[w] of ids[w], of (BATCH, WIDTH). Every byte has an id. `scratch` has SCRATCH_WORDS words.
    """
    tables = tables_at(tables_p)
    texts, lengths = carray(texts_p, BATCH * WIDTH), carray(lengths_p, BATCH)
    ids, n_ids = carray(ids_p, BATCH * WIDTH), carray(n_ids_p, BATCH)
    wide = carray(scratch_p, SCRATCH_WORDS)
    narrow = wide.view(np.uint32)
    # 64-bit words 0 to 255: ranks; to 575: symbols; to 671: pairs and alive; to 751: the others
    batch = Batch(
        narrow,
        narrow[512:],
        wide[576:],
        narrow[1344:],
        narrow[1376:],
        wide[608:],
        wide[640:],
        narrow[1408:],
        narrow[1440:],
        narrow[1472:],
    )
    settle_batch(texts, lengths, count, tables, batch)
    for w in range(count):
        pretoken = np.uint64(w)
        alive = batch.alive[pretoken]
        written = ZERO
        while alive != ZERO:
            ids[LANES * pretoken + written] = batch.symbols[SYMBOLS * pretoken + trailing_zeros(alive) + ONE]
            written += ONE
            alive &= alive - ONE
        n_ids[pretoken] = np.int64(written)
    return 0


def merge(tables_p, pretoken_p, length, ids_p, scratch_p, scratch_words):
    """Writes the ids of pretoken[:length], at least one byte, to ids[:length]; returns their number.

    Every byte has an id. `scratch` has SCRATCH_WORDS or more words. If these are too few, the function returns minus
    the number that it needs.
    """
    tables = tables_at(tables_p)
    pretoken = carray(pretoken_p, length)
    ids = carray(ids_p, length)
    scratch = carray(scratch_p, scratch_words)
    if length > SHORT_PRETOKEN:
        window = np.int64(SHORT_PRETOKEN)
        while True:
            if 4 * window > scratch_words:
                return -4 * window
            count = merge_by_windows(pretoken, length, tables, ids, window, scratch)
            if count >= 0:
                return count
            window = min(8 * window, length)
    n, words = np.uint64(length), scratch.view(np.uint32)
    ranks, symbols = words[:64], words[64:]
    if length <= 16:
        alive = settle_16(pretoken, ZERO, n, tables, ranks, symbols)
    elif length <= 32:
        alive = settle_32(pretoken, ZERO, n, tables, ranks, symbols)
    else:
        alive = settle_64(pretoken, ZERO, n, tables, ranks, symbols)
    count = 0
    while alive != ZERO:
        ids[count] = symbols[trailing_zeros(alive) + ONE]
        count += 1
        alive &= alive - ONE
    return count


_u8, _i64, _u32, _u64 = (types.CPointer(kind) for kind in (types.uint8, types.int64, types.uint32, types.uint64))
# name in C -> function, signature
FUNCTIONS = {
    "merge": (merge, types.int64(_u64, _u8, types.int64, _u32, _u64, types.int64)),
    "merge_batch": (merge_batch, types.int64(_u64, _u8, _i64, types.int64, _u32, _i64, _u64)),
}


@functools.cache
def compiled(name: str) -> CFunc:
    """A function compiled in this process, which takes some seconds; merge.py has the ones compiled by the build."""
    function, signature = FUNCTIONS[name]
    return cfunc(signature, nopython=True)(function)
