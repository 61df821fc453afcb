"""One token through a decoder-only Transformer, compiled by Numba into one function: an id to the logits of the next.

With one sequence every weight is read once for each token and multiplied once, so that the time is that of reading
memory. One core reads more of it in a second at a few places at once, each in order, than at a single one: every matrix
is multiplied in STREAMS parts of equally many rows, a row of each part at a time. The weights come packed
(`generation.packing`): all matrices, row by row, in the order in which a token meets them,

    for each layer   queries, keys and values ((H + 2 G) K rows of D), output (D of H K),
                     w1 and, where it is gated, w3 (F of D each), w2 (D of F)
    at the end       the output layer (V of D)

each row padded with zeros to whole groups of GROUP numbers. They are float32 in `weights`, or int8 in `quantised` with
one scale for each group in `scales`; the array that is not used is empty. With int8 weights a vector is brought to 16
bits, one scale for each group as well, and groups are multiplied in exact integer arithmetic: what is lost is lost by
the weights.

Where only the greatest logit is asked for, `weights` has all, `quantised` and `scales` have the output layer once more,
and `widest_scales` the greatest scale of each of its rows. By how much a logit in 8 bits can be wrong is bounded, so
that only few rows need be multiplied in float32; all others are known to have lesser logits.

Sums are taken in lanes of a fixed number, whose order is that of the compiled code: the same machine gives the same
bits. Module constants are frozen into Numba's disk cache, and a jitted function here calls only functions of this file,
because that cache does not see edits elsewhere.

B batch, D d_model, H num_heads, G num_kv_heads, K d_head, F d_ff, V vocab_size, L num_layers, C capacity of the cache.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import float32, int8, int16, int64, njit, types, void
from numba.core import cgutils
from numba.extending import intrinsic

STREAMS = 4
GROUP = 64  # numbers that share a scale; sums of as many products of 8 and 16 bits fit 32 bits
QUARTER = 16
LARGEST_INT8, LARGEST_INT16 = 127, 32767
NEXT_TO_NOTHING = np.float32(1e-30)  # whose inverse times LARGEST_INT16 is a number
WITH_ROUNDING = np.float32(1.02)

# places in `shape`
D, H, G, K, F, V, L, NORM, ROPE, GATED, QK_NORM = range(11)
# values of NORM, ROPE
NONE, PRE, POST = range(3)
HALF, INTERLEAVED = 1, 2
# rows of `room`: vectors on the way, each padded with zeros
RESIDUAL, NORMED, HEADS, ATTENDED, HIDDEN, ACTIVATED, SCORES = range(7)
ROOM_ROWS = 7

# of exp: below and above them it is zero and infinity
EXP_OF_ZERO, EXP_OF_INFINITY = np.float32(-87.33), np.float32(88.37)
LOG2_E = np.float32(1.4426950408889634)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)

# sums may be split into lanes and products fused; nan and infinity stay what they are
IN_LANES = {"reassoc", "contract"}

I8, I16, I32, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()


# --- products of matrix and vector ---


def _lanes(value_type: Any, lanes: int) -> Any:
    return ir.VectorType(value_type, lanes)


def _shuffled(builder: ir.IRBuilder, vector: Any, lanes: list[int]) -> Any:
    nothing = ir.Constant(vector.type, ir.Undefined)
    return builder.shuffle_vector(vector, nothing, ir.Constant(_lanes(I32, len(lanes)), lanes))


def _pair_products(context: Any, builder: ir.IRBuilder, a: Any, b: Any) -> Any:
    """Of two vectors of 16 int16 the 8 sums of two neighbouring products, int32."""
    if "+avx2" in context.codegen().magic_tuple()[2].split(","):
        # LLVM does not find this instruction in what is written below
        signature = ir.FunctionType(_lanes(I32, 8), [_lanes(I16, 16)] * 2)
        multiply = cgutils.get_or_insert_function(builder.module, signature, "llvm.x86.avx2.pmadd.wd")
        return builder.call(multiply, (a, b))
    products = builder.mul(builder.sext(a, _lanes(I32, 16)), builder.sext(b, _lanes(I32, 16)))
    evens, odds = list(range(0, 16, 2)), list(range(1, 16, 2))
    return builder.add(_shuffled(builder, products, evens), _shuffled(builder, products, odds))


@intrinsic
def dots_int8(typingctx, quantised, starts, scales, x, x_scales, groups):
    """The products of the rows of int8 weights that begin at `starts` and a vector x of int16, as float32."""

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
def to_int16(x, width, numbers, number_scales):
    """Brings x[:width] to 16 bits, one scale for each group."""
    for group in range(width // GROUP):
        part, into = x[group * GROUP : (group + 1) * GROUP], numbers[group * GROUP : (group + 1) * GROUP]
        largest = NEXT_TO_NOTHING
        for i in range(GROUP):
            largest = max(largest, abs(part[i]))
        number_scales[group] = largest / np.float32(LARGEST_INT16)
        inverse = np.float32(LARGEST_INT16) / largest
        for i in range(GROUP):
            into[i] = np.int16(np.rint(part[i] * inverse))


@njit(fastmath=IN_LANES)
def dots(weights, starts, x, width):
    """The products of the rows of weights that begin at `starts` and x[:width]."""
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
def product(weights, quantised, scales, start, rows, width, x, numbers, number_scales, result):
    """result[:rows] = the matrix that begins at `start` times x[:width]; returns where the next matrix begins.

    `width` is a multiple of GROUP. The matrix is in `quantised` where there are no `weights`.
    """
    in_8_bits = len(weights) == 0
    if in_8_bits:
        to_int16(x, width, numbers, number_scales)
    part = (rows + STREAMS - 1) // STREAMS
    # where STREAMS does not divide the rows, the last parts overlap
    b, c, d = min(part, rows - part), min(2 * part, rows - part), rows - part
    for a in range(part):
        at = start + a * width
        starts = (at, at + b * width, at + c * width, at + d * width)
        if in_8_bits:
            sums = dots_int8(quantised, starts, scales, numbers, number_scales, width // GROUP)
        else:
            sums = dots(weights, starts, x, width)
        result[a], result[a + b], result[a + c], result[a + d] = sums
    return start + rows * width


@njit
def product_to_find_greatest(
    weights, quantised, scales, widest_scales, start, rows, width, x, numbers, number_scales, result
):
    """As `product`, for the output layer: of `result` only what may be its greatest is exact, and all else is less."""
    product(weights[:0], quantised, scales, 0, rows, width, x, numbers, number_scales, result)
    # a weight is wrong by half its scale at most, a number of 16 bits by half of its own; WITH_ROUNDING is for all sums
    reach = np.float32(0)
    for group in range(width // GROUP):
        for i in range(group * GROUP, (group + 1) * GROUP):
            reach += np.float32(0.5) * abs(x[i])
        reach += np.float32(0.5) * number_scales[group] * np.float32(LARGEST_INT8 * GROUP)
    reach *= WITH_ROUNDING
    least = np.float32(-np.inf)
    for row in range(rows):
        lower = result[row] - widest_scales[row] * reach
        if lower > least:
            least = lower
    for row in range(rows):
        # nan is to be seen, wherever it comes from
        if not (result[row] + widest_scales[row] * reach < least):
            at = start + row * width
            result[row] = dots(weights, (at, at, at, at), x, width)[0]


@njit
def padded(width):
    """The next multiple of GROUP."""
    return (width + GROUP - 1) // GROUP * GROUP


# --- the parts of a layer ---


@njit(fastmath=IN_LANES)
def normalise(x, gain, eps, result):
    """RMSNorm of x into `result`, which may be x."""
    n = len(gain)
    squares = np.float32(0)
    for i in range(n):
        squares += x[i] * x[i]
    factor = np.float32(1) / np.sqrt(squares / np.float32(n) + eps)
    for i in range(n):
        result[i] = x[i] * factor * gain[i]


@njit
def turn(head, cos, sin, layout):
    """Turns the pairs of a head's features by the angles of a position, in place."""
    half = len(head) // 2
    for i in range(half):
        first, second = (i, i + half) if layout == HALF else (2 * i, 2 * i + 1)
        a, b = head[first], head[second]
        head[first] = a * cos[i] - b * sin[i]
        head[second] = b * cos[i] + a * sin[i]


