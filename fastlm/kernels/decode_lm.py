"""One token through a decoder-only Transformer, compiled by Numba into one function: from an id to logits.

With one sequence, every weight is read and multiplied once per token, so the time is the time of reading memory. One
core has a higher memory throughput if it reads at a few places in turn, each in order, than at a single place. So every
matrix is multiplied in STREAMS parts of equally many rows, one row of each part at a time. The weights are packed
(`generation.packing`): all matrices, row by row, in the order of their use,

    for each layer   queries, keys and values ((H + 2 G) K rows of D), output (D rows of H K),
                     w1 and, in a gated network, w3 (F rows of D each), w2 (D rows of F)
    at the end       the output layer (V rows of D)

Each row is padded with zeros to a multiple of GROUP numbers. Matrices are either float32 in `Matrices.full`, or int8 in
`Matrices.quantized` with one scale per group in `Matrices.scales`; the other arrays are empty. With int8 weights a
vector is rounded to 16 bits, also with one scale per group, and groups are multiplied in exact integer arithmetic. Only
the rounding of the weights loses precision.

If only the greatest logit is needed, `full` holds all matrices, `quantized` and `scales` hold a second copy of the
output layer, and `widest_scales` holds the greatest scale of each of its rows. The error of an 8-bit logit is bounded.
So only few rows must be multiplied in float32; the logits of all others are known to be smaller.

Sums are computed in a fixed number of lanes, whose order is that of the compiled code: the same machine gives the same
bits. Module constants are frozen into Numba's disk cache, and a jitted function here calls only functions of this file,
because that cache does not notice edits in other files.

B batch, D d_model, H num_heads, G num_kv_heads, K d_head, F d_ff, V vocab_size, L num_layers, C capacity of the cache,
P positions.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import float32, int8, int16, int64, njit, types, void
from numba.core import cgutils
from numba.extending import intrinsic

STREAMS = 4
GROUP = 64  # numbers that share a scale; sums of this many products of 8 and 16 bits fit into 32 bits
QUARTER = 16
LARGEST_INT8, LARGEST_INT16 = 127, 32767
SMALLEST_MAXIMUM = np.float32(1e-30)  # LARGEST_INT16 divided by it is finite
ROUNDING_MARGIN = np.float32(1.02)  # for the rounding of the sums in a bound

# values of Shape.norm and Shape.rope
NONE, PRE, POST = range(3)
HALF, INTERLEAVED = 1, 2
# rows of Scratch.vectors: intermediate vectors, each padded with zeros
RESIDUAL, NORMED, HEADS, ATTENDED, HIDDEN, ACTIVATED, SCORES = range(7)
SCRATCH_ROWS = 7


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
    rope: Any
    gated: Any
    qk_norm: Any
    norm_eps: Any


class Matrices(NamedTuple):
    """The packed matrices, see the top of this file."""

    full: Any
    quantized: Any
    scales: Any
    widest_scales: Any


class Weights(NamedTuple):
    """All weights of a model.

    embedding: (V, D). gains: of RMSNorm; for each layer those before attention (D), before the feed-forward network
    (D), of queries and of keys (K each), and finally the last one (D). cos, sin: (P, K / 2), unused without positions.
    """

    embedding: Any
    matrices: Any
    gains: Any
    cos: Any
    sin: Any


class Cache(NamedTuple):
    """Keys and values, (L, B, G, C, K) each."""

    keys: Any
    values: Any


class Rounded(NamedTuple):
    """A vector in 16 bits: its numbers, and one scale per group."""

    numbers: Any
    scales: Any


class Scratch(NamedTuple):
    """Memory for intermediate results.

    vectors: (SCRATCH_ROWS, the widest vector padded), zeros at first; each row is used for one vector only. rounded: as
    long as such a row.
    """

    vectors: Any
    rounded: Any


# limits of exp: below the first it is 0, above the second infinity
EXP_OF_ZERO, EXP_OF_INFINITY = np.float32(-87.33), np.float32(88.37)
LOG2_E = np.float32(1.4426950408889634)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)

# sums may be split into lanes and products fused; nan and infinity keep their meaning
IN_LANES = {"reassoc", "contract"}

I8, I16, I32, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()


# --- products of matrix and vector ---


def _lanes(value_type: Any, lanes: int) -> Any:
    return ir.VectorType(value_type, lanes)


def _shuffled(builder: ir.IRBuilder, vector: Any, lanes: list[int]) -> Any:
    nothing = ir.Constant(vector.type, ir.Undefined)
    return builder.shuffle_vector(vector, nothing, ir.Constant(_lanes(I32, len(lanes)), lanes))


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


@intrinsic
def dots_int8(typingctx, quantised, starts, scales, x, x_scales, groups):
    """The products of the rows of int8 weights at `starts` and a vector x of int16, as float32."""

    def codegen(context, builder, signature, args):
        def pointer(k, offset=None):
            data = context.make_array(signature.args[k])(context, builder, args[k]).data
            return data if offset is None else builder.gep(data, [offset])

        def load(address, value_type):
            loaded = builder.load(builder.bitcast(address, _lanes(value_type, QUARTER).as_pointer()))
            loaded.align = value_type.width // 8
            return loaded

        first_numbers = cgutils.unpack_tuple(builder, args[1])
        rows = [pointer(0, start) for start in first_numbers]
        scales_of_rows = [pointer(2, builder.udiv(start, start.type(GROUP))) for start in first_numbers]
        vector, vector_scales = pointer(3), pointer(4)
        nothing = ir.Constant(_lanes(F32, 8), [0.0] * 8)
        totals = [cgutils.alloca_once_value(builder, nothing) for _ in rows]
        with cgutils.for_range(builder, args[5]) as loop:
            word = loop.index.type
            first = builder.mul(loop.index, word(GROUP))
            sums = [ir.Constant(_lanes(I32, 8), [0] * 8)] * len(rows)
            for quarter in range(0, GROUP, QUARTER):
                at = builder.add(first, word(quarter))
                numbers = load(builder.gep(vector, [at]), I16)
                for k, row in enumerate(rows):
                    weights = builder.sext(load(builder.gep(row, [at]), I8), _lanes(I16, QUARTER))
                    sums[k] = builder.add(sums[k], _pair_products(context, builder, weights, numbers))
            vector_scale = builder.load(builder.gep(vector_scales, [loop.index]))
            for row_scales, products, total in zip(scales_of_rows, sums, totals, strict=True):
                scale = builder.fmul(builder.load(builder.gep(row_scales, [loop.index])), vector_scale)
                single = builder.insert_element(ir.Constant(_lanes(F32, 8), ir.Undefined), scale, I32(0))
                scaled = builder.fmul(
                    builder.sitofp(products, _lanes(F32, 8)), _shuffled(builder, single, [0] * 8), flags=("contract",)
                )
                builder.store(builder.fadd(builder.load(total), scaled, flags=("contract",)), total)
        results = []
        for total in totals:
            lanes = builder.load(total)
            for half in (4, 2, 1):
                low = _shuffled(builder, lanes, list(range(half)))
                lanes = builder.fadd(low, _shuffled(builder, lanes, list(range(half, 2 * half))))
            results.append(builder.extract_element(lanes, I32(0)))
        return context.make_tuple(builder, signature.return_type, results)

    of_rows = types.UniTuple(types.float32, STREAMS)
    return of_rows(quantised, types.UniTuple(types.int64, STREAMS), scales, x, x_scales, types.int64), codegen


@njit
def to_int16(x, width, rounded):
    """Rounds x[:width] to 16 bits, with one scale per group."""
    for group in range(width // GROUP):
        part = x[group * GROUP : (group + 1) * GROUP]
        numbers = rounded.numbers[group * GROUP : (group + 1) * GROUP]
        largest = SMALLEST_MAXIMUM
        for i in range(GROUP):
            largest = max(largest, abs(part[i]))
        rounded.scales[group] = largest / np.float32(LARGEST_INT16)
        inverse = np.float32(LARGEST_INT16) / largest
        for i in range(GROUP):
            numbers[i] = np.int16(np.rint(part[i] * inverse))


@njit(fastmath=IN_LANES)
def dots(weights, starts, x, width):
    """The products of the rows of weights at `starts` and x[:width]."""
    a, b, c, d = starts
    row_a, row_b, row_c, row_d = weights[a:][:width], weights[b:][:width], weights[c:][:width], weights[d:][:width]
    sum_a = sum_b = sum_c = sum_d = np.float32(0)
    for i in range(width):
        sum_a += row_a[i] * x[i]
        sum_b += row_b[i] * x[i]
        sum_c += row_c[i] * x[i]
        sum_d += row_d[i] * x[i]
    return sum_a, sum_b, sum_c, sum_d


@njit
def product_float32(matrices, start, rows, width, x, result):
    """result[:rows] = the float32 matrix at `start` times x[:width]."""
    part = (rows + STREAMS - 1) // STREAMS
    # where STREAMS does not divide the rows, the last parts overlap
    b, c, d = min(part, rows - part), min(2 * part, rows - part), rows - part
    for a in range(part):
        at = start + a * width
        starts = (at, at + b * width, at + c * width, at + d * width)
        sums = dots(matrices.full, starts, x, width)
        result[a], result[a + b], result[a + c], result[a + d] = sums


@njit
def product_int8(matrices, start, rows, width, x, rounded, result):
    """result[:rows] = the int8 matrix at `start` times x[:width], which is rounded into `rounded`."""
    to_int16(x, width, rounded)
    groups = width // GROUP
    part = (rows + STREAMS - 1) // STREAMS
    # where STREAMS does not divide the rows, the last parts overlap
    b, c, d = min(part, rows - part), min(2 * part, rows - part), rows - part
    for a in range(part):
        at = start + a * width
        starts = (at, at + b * width, at + c * width, at + d * width)
        sums = dots_int8(matrices.quantized, starts, matrices.scales, rounded.numbers, rounded.scales, groups)
        result[a], result[a + b], result[a + c], result[a + d] = sums


@njit
def product(matrices, start, rows, width, x, rounded, result):
    """result[:rows] = the matrix at `start` times x[:width]; returns the start of the next matrix.

    `width` is a multiple of GROUP. The matrix is int8 where there is no float32 array.
    """
    if len(matrices.full) == 0:
        product_int8(matrices, start, rows, width, x, rounded, result)
    else:
        product_float32(matrices, start, rows, width, x, result)
    return start + rows * width


@njit
def product_for_greatest(matrices, start, rows, width, x, rounded, result):
    """As `product`, for the output layer: only numbers that may be the greatest are exact, and all others are less."""
    product_int8(matrices, 0, rows, width, x, rounded, result)
    # a weight is wrong by at most half its scale, a 16-bit number by at most half its own
    reach = np.float32(0)
    for group in range(width // GROUP):
        for i in range(group * GROUP, (group + 1) * GROUP):
            reach += np.float32(0.5) * abs(x[i])
        reach += np.float32(0.5) * rounded.scales[group] * np.float32(LARGEST_INT8 * GROUP)
    reach *= ROUNDING_MARGIN
    widest = matrices.widest_scales
    least = np.float32(-np.inf)
    for row in range(rows):
        lower = result[row] - widest[row] * reach
        if lower > least:
            least = lower
    for row in range(rows):
        # written so that nan is recomputed, and so reported
        if not (result[row] + widest[row] * reach < least):
            at = start + row * width
            result[row] = dots(matrices.full, (at, at, at, at), x, width)[0]


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


@njit(fastmath=IN_LANES, error_model="numpy")
def attend(q, keys, values, length, scores, result):
    """One head's attention over the first `length` rows of its keys and values, (C, K) each."""
    width = len(q)
    scale = np.float32(1) / np.sqrt(np.float32(width))
    # four rows at a time share the overhead of a short loop; at the end the last row may be computed more than once
    rows = keys.reshape(-1)
    for a in range(0, length, 4):
        b, c, d = min(a + 1, length - 1), min(a + 2, length - 1), min(a + 3, length - 1)
        products = dots(rows, (a * width, b * width, c * width, d * width), q, width)
        scores[a], scores[b], scores[c], scores[d] = products
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
def activate(hidden, width, gated, result):
    """Writes SiLU(hidden[:width]) into `result`, times hidden[width : 2 * width] in a gated network."""
    for i in range(width):
        x = hidden[i]
        result[i] = x / (np.float32(1) + exp(-x))
    if gated:
        up = hidden[width:]
        for i in range(width):
            result[i] *= up[i]


