"""Tokens through a decoder-only Transformer, compiled by Numba into one function: from embeddings to logits.

A call computes N tokens: one token of each of N sequences, or N tokens of one sequence. Every weight is read once and
multiplied with all of them. With few tokens the time is the time of reading memory. One core has a higher memory
throughput if it reads at a few places in turn, each in order, than at a single place. So every matrix is multiplied in
STREAMS parts of equally many rows, one row of each part at a time. The order of the matrices is

    for each layer   queries (H K rows of D), keys and values (G K rows of D each), output (D rows of H K),
                     w1 and, in a gated network, w3 (F rows of D each), w2 (D rows of F)
    at the end       the output layer (V rows of D)

`Weights.starts` says where each begins. Each row is padded with zeros to a multiple of GROUP numbers. Matrices are
float32 in `Matrices.full`, bfloat16 in `Matrices.half`, int8 in `Matrices.quantized`, or int4 in `Matrices.nibbles`;
the other arrays are empty. int8 has one scale per GROUP in `Matrices.scales`, int4 two, of 32 numbers each: the lower
halves of 32 bytes are the first 32 numbers of a group plus 8, and the upper halves the others. With such weights a
vector is rounded to 16 bits, also with one scale per group, and groups are multiplied in exact integer arithmetic. Only
the rounding of the weights loses precision.

If only the greatest logit is needed, `full` holds all matrices, `quantized` and `scales` hold a second copy of the
output layer, and `widest_scales` holds the greatest scale of each of its rows. The error of an 8-bit logit is bounded.
So only few rows must be multiplied in float32; the logits of all others are known to be smaller.

Products are summed in a fixed order that depends on neither the number of tokens nor the number of threads. So a token
gets the same bits in every company: a batch gives the logits of its sequences alone, and several tokens of one sequence
give the logits of one after the other.

Several threads may run one call, each with its own number. They share the rows of each matrix and the heads, wait for
each other after each product (`wait_for_all`), and repeat what takes little time.

Module constants are frozen into Numba's disk cache, and a jitted function here calls only functions of this file,
because that cache does not notice edits in other files.

N tokens of a call, B sequences, D d_model, H num_heads, G num_kv_heads, K d_head, F d_ff, V vocab_size, L num_layers,
C capacity of the cache, P positions, W width of the widest vector, padded.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import float32, int8, int16, int32, int64, njit, types, uint8, uint16, void
from numba.core import cgutils
from numba.extending import intrinsic

STREAMS = 4
GROUP = 64  # numbers that share a scale; sums of this many products of 8 and 16 bits fit into 32 bits
QUARTER = 16
LARGEST_INT4, LARGEST_INT8, LARGEST_INT16 = 7, 127, 32767
SMALLEST_MAXIMUM = np.float32(1e-30)  # LARGEST_INT16 divided by it is finite
ROUNDING_MARGIN = np.float32(1.02)  # for the rounding of the sums in a bound

# values of Shape.weights
FULL, HALF_PRECISION, INT8, INT4 = range(4)
# values of Shape.norm and of Weights.rope
NONE, PRE, POST, OUTPUT = range(4)
HALF, INTERLEAVED = 1, 2
# rows of Scratch.own: residual stream, inputs of products, padded with zeros, and the heads of all tokens
RESIDUAL, NORMED, ATTENDED, ACTIVATED, HEADS = range(5)
OWN_ROWS = 5
# rows of Scratch.shared: results of products, of attention and of the activation
STACKED, ATTENTION, ADDED, GATE, UP, INNER = range(6)
SHARED_ROWS = 6
MATRICES_PER_LAYER = 7
# how often a thread looks at a counter before it lets others run
SPINS = 2000


class Shape(NamedTuple):
    """The model's configuration in numbers."""

    d_model: Any
    num_heads: Any
    num_kv_heads: Any
    d_head: Any
    d_ff: Any
    vocab_size: Any
    num_layers: Any
    norm: Any
    gated: Any
    # widths of the gains of queries and keys, 0 without such norms
    q_gains: Any
    k_gains: Any
    # whether attention has biases
    biased: Any
    weights: Any
    threads: Any
    norm_eps: Any


class Matrices(NamedTuple):
    """The packed matrices, see the top of this file."""

    full: Any
    half: Any
    quantized: Any
    nibbles: Any
    scales: Any
    widest_scales: Any


