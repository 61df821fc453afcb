"""Decoding steps on the CPU by the Numba kernel: the model's weights as `kernels.decode_lm` reads them.

B sequences, N tokens, D d_model, V vocab_size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fastlm.generation.decoding import KVCache, layers_of
from fastlm.generation.quantization import INT4_GROUP, Float32Array, quantize, to_int8
from fastlm.kernels import decode_lm as kernel
from fastlm.model.config import ModelConfig
from fastlm.model.layers import Linear, RMSNorm, SwiGLU
from fastlm.model.parameters import parameter_shapes
from fastlm.model.state import unwrapped
from fastlm.model.transformer import TransformerLM

NORMS = {"none": kernel.NONE, "pre": kernel.PRE, "post": kernel.POST, "output": kernel.OUTPUT}
LAYOUTS = {"half": kernel.HALF, "interleaved": kernel.INTERLEAVED}
MAX_TOKENS = 8  # of one call; more are computed in several
# dtypes of matrices that the kernel reads, and of models whose matrices are packed in fewer bits
MATRIX_DTYPES = (torch.float32, torch.bfloat16)
VECTOR_DTYPES = (*MATRIX_DTYPES, torch.float16)


@dataclass(frozen=True)
class Packed:
    """Packed matrices: their kind, one of the kernel's, the arrays, and where each of them begins in numbers."""

    kind: int
    matrices: kernel.Matrices
    starts: tuple[int, ...]