@njit
def add_sublayer(x, added, gain, shape):
    """x += added, then RMSNorm of x if norms follow sublayers."""
    for i in range(len(x)):
        x[i] += added[i]
    if shape.norm == POST:
        normalize(x, gain, shape.norm_eps, x)


@njit
def begin_sublayer(x, gain, shape, normed):
    """Writes the input of a sublayer into `normed`: x, or RMSNorm of x if norms precede sublayers."""
    if shape.norm == PRE:
        normalize(x, gain, shape.norm_eps, normed)
    else:
        normed[: len(x)] = x


@njit
def prepare_heads(shape, qkv, head_gains, cos, sin):
    """Normalizes and rotates queries and keys, where the model does so, in place."""
    width = shape.d_head
    for h in range(shape.num_heads + shape.num_kv_heads):
        head = qkv[h * width : (h + 1) * width]
        if shape.qk_norm:
            gain = head_gains[:width] if h < shape.num_heads else head_gains[width:]
            normalize(head, gain, shape.norm_eps, head)
        if shape.rope != NONE:
            rotate(head, cos, sin, shape.rope)


@njit
def attend_all_heads(shape, qkv, keys, values, position, scores, attended):
    """Appends keys and values of one layer and sequence, (G, C, K), at `position`, and attends with all heads."""
    width, queries = shape.d_head, shape.num_heads * shape.d_head
    for g in range(shape.num_kv_heads):
        for i in range(width):
            keys[g, position, i] = qkv[queries + g * width + i]
            values[g, position, i] = qkv[queries + (shape.num_kv_heads + g) * width + i]
    for h in range(shape.num_heads):
        g = h * shape.num_kv_heads // shape.num_heads
        query, result = qkv[h * width : (h + 1) * width], attended[h * width : (h + 1) * width]
        attend(query, keys[g], values[g], position + 1, scores, result)