class Weights(NamedTuple):
    """All weights of a model but the embedding.

    starts: of the matrices, (7 L + 1), in numbers; without w3 its entry is unused. gains: of RMSNorm; for each layer
    those before attention (D), before the feed-forward network (D), of queries and of keys, and finally the last one
    (D). biases: for each layer of queries, keys and values, and of the output. rope, window: for each layer the
    layout of positions, or 0, and the sliding window, or 0. cos, sin: (P, K / 2), unused without positions.
    """

    matrices: Any
    starts: Any
    gains: Any
    biases: Any
    rope: Any
    window: Any
    cos: Any
    sin: Any


class Cache(NamedTuple):
    """Keys and values, (L, B, G, C, K) each."""

    keys: Any
    values: Any


class Rounded(NamedTuple):
    """Vectors in 16 bits: their numbers, (N, W), and one scale per group, (N, W / GROUP)."""

    numbers: Any
    scales: Any


class Scratch(NamedTuple):
    """Memory for intermediate results, zeros at first.

    own: (threads, OWN_ROWS, N, W). shared: (SHARED_ROWS, N, W). numbers, scales: of Rounded for each thread. scores:
    (threads, C). counter: two numbers, how many times threads have waited, and whether they must stop.
    """

    own: Any
    shared: Any
    numbers: Any
    scales: Any
    scores: Any
    counter: Any


# limits of exp: below the first it is 0, above the second infinity
EXP_OF_ZERO, EXP_OF_INFINITY = np.float32(-87.33), np.float32(88.37)
LOG2_E = np.float32(1.4426950408889634)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)

# sums may be split into lanes and products fused; nan and infinity keep their meaning
IN_LANES = {"reassoc", "contract"}

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


# --- threads ---


@intrinsic
def add_to_counter(typingctx, counter, amount):
    """Adds to counter[0] in one indivisible operation."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", data, args[1], "seq_cst")

    return types.int64(counter, types.int64), codegen


@intrinsic
def read_counter(typingctx, counter, index):
    """Reads counter[index], after everything that other threads wrote before they added to it."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "seq_cst", 8)

    return types.int64(counter, types.int64), codegen


_sched_yield = types.ExternalFunction("sched_yield", int32())


@njit
def wait_for_all(shape, scratch, times):
    """Waits until all threads have called it as many times; returns that number for the next call."""
    if shape.threads == 1:
        return times
    add_to_counter(scratch.counter, 1)
    target, looks = times * shape.threads, 0
    while read_counter(scratch.counter, 0) < target and read_counter(scratch.counter, 1) == 0:
        looks += 1
        if looks > SPINS:
            _sched_yield()
    return times + 1


@njit
def part_of(shape, thread, count):
    """The first and the last of `count` rows or heads that a thread computes, as a range."""
    return count * thread // shape.threads, count * (thread + 1) // shape.threads


# --- products of matrix and vector ---


def _lanes(value_type: Any, lanes: int) -> Any:
    return ir.VectorType(value_type, lanes)


def _shuffled(builder: ir.IRBuilder, vector: Any, lanes: list[int]) -> Any:
    nothing = ir.Constant(vector.type, ir.Undefined)
    return builder.shuffle_vector(vector, nothing, ir.Constant(_lanes(I32, len(lanes)), lanes))


def _constant(value_type: Any, lanes: int, value: int) -> Any:
    return ir.Constant(_lanes(value_type, lanes), [value] * lanes)


def _load(builder: ir.IRBuilder, address: Any, value_type: Any, lanes: int = QUARTER) -> Any:
    loaded = builder.load(builder.bitcast(address, _lanes(value_type, lanes).as_pointer()))
    loaded.align = value_type.width // 8 if value_type is not F32 else 4
    return loaded


def _pair_products(context: Any, builder: ir.IRBuilder, a: Any, b: Any) -> Any:
    """The 8 int32 sums of two neighbouring products of two vectors of 16 int16."""
    if "+avx2" in context.codegen().magic_tuple()[2].split(","):
        # LLVM does not derive this instruction from the code below
        signature = ir.FunctionType(_lanes(I32, 8), [_lanes(I16, 16)] * 2)
        multiply = cgutils.get_or_insert_function(builder.module, signature, "llvm.x86.avx2.pmadd.wd")
        return builder.call(multiply, (a, b))
    products = builder.mul(builder.sext(a, _lanes(I32, 16)), builder.sext(b, _lanes(I32, 16)))
    evens, odds = list(range(0, 16, 2)), list(range(1, 16, 2))
    return builder.add(_shuffled(builder, products, evens), _shuffled(builder, products, odds))


def _total(builder: ir.IRBuilder, lanes: Any, count: int) -> Any:
    """The sum of the lanes of a vector, by halves."""
    half = count // 2
    while half:
        low = _shuffled(builder, lanes, list(range(half)))
        lanes = builder.fadd(low, _shuffled(builder, lanes, list(range(half, 2 * half))))
        half //= 2
    return builder.extract_element(lanes, I32(0))