class KernelStep:
    """A step by the compiled kernel, for a float32 or bfloat16 model in main memory and one caller at a time.

    A float16 model may have weights of 8 and 4 bits too.

    Weights of float32 are copied into large memory pages, which are read 1.5 times as fast. Weights of bfloat16 are
    read where they are, if their rows are multiples of 64 numbers, and multiplied in float32. After further training
    of the model, `pack` copies them again.

    Up to 8 sequences are computed at once, and weights are read once for all of them. The logits of a sequence depend
    on neither its neighbours nor the number of threads.

    Args:
        model: The model.
        int8: Whether matrices are stored in 8 bits, with one scale per 64 numbers of a row, which maps the largest of
            them to 127. A token then reads a quarter of the memory of float32, and logits differ slightly.
        int4: Whether matrices are stored in 4 bits, with one scale per 32 numbers of a row.
        greatest: Whether only the greatest logit is needed, as at temperature 0. The output layer is then stored in 8
            bits too, and only rows that may have the greatest logit are multiplied in float32. The greatest logit is
            the same as without this option; the others are smaller, and not exact. `generate` accepts such a step only
            with temperature 0 and no repetition penalty.
        num_threads: Number of threads that compute a step.
        packed: Matrices that were packed before, and where each begins, to use in place of the model's.
        copy: Whether float32 weights are copied. Without a copy the step sees changes of the model; this needs rows of
            multiples of 64 numbers.

    Raises:
        ValueError: The model has another dtype or device, several of `int8`, `int4` and `greatest` are given, or
            weights cannot be read in place.
    """

    cache_dtype = torch.float32

    def __init__(
        self,
        model: TransformerLM,
        *,
        int8: bool = False,
        int4: bool = False,
        greatest: bool = False,
        num_threads: int = 1,
        copy: bool = True,
        packed: Packed | None = None,
    ) -> None:
        given = [name for name, value in (("int8", int8), ("int4", int4), ("greatest", greatest)) if value]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} are given; expected one of them, as greatest needs float32 weights"
            )
        self.config = config = model.config
        self.greatest = greatest
        self._dtypes = MATRIX_DTYPES if packed is None and not (int8 or int4) else VECTOR_DTYPES
        self._check(model)
        narrow = model.lm_head.weight.dtype == torch.bfloat16
        if greatest and narrow:
            raise ValueError("greatest is given for a model of torch.bfloat16; expected torch.float32")
        if packed is not None:
            self._begin(packed.kind, num_threads)
            self._in_place, self._matrices, self.packed = True, packed.matrices, packed
            self._use(model, packed.matrices, packed.starts)
            return
        kind = kernel.INT8 if int8 else kernel.INT4 if int4 else kernel.HALF_PRECISION if narrow else kernel.FULL
        self._begin(kind, num_threads)
        self._in_place = not (int8 or int4) and in_place(model) and (narrow or not copy)
        if not copy and not self._in_place:
            raise ValueError("copy is False, but weights are quantized, or their rows are no multiples of 64 numbers")
        size = packed_starts(model)[-1]
        head = config.vocab_size * kernel.padded(config.d_model) if greatest else 0
        self._matrices = empty_matrices(self.kind, 0 if self._in_place else size, head, config.vocab_size)
        self.pack(model)

    def _begin(self, kind: int, num_threads: int) -> None:
        """Everything but the weights."""
        self.kind = kind
        if type(num_threads) is not int or num_threads < 1:
            raise ValueError(f"num_threads is {num_threads!r}; expected an integer of at least 1")
        self.num_threads = num_threads
        self._step = kernel.compiled()
        self._shape = _shape(self.config, self.kind, self.num_threads)
        self._scratch: kernel.Scratch | None = None
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def _check(self, model: TransformerLM) -> None:
        """Raises ValueError unless the kernel, which checks nothing, can rely on the model's configuration."""
        if not fits(model, self._dtypes) or model.config != self.config:
            weight = model.lm_head.weight
            raise ValueError(
                f"the kernel takes a model of {' or '.join(map(str, self._dtypes))} on cpu and of one shape; "
                f"got {weight.dtype} on {weight.device} and {model.config}"
            )
        expected = parameter_shapes(self.config)
        for name, parameter in unwrapped(dict(model.named_parameters())).items():
            if tuple(parameter.shape) != expected.get(name):
                raise ValueError(
                    f"{name} has the shape {tuple(parameter.shape)}; the configuration says {expected.get(name)}"
                )

    @torch.no_grad()
    def pack(self, model: TransformerLM) -> None:
        """Copies the current weights of a model with the same configuration.

        Raises:
            ValueError: The model has another dtype, device or configuration.
        """
        self._check(model)
        matrices = self._matrices
        if self._in_place:
            matrices, starts = _where_they_are(model)
        else:
            *starts, _ = bounds = packed_starts(model)
            for matrix, (start, end) in zip(_matrices(model), pairwise(bounds), strict=True):
                self._pack_matrix(matrix, start, end)
        self.packed = Packed(self.kind, matrices, tuple(starts))
        self._use(model, matrices, starts)

    @torch.no_grad()
    def _use(self, model: TransformerLM, matrices: kernel.Matrices, starts: Sequence[int]) -> None:
        """Takes matrices that begin at `starts`, and copies of the vectors."""
        config = self.config
        self._embedding = model.token_embeddings.weight
        ropes = [layer.attn.rope for layer in layers_of(model)]
        rope = next((rope for rope in ropes if rope is not None), None)
        cos, sin = (rope.cos, rope.sin) if rope else (torch.empty(0, 0), torch.empty(0, 0))
        layouts = [kernel.NONE if rope is None else LAYOUTS[config.rope_layout] for rope in ropes]
        windows = [config.window_of(layer) or 0 for layer in range(config.num_layers)]
        self._weights = kernel.Weights(
            matrices=_read_only(matrices),
            starts=_starts(config, starts),
            gains=_gains(model),
            biases=_biases(model),
            rope=np.array(layouts, np.int64),
            window=np.array(windows, np.int64),
            cos=cos.float().numpy(),
            sin=sin.float().numpy(),
        )

    def _pack_matrix(self, matrix: Tensor, start: int, end: int) -> None:
        """Copies one matrix to its place in the packed arrays."""
        packed = self._matrices
        rows, width = matrix.shape
        stride = kernel.padded(width)
        if self.kind in (kernel.INT8, kernel.INT4):
            eighth, group = (1, kernel.GROUP) if self.kind == kernel.INT8 else (2, INT4_GROUP)
            numbers = packed.quantized if self.kind == kernel.INT8 else packed.nibbles
            scales = packed.scales[start // group : end // group]
            quantize(matrix, stride, self.kind, numbers[start // eighth : end // eighth], scales)
            return
        if self.kind == kernel.HALF_PRECISION:
            bits = packed.half[start:end].reshape(rows, stride)[:, :width]
            bits[:] = matrix.view(torch.int16).numpy().view(np.uint16)
            return
        copy = packed.full[start:end].reshape(rows, stride)[:, :width]
        # rounding the output layer to 8 bits takes longer than seeing that it has not changed
        if self.greatest and end == len(packed.full) and not _equal(copy, matrix.numpy()):
            to_int8(matrix, stride, packed.quantized, packed.scales)
            packed.widest_scales[:] = packed.scales.reshape(rows, -1).max(1)
        copy[:] = matrix.numpy()

    def __call__(self, token_ids: Tensor, cache: KVCache) -> Tensor:
        """Processes one token per sequence.

        Args:
            token_ids: Ids, (B,).
            cache: The cache, to which the tokens are appended.

        Returns:
            Logits of the next tokens, (B, V), float32.

        Raises:
            IndexError: An id is out of range.
            ValueError: The cache has another model's shape or dtype.
        """
        self._check_cache(token_ids, cache, len(cache.lengths))
        positions = cache.lengths.clamp(max=cache.capacity - 1)
        logits = self._logits(token_ids, positions, torch.arange(len(token_ids)), cache)
        cache.lengths.add_(1)
        return logits

    def verify(self, token_ids: Tensor, cache: KVCache) -> Tensor:
        """Processes several tokens of the only sequence of a cache, whose length stays the same.

        Args:
            token_ids: Ids of the next tokens, (N,).
            cache: The cache; its entries beyond its length are overwritten.

        Returns:
            Logits after each token, (N, V), with the bits that one call for each gives.

        Raises:
            IndexError: An id is out of range.
            ValueError: The cache has another model's shape or dtype, several sequences, or no place for the tokens.
        """
        self._check_cache(token_ids, cache, len(token_ids))
        start, count = int(cache.lengths[0]), len(token_ids)
        if len(cache.lengths) != 1 or start + count > cache.capacity:
            raise ValueError(
                f"{count} tokens for a cache of {len(cache.lengths)} sequences, {start} tokens and a capacity of "
                f"{cache.capacity}; expected one sequence with space for them"
            )
        return self._logits(token_ids, torch.arange(start, start + count), torch.zeros(count, dtype=torch.int64), cache)

    def _check_cache(self, token_ids: Tensor, cache: KVCache, ids: int) -> None:
        config = self.config
        sequences = len(cache.lengths)
        expected = (config.num_layers, sequences, config.kv_heads, cache.capacity, config.head_width)
        fits_in_scratch = cache.capacity <= config.context_length and token_ids.shape == (ids,)
        if cache.keys.shape != expected or cache.keys.dtype != torch.float32 or not fits_in_scratch:
            raise ValueError(
                f"{tuple(token_ids.shape)} ids and a cache of {tuple(cache.keys.shape)}, {cache.keys.dtype}; expected "
                f"({ids},) ids and {expected}, torch.float32, for up to {config.context_length} tokens"
            )
        for token in token_ids.tolist():
            if not 0 <= token < config.vocab_size:
                raise IndexError(f"token id {token} is out of range; expected 0 to {config.vocab_size - 1}")

    @torch.no_grad()
    def _logits(
        self, token_ids: Tensor, positions: Tensor, sequences: Tensor, cache: KVCache, *, needed: bool = True
    ) -> Tensor:
        """The logits of tokens at positions of sequences, (N, V), or (0, V) where only keys and values are needed."""
        arrays = kernel.Cache(cache.keys.numpy(), cache.values.numpy())
        inputs = self._embedded(token_ids).float()
        logits = torch.empty(len(token_ids) if needed else 0, self.config.vocab_size, dtype=torch.float32)
        for first in range(0, len(token_ids), MAX_TOKENS):
            some = slice(first, first + MAX_TOKENS)
            places = (positions[some].contiguous().numpy(), sequences[some].contiguous().numpy())
            scratch = self._scratch_for(len(inputs[some]))
            self._run(arrays, scratch, inputs[some].numpy(), *places, logits[some].numpy())
        return logits

    def _embedded(self, token_ids: Tensor) -> Tensor:
        """The rows of the embedding, (N, D)."""
        return F.embedding(token_ids, self._embedding)

    def _scratch_for(self, tokens: int) -> kernel.Scratch:
        """Memory for intermediate results of at least `tokens` tokens."""
        if self._scratch is None or self._scratch.own.shape[2] < tokens:
            config, threads = self.config, self.num_threads
            stacked = (config.num_heads + 2 * config.kv_heads) * config.head_width
            widest = kernel.padded(max(config.d_model, stacked, config.d_ff))
            self._scratch = kernel.Scratch(
                own=np.zeros((threads, kernel.OWN_ROWS, tokens, widest), np.float32),
                shared=np.zeros((kernel.SHARED_ROWS, tokens, widest), np.float32),
                numbers=np.zeros((threads, tokens, widest), np.int16),
                scales=np.zeros((threads, tokens, widest // kernel.GROUP), np.float32),
                scores=np.zeros((threads, config.context_length), np.float32),
                counter=np.zeros(2, np.int64),
            )
        return self._scratch

    def _run(
        self, cache: kernel.Cache, scratch: kernel.Scratch, inputs: Any, positions: Any, sequences: Any, logits: Any
    ) -> None:
        """Calls the kernel in all threads."""
        before = (self._shape, self._weights, cache, scratch, inputs, positions, sequences)
        if self.num_threads == 1:
            self._step(*before, 0, logits)
            return
        scratch.counter[:] = 0
        others: list[Future[None]] = []
        try:
            others += [self._threads().submit(self._step, *before, n, logits) for n in range(1, self.num_threads)]
            self._step(*before, 0, logits)
        except BaseException:
            scratch.counter[1] = 1  # or the others would wait for this thread
            raise
        finally:
            wait(others)
        for other in others:
            other.result()

    def _threads(self) -> ThreadPoolExecutor:
        """The other threads, which a forked process must start for itself."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), ThreadPoolExecutor(self.num_threads - 1, "fastlm-decode"))
        return self._pool[1]


@contextmanager
def kernel_step(model: TransformerLM, greatest: bool) -> Iterator[KernelStep]:
    """Makes a KernelStep of the current weights. Its memory is kept for the next one while the model lives."""
    greatest = greatest and model.lm_head.weight.dtype == torch.float32
    step = _idle_steps.pop(model, None)
    if step is None or step.greatest != greatest:
        step = KernelStep(model, greatest=greatest)
    else:
        step.pack(model)
    try:
        yield step
    finally:
        _idle_steps[model] = step


# At most one per model; of several in use at once, the last to be returned is kept. It is global because an attribute
# of the model would be copied and pickled with it.
_idle_steps: WeakKeyDictionary[TransformerLM, KernelStep] = WeakKeyDictionary()


def fits(model: TransformerLM, dtypes: Sequence[torch.dtype] = MATRIX_DTYPES) -> bool:
    """Whether the kernel can compute a model: all parameters of one of the dtypes, in main memory."""
    kinds = {(parameter.dtype, parameter.device.type) for parameter in model.parameters()}
    return len(kinds) == 1 and kinds <= {(dtype, "cpu") for dtype in dtypes}


def in_place(model: TransformerLM) -> bool:
    """Whether the kernel can read the matrices of a model where they are."""
    return all(matrix.is_contiguous() and matrix.shape[1] % kernel.GROUP == 0 for matrix in _matrices(model))


def packed_starts(model: TransformerLM) -> list[int]:
    """Where each packed matrix of a model begins, in numbers, and where the last one ends."""
    sizes = (len(matrix) * kernel.padded(matrix.shape[1]) for matrix in _matrices(model))
    return [0, *accumulate(sizes)]


def empty_matrices(kind: int, size: int, head: int, vocab_size: int) -> kernel.Matrices:
    """Memory for packed matrices of `size` numbers, and for a second copy of `head` numbers of the output layer."""
    groups = {kernel.INT8: size // kernel.GROUP, kernel.INT4: size // INT4_GROUP}.get(kind, head // kernel.GROUP)
    # zeros, because rows are padded with zeros
    return kernel.Matrices(
        full=np.zeros(size if kind == kernel.FULL else 0, np.float32),
        half=np.zeros(size if kind == kernel.HALF_PRECISION else 0, np.uint16),
        quantized=np.zeros(size if kind == kernel.INT8 else head, np.int8),
        nibbles=np.zeros(size // 2 if kind == kernel.INT4 else 0, np.uint8),
        scales=np.zeros(groups, np.float32),
        widest_scales=np.zeros(vocab_size if head else 0, np.float32),
    )


def _where_they_are(model: TransformerLM) -> tuple[kernel.Matrices, list[int]]:
    """The matrices of a model as one array that begins at the first of them, and where in it each begins."""
    first = next(_matrices(model)).detach()
    size = first.element_size()
    starts = []
    for matrix in _matrices(model):
        start, odd = divmod(matrix.data_ptr() - first.data_ptr(), size)
        if odd:
            raise ValueError("weights are not aligned with each other; expected a model that was loaded in one dtype")
        starts.append(start)
    matrices = empty_matrices(kernel.FULL, 0, 0, 0)
    if first.dtype == torch.bfloat16:
        return matrices._replace(half=first.view(torch.int16).numpy().view(np.uint16).reshape(-1)), starts
    return matrices._replace(full=first.numpy().reshape(-1)), starts


def _read_only(matrices: kernel.Matrices) -> kernel.Matrices:
    """Views that Numba takes for read-only arrays, as which a mapped file comes."""
    views = [array.view() for array in matrices]
    for view in views:
        view.flags.writeable = False
    return kernel.Matrices(*views)


def _starts(config: ModelConfig, starts: Sequence[int]) -> Any:
    """Where each matrix begins, with an unused entry where there is no w3."""
    each = kernel.MATRICES_PER_LAYER
    found = np.zeros(each * config.num_layers + 1, np.int64)
    columns = range(each) if config.ffn == "swiglu" else (0, 1, 2, 3, 4, 6)
    layers = found[:-1].reshape(config.num_layers, each)
    layers[:, list(columns)] = np.array(starts[:-1], np.int64).reshape(config.num_layers, -1)
    found[-1] = starts[-1]
    return found


def _equal(a: Float32Array, b: Float32Array) -> bool:
    """Whether all bits are equal, also the bits of nan."""
    return np.array_equal(a.view(np.int32), b.view(np.int32))


def _shape(config: ModelConfig, weights: int, threads: int) -> kernel.Shape:
    joint = config.qk_norm_width == "projection"
    return kernel.Shape(
        d_model=config.d_model,
        num_heads=config.num_heads,
        num_kv_heads=config.kv_heads,
        d_head=config.head_width,
        d_ff=config.d_ff,
        vocab_size=config.vocab_size,
        num_layers=config.num_layers,
        norm=NORMS[config.norm],
        gated=int(config.ffn == "swiglu"),
        q_gains=config.qk_norm * config.head_width * (config.num_heads if joint else 1),
        k_gains=config.qk_norm * config.head_width * (config.kv_heads if joint else 1),
        biased=int(config.attention_bias != "none"),
        weights=weights,
        threads=threads,
        norm_eps=np.float32(config.norm_eps),
    )


def _matrices(model: TransformerLM) -> Iterator[Tensor]:
    """All matrices except the embedding, (rows, width), in the order of their use."""
    for layer in layers_of(model):
        attn, ffn = layer.attn, layer.ffn
        yield from (attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight, attn.output_proj.weight, ffn.w1.weight)
        if isinstance(ffn, SwiGLU):
            yield ffn.w3.weight
        yield ffn.w2.weight
    yield model.lm_head.weight


def _gains(model: TransformerLM) -> Float32Array:
    """The gains of all RMSNorms in the kernel's order; ones where a layer has no norm."""

    def gain(norm: torch.nn.Module, width: int) -> Float32Array:
        return norm.weight.float().numpy() if isinstance(norm, RMSNorm) else np.ones(width, np.float32)

    gains = []
    for layer in layers_of(model):
        gains += [gain(norm, model.config.d_model) for norm in (layer.ln1, layer.ln2)]
        gains += [gain(norm, 0) for norm in (layer.attn.q_norm, layer.attn.k_norm)]
    return np.concatenate([*gains, gain(model.ln_final, model.config.d_model)])


def _biases(model: TransformerLM) -> Float32Array:
    """The biases of attention in the kernel's order; zeros where a projection has none, and nothing without any."""
    if model.config.attention_bias == "none":
        return np.zeros(0, np.float32)

    def bias(projection: Linear) -> Float32Array:
        rows = len(projection.weight)
        return np.zeros(rows, np.float32) if projection.bias is None else projection.bias.float().numpy()

    biases = []
    for layer in layers_of(model):
        attn = layer.attn
        biases += [bias(one) for one in (attn.q_proj, attn.k_proj, attn.v_proj, attn.output_proj)]
    return np.concatenate(biases)