# --- the token ---


def decode_token(shape, weights, cache, scratch, token, position, sequence, logits):
    """Computes the logits of the token that follows `token`.

    Args:
        shape: Shape.
        weights: Weights.
        cache: Cache, with the keys and values of all earlier positions. The step adds the keys and values of `token`.
        scratch: Scratch.
        token, position, sequence: Id, position in the cache, and row of the cache's B. They are not checked.
        logits: The result, (V,).
    """
    width, queries = shape.d_model, shape.num_heads * shape.d_head
    stacked = queries + 2 * shape.num_kv_heads * shape.d_head
    inner = shape.d_ff * (2 if shape.gated else 1)
    vectors, matrices, rounded = scratch.vectors, weights.matrices, scratch.rounded
    x, normed, qkv = vectors[RESIDUAL, :width], vectors[NORMED], vectors[HEADS]
    attended, hidden, activated = vectors[ATTENDED], vectors[HIDDEN], vectors[ACTIVATED]
    for i in range(width):
        x[i] = weights.embedding[token, i]
    at = 0
    for layer in range(shape.num_layers):
        gains = weights.gains[layer * 2 * (width + shape.d_head) :]
        gain_1, gain_2, head_gains = gains[:width], gains[width : 2 * width], gains[2 * width :][: 2 * shape.d_head]
        begin_sublayer(x, gain_1, shape, normed)
        at = product(matrices, at, stacked, padded(width), normed, rounded, qkv)
        # without positions there are no tables
        here = position if shape.rope != NONE else 0
        prepare_heads(shape, qkv, head_gains, weights.cos[here:], weights.sin[here:])
        keys, values = cache.keys[layer, sequence], cache.values[layer, sequence]
        attend_all_heads(shape, qkv, keys, values, position, vectors[SCORES], attended)
        at = product(matrices, at, width, padded(queries), attended, rounded, normed)
        add_sublayer(x, normed, gain_1, shape)
        begin_sublayer(x, gain_2, shape, normed)
        at = product(matrices, at, inner, padded(width), normed, rounded, hidden)
        activate(hidden, shape.d_ff, shape.gated, activated)
        at = product(matrices, at, width, padded(shape.d_ff), activated, rounded, normed)
        add_sublayer(x, normed, gain_2, shape)
    if shape.norm == NONE:
        normed[:width] = x
    else:
        normalize(x, weights.gains[shape.num_layers * 2 * (width + shape.d_head) :], shape.norm_eps, normed)
    if len(matrices.widest_scales) > 0:
        product_for_greatest(matrices, at, shape.vocab_size, padded(width), normed, rounded, logits)
    else:
        product(matrices, at, shape.vocab_size, padded(width), normed, rounded, logits)