@njit(fastmath={"contract"})
def exp(x):
    """e to the x, within 1.1 units in the last place: LLVM makes lanes of it, which it does not of a call to libm.

    x = n ln 2 + r, where ln 2 is taken in two parts, and e to the r by the polynomial of Cephes' expf (Moshier).
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
    # four rows at a time, so that what a loop over few numbers costs by itself is paid once for them; at the end the
    # last row may be taken more than once
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
    """SiLU of hidden[:width], times hidden[width : 2 * width] where the network is gated."""
    for i in range(width):
        x = hidden[i]
        result[i] = x / (np.float32(1) + exp(-x))
    if gated:
        up = hidden[width:]
        for i in range(width):
            result[i] *= up[i]


@njit
def add_normalised(x, added, gain, eps, norm):
    """x += added, and after it, where the norm stands there, RMSNorm."""
    for i in range(len(x)):
        x[i] += added[i]
    if norm == POST:
        normalise(x, gain, eps, x)


# --- the token ---


def decode_token(
    shape, eps, token, position, sequence, embedding, weights, quantised, scales, widest_scales, gains, cos, sin, keys,
    values, room, numbers, number_scales, logits,
):  # fmt: skip
    """The logits of what follows `token`, which stands at `position` of a sequence whose cache has what is before it.

    Args:
        shape: (11,), see the places above.
        eps: Of RMSNorm.
        token, position: Within V and C; nothing here checks them.
        sequence: Which one of the cache's B.
        embedding: (V, D).
        weights, quantised, scales, widest_scales: See the top of this file; widest_scales is empty or (V,).
        gains: Of RMSNorm: for each layer that before attention (D), before the feed-forward network (D), of queries and
            of keys (K each), at the end the last one (D).
        cos, sin: (positions, K / 2); not looked at without rotary positions.
        keys, values: (L, B, G, C, K); get a row each.
        room: (ROOM_ROWS, the widest vector padded), all zeros at first; a row is used for one vector only.
        numbers, number_scales: As long as a row of `room`, and one for each of its groups.
        logits: (V,), the result.
    """
    width, heads, kv_heads, head_width = shape[D], shape[H], shape[G], shape[K]
    norm, queries = shape[NORM], shape[H] * shape[K]
    stacked, inner = queries + 2 * shape[G] * shape[K], shape[F] * (2 if shape[GATED] else 1)
    x, normed, qkv = room[RESIDUAL, :width], room[NORMED], room[HEADS]
    attended, hidden, activated, scores = room[ATTENDED], room[HIDDEN], room[ACTIVATED], room[SCORES]
    for i in range(width):
        x[i] = embedding[token, i]
    at = 0
    for layer in range(shape[L]):
        first_gain = layer * 2 * (width + head_width)
        gain_1, gain_2 = gains[first_gain : first_gain + width], gains[first_gain + width : first_gain + 2 * width]
        head_gains = gains[first_gain + 2 * width : first_gain + 2 * width + 2 * head_width]
        if norm == PRE:
            normalise(x, gain_1, eps, normed)
        else:
            normed[:width] = x
        at = product(weights, quantised, scales, at, stacked, padded(width), normed, numbers, number_scales, qkv)
        for h in range(heads + kv_heads):
            head = qkv[h * head_width : (h + 1) * head_width]
            if shape[QK_NORM]:
                normalise(head, head_gains[:head_width] if h < heads else head_gains[head_width:], eps, head)
            if shape[ROPE] != NONE:
                turn(head, cos[position], sin[position], shape[ROPE])
        for g in range(kv_heads):
            for i in range(head_width):
                keys[layer, sequence, g, position, i] = qkv[queries + g * head_width + i]
                values[layer, sequence, g, position, i] = qkv[queries + (kv_heads + g) * head_width + i]
        for h in range(heads):
            g = h * kv_heads // heads
            attend(
                qkv[h * head_width : (h + 1) * head_width], keys[layer, sequence, g], values[layer, sequence, g],
                position + 1, scores, attended[h * head_width : (h + 1) * head_width],
            )  # fmt: skip
        at = product(weights, quantised, scales, at, width, padded(queries), attended, numbers, number_scales, normed)
        add_normalised(x, normed, gain_1, eps, norm)
        if norm == PRE:
            normalise(x, gain_2, eps, normed)
        else:
            normed[:width] = x
        at = product(weights, quantised, scales, at, inner, padded(width), normed, numbers, number_scales, hidden)
        activate(hidden, shape[F], shape[GATED], activated)
        at = product(weights, quantised, scales, at, width, padded(shape[F]), activated, numbers, number_scales, normed)
        add_normalised(x, normed, gain_2, eps, norm)
    if norm == NONE:
        normed[:width] = x
    else:
        normalise(x, gains[shape[L] * 2 * (width + head_width) :], eps, normed)
    if len(widest_scales) > 0:
        product_to_find_greatest(
            weights,
            quantised,
            scales,
            widest_scales,
            at,
            shape[V],
            padded(width),
            normed,
            numbers,
            number_scales,
            logits,
        )
    else:
        product(weights, quantised, scales, at, shape[V], padded(width), normed, numbers, number_scales, logits)


SIGNATURE = void(
    int64[::1], float32, int64, int64, int64, float32[:, ::1], float32[::1], int8[::1], float32[::1], float32[::1],
    float32[::1], float32[:, ::1], float32[:, ::1], float32[:, :, :, :, ::1], float32[:, :, :, :, ::1],
    float32[:, ::1], int16[::1], float32[::1], float32[::1],
)  # fmt: skip


@functools.cache
def compiled() -> Callable[..., None]:
    """The compiled kernel, from Numba's disk cache where that works; where not, it is compiled in this process."""
    try:
        return njit(SIGNATURE, nogil=True, cache=True)(decode_token)
    except Exception:  # Numba raises RuntimeError, OSError or whatever unpickling a damaged file gives
        return njit(SIGNATURE, nogil=True)(decode_token)