def _data(context: Any, builder: ir.IRBuilder, signature: Any, args: Any, k: int) -> Any:
    return context.make_array(signature.args[k])(context, builder, args[k]).data


def _sums(count: int, weights: Any, scales: Any, x: Any, x_scales: Any) -> Any:
    """The signature of products of STREAMS rows and `count` vectors, rows of an array: STREAMS sums of each vector."""
    starts, x_starts = types.UniTuple(types.int64, STREAMS), types.UniTuple(types.int64, count)
    return types.UniTuple(types.float32, STREAMS * count)(weights, starts, scales, x, x_starts, x_scales, types.int64)


def _float_dots(count: int, widened: bool) -> Any:
    """Products of rows of float32 or bfloat16 and `count` vectors of float32."""

    @intrinsic
    def dots(typingctx, weights, starts, scales, x, x_starts, x_scales, groups):
        def codegen(context, builder, signature, args):
            data, vectors = _data(context, builder, signature, args, 0), _data(context, builder, signature, args, 3)
            rows = [builder.gep(data, [start]) for start in cgutils.unpack_tuple(builder, args[1])]
            xs = [builder.gep(vectors, [start]) for start in cgutils.unpack_tuple(builder, args[4])]
            nothing = ir.Constant(_lanes(F32, QUARTER), [0.0] * QUARTER)
            totals = [[cgutils.alloca_once_value(builder, nothing) for _ in rows] for _ in xs]
            quarters = builder.mul(args[6], args[6].type(GROUP // QUARTER))
            with cgutils.for_range(builder, quarters) as loop:
                at = builder.mul(loop.index, loop.index.type(QUARTER))
                numbers = [_load(builder, builder.gep(one, [at]), F32) for one in xs]
                for k, row in enumerate(rows):
                    if widened:
                        bits = builder.zext(_load(builder, builder.gep(row, [at]), I16), _lanes(I32, QUARTER))
                        bits = builder.shl(bits, _constant(I32, QUARTER, 16))
                        weight = builder.bitcast(bits, _lanes(F32, QUARTER))
                    else:
                        weight = _load(builder, builder.gep(row, [at]), F32)
                    for v, number in enumerate(numbers):
                        product = builder.fmul(weight, number, flags=("contract",))
                        total = builder.fadd(builder.load(totals[v][k]), product, flags=("contract",))
                        builder.store(total, totals[v][k])
            sums = [_total(builder, builder.load(one), QUARTER) for of_vector in totals for one in of_vector]
            return context.make_tuple(builder, signature.return_type, sums)

        return _sums(count, weights, scales, x, x_scales), codegen

    return dots


def _unpacked(builder: ir.IRBuilder, row: Any, at: Any, bits: int) -> list[Any]:
    """The 64 numbers of a group of a row as 4 vectors of 16 int16; `at` is the number of the first."""
    if bits == 8:
        eighths = [builder.gep(row, [builder.add(at, at.type(16 * part))]) for part in range(4)]
        return [builder.sext(_load(builder, address, I8), _lanes(I16, QUARTER)) for address in eighths]
    start = builder.lshr(at, at.type(1))
    both = [_load(builder, builder.gep(row, [builder.add(start, at.type(16 * part))]), I8) for part in range(2)]
    low = [builder.and_(part, _constant(I8, QUARTER, 15)) for part in both]
    high = [builder.lshr(part, _constant(I8, QUARTER, 4)) for part in both]
    eight = _constant(I16, QUARTER, 8)
    return [builder.sub(builder.zext(part, _lanes(I16, QUARTER)), eight) for part in (*low, *high)]


def _integer_dots(count: int, bits: int) -> Any:
    """Products of rows of int8 or int4 and `count` vectors of int16, as float32."""
    # groups of weights that share a scale within a group of the vector
    scales_per_group = 1 if bits == 8 else 2

    @intrinsic
    def dots(typingctx, weights, starts, scales, x, x_starts, x_scales, groups):
        def codegen(context, builder, signature, args):
            data, of_rows, vectors, of_vectors = (_data(context, builder, signature, args, k) for k in (0, 2, 3, 5))
            starts = cgutils.unpack_tuple(builder, args[1])
            bytes_of = [start if bits == 8 else builder.lshr(start, start.type(1)) for start in starts]
            rows = [builder.gep(data, [start]) for start in bytes_of]
            row_scales = [
                builder.gep(of_rows, [builder.udiv(start, start.type(GROUP // scales_per_group))]) for start in starts
            ]
            x_starts = cgutils.unpack_tuple(builder, args[4])
            xs = [builder.gep(vectors, [start]) for start in x_starts]
            xs_scales = [builder.gep(of_vectors, [builder.udiv(start, start.type(GROUP))]) for start in x_starts]
            nothing = ir.Constant(_lanes(F32, 8), [0.0] * 8)
            totals = [[cgutils.alloca_once_value(builder, nothing) for _ in rows] for _ in xs]
            with cgutils.for_range(builder, args[6]) as loop:
                word = loop.index.type
                first = builder.mul(loop.index, word(GROUP))
                quarters = [builder.add(first, word(quarter)) for quarter in range(0, GROUP, QUARTER)]
                numbers = [[_load(builder, builder.gep(one, [at]), I16) for at in quarters] for one in xs]
                x_scale = [builder.load(builder.gep(one, [loop.index])) for one in xs_scales]
                for k, row in enumerate(rows):
                    unpacked = _unpacked(builder, row, first, bits)
                    for part in range(scales_per_group):
                        at = builder.add(builder.mul(loop.index, word(scales_per_group)), word(part))
                        row_scale = builder.load(builder.gep(row_scales[k], [at]))
                        inside = range(4 * part // scales_per_group, 4 * (part + 1) // scales_per_group)
                        for v in range(count):
                            products = _constant(I32, 8, 0)
                            for quarter in inside:
                                pairs = _pair_products(context, builder, unpacked[quarter], numbers[v][quarter])
                                products = builder.add(products, pairs)
                            scale = builder.fmul(row_scale, x_scale[v])
                            single = builder.insert_element(ir.Constant(_lanes(F32, 8), ir.Undefined), scale, I32(0))
                            scaled = builder.fmul(
                                builder.sitofp(products, _lanes(F32, 8)),
                                _shuffled(builder, single, [0] * 8),
                                flags=("contract",),
                            )
                            total = builder.fadd(builder.load(totals[v][k]), scaled, flags=("contract",))
                            builder.store(total, totals[v][k])
            sums = [_total(builder, builder.load(one), 8) for of_vector in totals for one in of_vector]
            return context.make_tuple(builder, signature.return_type, sums)

        return _sums(count, weights, scales, x, x_scales), codegen

    return dots


def _product_by(one: Any, two: Any) -> Any:
    """A product of some rows of a matrix and N vectors, by intrinsics for one vector and for two."""

    @njit
    def product(weights, scales, start, first, last, width, x, x_scales, result, column):
        count, groups = last - first, width // GROUP
        if count <= 0:
            return
        vectors, stride = x.shape
        part = (count + STREAMS - 1) // STREAMS
        # where STREAMS does not divide the rows, the last parts overlap
        b, c, d = min(part, count - part), min(2 * part, count - part), count - part
        for row in range(first, first + part):
            at, to = start + row * width, column + row
            starts = (at, at + b * width, at + c * width, at + d * width)
            n = 0
            # the rows stay in the nearest cache for all vectors
            while n + 1 < vectors:
                sums = two(weights, starts, scales, x, (n * stride, (n + 1) * stride), x_scales, groups)
                result[n, to], result[n, to + b], result[n, to + c], result[n, to + d] = sums[:4]
                n += 1
                result[n, to], result[n, to + b], result[n, to + c], result[n, to + d] = sums[4:]
                n += 1
            if n < vectors:
                sums = one(weights, starts, scales, x, (n * stride,), x_scales, groups)
                result[n, to], result[n, to + b], result[n, to + c], result[n, to + d] = sums

    return product


product_float32 = _product_by(_float_dots(1, False), _float_dots(2, False))
product_bfloat16 = _product_by(_float_dots(1, True), _float_dots(2, True))
product_int8 = _product_by(_integer_dots(1, 8), _integer_dots(2, 8))
product_int4 = _product_by(_integer_dots(1, 4), _integer_dots(2, 4))


@njit
def to_int16(x, width, rounded):
    """Rounds x[:, :width] to 16 bits, with one scale per group."""
    for n in range(len(x)):
        for group in range(width // GROUP):
            part = x[n, group * GROUP : (group + 1) * GROUP]
            numbers = rounded.numbers[n, group * GROUP : (group + 1) * GROUP]
            largest = SMALLEST_MAXIMUM
            for i in range(GROUP):
                largest = max(largest, abs(part[i]))
            rounded.scales[n, group] = largest / np.float32(LARGEST_INT16)
            inverse = np.float32(LARGEST_INT16) / largest
            for i in range(GROUP):
                numbers[i] = np.int16(np.rint(part[i] * inverse))


@njit
def prepare_input(weights, x, width, rounded):
    """Rounds the vectors that are multiplied next, where the weights of that kind need it."""
    if weights in (INT8, INT4):
        to_int16(x, width, rounded)


@njit
def product(weights, matrices, start, rows, width, x, rounded, result, column):
    """result[:, column + row] = a row of the matrix at `start` times x[:, :width], for some rows.

    `rows` is the first and the last of them, as a range, and `width` a multiple of GROUP. x is prepared by
    `prepare_input`.
    """
    first, last = rows
    scales, numbers, of_numbers = matrices.scales, rounded.numbers, rounded.scales
    if weights == FULL:
        product_float32(matrices.full, scales, start, first, last, width, x, of_numbers, result, column)
    elif weights == HALF_PRECISION:
        product_bfloat16(matrices.half, scales, start, first, last, width, x, of_numbers, result, column)
    elif weights == INT8:
        product_int8(matrices.quantized, scales, start, first, last, width, numbers, of_numbers, result, column)
    else:
        product_int4(matrices.nibbles, scales, start, first, last, width, numbers, of_numbers, result, column)


@njit
def product_for_greatest(matrices, start, rows, width, x, rounded, result):
    """As `product` of float32, for the output layer: only numbers that may be the greatest are exact, and all others
    are less.
    """
    first, last = rows
    to_int16(x, width, rounded)
    widest, full, scales = matrices.widest_scales, matrices.full, matrices.scales
    product_int8(matrices.quantized, scales, 0, first, last, width, rounded.numbers, rounded.scales, result, 0)
    for n in range(len(x)):
        # a weight is wrong by at most half its scale, a 16-bit number by at most half its own
        reach = np.float32(0)
        for group in range(width // GROUP):
            for i in range(group * GROUP, (group + 1) * GROUP):
                reach += np.float32(0.5) * abs(x[n, i])
            reach += np.float32(0.5) * rounded.scales[n, group] * np.float32(LARGEST_INT8 * GROUP)
        reach *= ROUNDING_MARGIN
        least = np.float32(-np.inf)
        for row in range(first, last):
            lower = result[n, row] - widest[row] * reach
            if lower > least:
                least = lower
        for row in range(first, last):
            # written so that nan is recomputed, and so reported
            if not (result[n, row] + widest[row] * reach < least):
                alone = slice(n, n + 1)
                product_float32(full, scales, start, row, row + 1, width, x[alone], rounded.scales, result[alone], 0)


@njit
def padded(width):
    """The next multiple of GROUP."""
    return (width + GROUP - 1) // GROUP * GROUP


# --- the parts of a layer ---


@njit(fastmath=IN_LANES)
def normalize(x, gain, eps, result):
    """Writes RMSNorm of x into `result`, which may be x."""
    n = len(gain)
    squares = np.float32(0)
    for i in range(n):
        squares += x[i] * x[i]
    factor = np.float32(1) / np.sqrt(squares / np.float32(n) + eps)
    for i in range(n):
        result[i] = x[i] * factor * gain[i]


@njit
def rotate(head, cos, sin, layout):
    """Rotates the pairs of a head's features by the angles of a position, in place; cos[0] and sin[0] are its row."""
    half = len(head) // 2
    for i in range(half):
        first, second = (i, i + half) if layout == HALF else (2 * i, 2 * i + 1)
        a, b = head[first], head[second]
        head[first] = a * cos[0, i] - b * sin[0, i]
        head[second] = b * cos[0, i] + a * sin[0, i]


@njit(fastmath={"contract"})
def exp(x):
    """e to the x, within 1.1 units in the last place. LLVM vectorizes it, unlike a call to libm.

    x = n ln 2 + r, with ln 2 in two parts, and e to the r by the polynomial of Cephes' expf (Moshier).
    """
    within = x if x > EXP_OF_ZERO else EXP_OF_ZERO
    within = within if within < EXP_OF_INFINITY else EXP_OF_INFINITY
    n = np.rint(within * LOG2_E)
    r = within - n * LN_2_HIGH - n * LN_2_LOW
    series = np.float32(1.9875691500e-4)
    series = series * r + np.float32(1.3981999507e-3)
    series = series * r + np.float32(8.3334519073e-3)
    series = series * r + np.float32(4.1665795894e-2)
    series = series * r + np.float32(1.6666665459e-1)
    series = series * r + np.float32(5.0000001201e-1)
    power_of_2 = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    result = (series * r * r + r + np.float32(1)) * power_of_2
    result = result if x >= EXP_OF_ZERO else np.float32(0)
    result = result if x <= EXP_OF_INFINITY else np.float32(np.inf)
    return result if x == x else x


@njit(fastmath=IN_LANES)
def scores_of(q, keys, length, scores):
    """scores[t] = the product of q and keys[t], four rows at a time."""
    width = len(q)
    # at the end the last row may be computed more than once
    for a in range(0, length, 4):
        b, c, d = min(a + 1, length - 1), min(a + 2, length - 1), min(a + 3, length - 1)
        row_a, row_b, row_c, row_d = keys[a], keys[b], keys[c], keys[d]
        sum_a = sum_b = sum_c = sum_d = np.float32(0)
        for i in range(width):
            sum_a += row_a[i] * q[i]
            sum_b += row_b[i] * q[i]
            sum_c += row_c[i] * q[i]
            sum_d += row_d[i] * q[i]
        scores[a], scores[b], scores[c], scores[d] = sum_a, sum_b, sum_c, sum_d


@njit(fastmath=IN_LANES, error_model="numpy")
def attend(q, keys, values, length, scores, result):
    """One head's attention over the first `length` rows of its keys and values, (C, K) each."""
    width = len(q)
    scale = np.float32(1) / np.sqrt(np.float32(width))
    scores_of(q, keys, length, scores)
    largest = np.float32(-np.inf)
    for t in range(length):
        scores[t] *= scale
        largest = max(largest, scores[t])
    total = np.float32(0)
    for t in range(length):
        scores[t] = exp(scores[t] - largest)
        total += scores[t]
    for i in range(width):
        result[i] = 0
    in_fours = length // 4 * 4
    for t in range(0, in_fours, 4):
        value_a, value_b, value_c, value_d = values[t], values[t + 1], values[t + 2], values[t + 3]
        a, b, c, d = scores[t], scores[t + 1], scores[t + 2], scores[t + 3]
        for i in range(width):
            result[i] += a * value_a[i] + b * value_b[i] + c * value_c[i] + d * value_d[i]
    for t in range(in_fours, length):
        share, value = scores[t], values[t]
        for i in range(width):
            result[i] += share * value[i]
    for i in range(width):
        result[i] /= total


@njit(fastmath=IN_LANES, error_model="numpy")
def activate(gate, up, gated, result):
    """Writes SiLU(gate) into `result`, times `up` in a gated network."""
    for i in range(len(gate)):
        x = gate[i]
        result[i] = x / (np.float32(1) + exp(-x))
    if gated:
        for i in range(len(gate)):
            result[i] *= up[i]


@njit
def add_sublayer(x, added, gain, bias, shape):
    """Adds a sublayer's result and bias, which may be empty, to x, (N, D), and normalizes what the model does."""
    for n in range(len(x)):
        result = added[n, : len(gain)]
        for i in range(len(bias)):
            result[i] += bias[i]
        if shape.norm == OUTPUT:
            normalize(result, gain, shape.norm_eps, result)
        for i in range(len(gain)):
            x[n, i] += result[i]
        if shape.norm == POST:
            normalize(x[n], gain, shape.norm_eps, x[n])


@njit
def begin_sublayer(x, gain, shape, normed):
    """Writes the inputs of a sublayer into `normed`: x, or RMSNorm of x if norms precede sublayers."""
    for n in range(len(x)):
        if shape.norm == PRE:
            normalize(x[n], gain, shape.norm_eps, normed[n])
        else:
            normed[n, : len(gain)] = x[n, : len(gain)]


@njit
def prepare_heads(shape, qkv, gains, bias, cos, sin, layout):
    """Adds biases to queries, keys and values, and normalizes and rotates queries and keys, in place."""
    width, queries = shape.d_head, shape.num_heads * shape.d_head
    keys = shape.num_kv_heads * width
    for i in range(len(bias)):
        qkv[i] += bias[i]
    q_gains, k_gains = gains[: shape.q_gains], gains[shape.q_gains :][: shape.k_gains]
    if shape.q_gains == width:
        for h in range(shape.num_heads + shape.num_kv_heads):
            head = qkv[h * width : (h + 1) * width]
            normalize(head, q_gains if h < shape.num_heads else k_gains, shape.norm_eps, head)
    elif shape.q_gains > 0:
        normalize(qkv[:queries], q_gains, shape.norm_eps, qkv[:queries])
        both = qkv[queries : queries + keys]
        normalize(both, k_gains, shape.norm_eps, both)
    if layout != NONE:
        for h in range(shape.num_heads + shape.num_kv_heads):
            rotate(qkv[h * width : (h + 1) * width], cos, sin, layout)


@njit
def append_to_cache(shape, groups, qkv, keys, values, position):
    """Writes the keys and values of some groups of heads into the cache of one layer and sequence, (G, C, K)."""
    width, queries = shape.d_head, shape.num_heads * shape.d_head
    for g in range(groups[0], groups[1]):
        for i in range(width):
            keys[g, position, i] = qkv[queries + g * width + i]
            values[g, position, i] = qkv[queries + (shape.num_kv_heads + g) * width + i]


@njit
def attend_groups(shape, groups, qkv, keys, values, seen, scores, attended):
    """Attends with the query heads of some groups over the rows from seen[0] to seen[1] of the cache."""
    width, heads = shape.d_head, shape.num_heads // shape.num_kv_heads
    for h in range(groups[0] * heads, groups[1] * heads):
        g = h // heads
        query, result = qkv[h * width : (h + 1) * width], attended[h * width : (h + 1) * width]
        attend(query, keys[g, seen[0] :], values[g, seen[0] :], seen[1] - seen[0], scores, result)


@njit
def attention(shape, weights, cache, scratch, layer, places, thread, times):
    """Attention of all tokens of one layer, from STACKED to ATTENTION; returns how many times threads have waited."""
    positions, sequences = places
    queries, keys_width = shape.num_heads * shape.d_head, shape.num_kv_heads * shape.d_head
    stacked = queries + 2 * keys_width
    qkv = scratch.own[thread, HEADS]
    offset = layer * (2 * shape.d_model + shape.q_gains + shape.k_gains) + 2 * shape.d_model
    gains = weights.gains[offset : offset + shape.q_gains + shape.k_gains]
    bias = weights.biases[layer * (stacked + shape.d_model) :][: stacked * shape.biased]
    layout, window = weights.rope[layer], weights.window[layer]
    groups = part_of(shape, thread, shape.num_kv_heads)
    for n in range(len(positions)):
        # each thread works on a copy, because the norm of all heads together reads them all
        qkv[n, :stacked] = scratch.shared[STACKED, n, :stacked]
        # without positions there are no tables
        here = positions[n] if layout != NONE else 0
        prepare_heads(shape, qkv[n], gains, bias, weights.cos[here:], weights.sin[here:], layout)
        keys, values = cache.keys[layer, sequences[n]], cache.values[layer, sequences[n]]
        append_to_cache(shape, groups, qkv[n], keys, values, positions[n])
    for n in range(len(positions)):
        keys, values = cache.keys[layer, sequences[n]], cache.values[layer, sequences[n]]
        end = positions[n] + 1
        seen = (max(0, end - window) if window > 0 else 0, end)
        attend_groups(shape, groups, qkv[n], keys, values, seen, scratch.scores[thread], scratch.shared[ATTENTION, n])
    return wait_for_all(shape, scratch, times)


# --- the tokens ---


def decode_tokens(shape, weights, cache, scratch, inputs, positions, sequences, thread, logits):
    """Computes the logits of the tokens that follow some tokens.

    Args:
        shape: Shape.
        weights: Weights.
        cache: Cache, with the keys and values of all earlier positions. The step adds the entries of the tokens.
        scratch: Scratch.
        inputs: The embeddings of the tokens, (N, D).
        positions, sequences: Their positions in the cache, and rows of the cache's B, (N) each. They are not checked.
            Tokens of one sequence have ascending positions without a gap.
        thread: Number of the thread that calls; each of shape.threads threads makes the same call.
        logits: The result, (N, V), or (0, V) where only keys and values are needed.
    """
    count, width, queries = len(inputs), shape.d_model, shape.num_heads * shape.d_head
    keys_width = shape.num_kv_heads * shape.d_head
    kind, matrices, starts, shared = shape.weights, weights.matrices, weights.starts, scratch.shared
    rounded = Rounded(scratch.numbers[thread, :count], scratch.scales[thread, :count])
    own = scratch.own[thread]
    x, normed = own[RESIDUAL, :count], own[NORMED, :count]
    attended, activated = own[ATTENDED, :count], own[ACTIVATED, :count]
    wide, per_head, inner = padded(width), padded(queries), padded(shape.d_ff)
    x[:, :width] = inputs
    times = 1
    for layer in range(shape.num_layers):
        at = starts[layer * MATRICES_PER_LAYER :]
        gains = weights.gains[layer * (2 * width + shape.q_gains + shape.k_gains) :]
        gain_1, gain_2 = gains[:width], gains[width : 2 * width]
        stacked = queries + 2 * keys_width
        bias = weights.biases[layer * (stacked + width) + stacked :][: width * shape.biased]

        begin_sublayer(x, gain_1, shape, normed)
        prepare_input(kind, normed, wide, rounded)
        result = shared[STACKED, :count]
        product(kind, matrices, at[0], part_of(shape, thread, queries), wide, normed, rounded, result, 0)
        rows = part_of(shape, thread, keys_width)
        product(kind, matrices, at[1], rows, wide, normed, rounded, result, queries)
        product(kind, matrices, at[2], rows, wide, normed, rounded, result, queries + keys_width)
        times = wait_for_all(shape, scratch, times)
        times = attention(shape, weights, cache, scratch, layer, (positions, sequences), thread, times)
        attended[:, :queries] = shared[ATTENTION, :count, :queries]
        prepare_input(kind, attended, per_head, rounded)
        rows = part_of(shape, thread, width)
        product(kind, matrices, at[3], rows, per_head, attended, rounded, shared[ADDED, :count], 0)
        times = wait_for_all(shape, scratch, times)
        # a copy, because all threads normalize it
        normed[:, :width] = shared[ADDED, :count, :width]
        add_sublayer(x, normed, gain_1, bias, shape)

        begin_sublayer(x, gain_2, shape, normed)
        prepare_input(kind, normed, wide, rounded)
        rows = part_of(shape, thread, shape.d_ff)
        product(kind, matrices, at[4], rows, wide, normed, rounded, shared[GATE, :count], 0)
        if shape.gated:
            product(kind, matrices, at[5], rows, wide, normed, rounded, shared[UP, :count], 0)
        for n in range(count):
            gate, up = shared[GATE, n, rows[0] : rows[1]], shared[UP, n, rows[0] : rows[1]]
            activate(gate, up, shape.gated, shared[INNER, n, rows[0] : rows[1]])
        times = wait_for_all(shape, scratch, times)
        activated[:, : shape.d_ff] = shared[INNER, :count, : shape.d_ff]
        prepare_input(kind, activated, inner, rounded)
        rows = part_of(shape, thread, width)
        product(kind, matrices, at[6], rows, inner, activated, rounded, shared[ADDED, :count], 0)
        times = wait_for_all(shape, scratch, times)
        normed[:, :width] = shared[ADDED, :count, :width]
        add_sublayer(x, normed, gain_2, bias[:0], shape)
    if len(logits) == 0:
        return
    last = weights.gains[shape.num_layers * (2 * width + shape.q_gains + shape.k_gains) :]
    for n in range(count):
        if shape.norm == NONE:
            normed[n, :width] = x[n, :width]
        else:
            normalize(x[n], last, shape.norm_eps, normed[n])
    rows = part_of(shape, thread, shape.vocab_size)
    start = starts[shape.num_layers * MATRICES_PER_LAYER]
    if len(matrices.widest_scales) > 0:
        product_for_greatest(matrices, start, rows, wide, normed, rounded, logits)
    else:
        prepare_input(kind, normed, wide, rounded)
        product(kind, matrices, start, rows, wide, normed, rounded, logits, 0)


def _tuple_type(kind: type, *members: Any) -> Any:
    return types.BaseTuple.from_types(members, kind)


_SHAPE = _tuple_type(Shape, *[int64] * 14, float32)
# mapped files are read-only
_MATRICES = _tuple_type(
    Matrices, *[types.Array(kind, 1, "C", readonly=True) for kind in (float32, uint16, int8, uint8, float32, float32)]
)
_WEIGHTS = _tuple_type(
    Weights,
    _MATRICES,
    int64[::1],
    float32[::1],
    float32[::1],
    int64[::1],
    int64[::1],
    float32[:, ::1],
    float32[:, ::1],
)
_CACHE = _tuple_type(Cache, float32[:, :, :, :, ::1], float32[:, :, :, :, ::1])
_SCRATCH = _tuple_type(
    Scratch,
    float32[:, :, :, ::1],
    float32[:, :, ::1],
    int16[:, :, ::1],
    float32[:, :, ::1],
    float32[:, ::1],
    int64[::1],
)
SIGNATURE = void(_SHAPE, _WEIGHTS, _CACHE, _SCRATCH, float32[:, ::1], int64[::1], int64[::1], int64, float32[:, ::1])


@functools.cache
def compiled() -> Callable[..., None]:
    """The compiled kernel, from Numba's disk cache where possible; else it is compiled in this process, with a warning.

    A read-only installation with an unwritable home has no place for the cache, and a cache file may be damaged.
    """
    try:
        return njit(SIGNATURE, nogil=True, cache=True)(decode_tokens)
    except Exception as error:  # noqa: BLE001 - Numba raises RuntimeError, OSError or any error of unpickling
        warnings.warn(
            f"the decoding kernel is compiled in this process, because Numba's cache failed: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return njit(SIGNATURE, nogil=True)(decode_tokens)