def _tuple_type(kind: type, *members: Any) -> Any:
    return types.BaseTuple.from_types(members, kind)


_SHAPE = _tuple_type(Shape, *[int64] * 11, float32)
_MATRICES = _tuple_type(Matrices, float32[::1], int8[::1], float32[::1], float32[::1])
_WEIGHTS = _tuple_type(Weights, float32[:, ::1], _MATRICES, float32[::1], float32[:, ::1], float32[:, ::1])
_CACHE = _tuple_type(Cache, float32[:, :, :, :, ::1], float32[:, :, :, :, ::1])
_SCRATCH = _tuple_type(Scratch, float32[:, ::1], _tuple_type(Rounded, int16[::1], float32[::1]))
SIGNATURE = void(_SHAPE, _WEIGHTS, _CACHE, _SCRATCH, int64, int64, int64, float32[::1])


@functools.cache
def compiled() -> Callable[..., None]:
    """The compiled kernel, from Numba's disk cache where possible; else it is compiled in this process, with a warning.

    A read-only installation with an unwritable home has no place for the cache, and a cache file may be damaged.
    """
    try:
        return njit(SIGNATURE, nogil=True, cache=True)(decode_token)
    except Exception as error:  # noqa: BLE001 - Numba raises RuntimeError, OSError or any error of unpickling
        warnings.warn(
            f"the decoding kernel is compiled in this process, because Numba's cache failed: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return njit(SIGNATURE, nogil=True)(decode_token)
