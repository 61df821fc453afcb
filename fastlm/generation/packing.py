"""Decoding steps on the CPU by the Numba kernel: the model's weights packed as `kernels.decode_lm` reads them.

B sequences, D d_model, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fastlm.generation.decoding import KVCache, layers_of
from fastlm.kernels import decode_lm as kernel
from fastlm.model.config import ModelConfig
from fastlm.model.layers import RMSNorm, SwiGLU
from fastlm.model.parameters import parameter_shapes
from fastlm.model.state import unwrapped
from fastlm.model.transformer import TransformerLM

Float32Array = np.ndarray[Any, np.dtype[np.float32]]
Int8Array = np.ndarray[Any, np.dtype[np.int8]]

NORMS = {"none": kernel.NONE, "pre": kernel.PRE, "post": kernel.POST}
LAYOUTS = {"half": kernel.HALF, "interleaved": kernel.INTERLEAVED}


class KernelStep:
    """A step by the compiled kernel, for a float32 model in main memory and one thread at a time.

    The weights are copied into large memory pages, which are read 1.5 times as fast. After further training of the
    model, `pack` copies them again.

    Args:
        model: The model.
        int8: Whether matrices are stored in 8 bits, with one scale per 64 numbers of a row, which maps the largest of
            them to 127. A token then reads a quarter of the memory, and logits differ slightly.
        greatest: Whether only the greatest logit is needed, as at temperature 0. The output layer is then stored in 8
            bits too, and only rows that may have the greatest logit are multiplied in float32. The greatest logit is
            the same as without this option; the others are smaller, and not exact. `generate` accepts such a step only
            with temperature 0 and no repetition penalty.

    Raises:
        ValueError: The model has another dtype or device, or both `int8` and `greatest` are given.
    """

    def __init__(self, model: TransformerLM, *, int8: bool = False, greatest: bool = False) -> None:
        if int8 and greatest:
            raise ValueError("int8 and greatest are given; expected one of them, as greatest needs float32 weights")
        self.config = config = model.config
        self.greatest = greatest
        self._step = kernel.compiled()
        self._shape = _shape(config)
        # zeros, because rows are padded with zeros
        size = sum(len(matrix) * kernel.padded(matrix.shape[1]) for matrix in _matrices(model))
        int8_size = size if int8 else config.vocab_size * kernel.padded(config.d_model) if greatest else 0
        self._matrices = kernel.Matrices(
            full=np.zeros(0 if int8 else size, np.float32),
            quantized=np.zeros(int8_size, np.int8),
            scales=np.zeros(int8_size // kernel.GROUP, np.float32),
            widest_scales=np.zeros(config.vocab_size if greatest else 0, np.float32),
        )
        inner = config.d_ff * (2 if config.ffn == "swiglu" else 1)
        stacked = (config.num_heads + 2 * config.kv_heads) * config.head_width
        widest = kernel.padded(max(config.d_model, stacked, inner, config.context_length))
        self._scratch = kernel.Scratch(
            np.zeros((kernel.SCRATCH_ROWS, widest), np.float32),
            kernel.Rounded(np.zeros(widest, np.int16), np.zeros(widest // kernel.GROUP, np.float32)),
        )
        self.pack(model)

    @torch.no_grad()
    def pack(self, model: TransformerLM) -> None:
        """Copies the current weights of a model with the same configuration.

        Raises:
            ValueError: The model has another dtype, device or configuration.
        """
        if not fits(model) or model.config != self.config:
            weight = model.lm_head.weight
            raise ValueError(
                f"the kernel takes a model of torch.float32 on cpu and of one shape; "
                f"got {weight.dtype} on {weight.device} and {model.config}"
            )
        # the kernel relies on the configuration and checks nothing
        expected = parameter_shapes(self.config)
        for name, parameter in unwrapped(dict(model.named_parameters())).items():
            if tuple(parameter.shape) != expected.get(name):
                raise ValueError(
                    f"{name} has the shape {tuple(parameter.shape)}; the configuration says {expected.get(name)}"
                )
        start = 0
        for matrix in _matrices(model):
            end = start + len(matrix) * kernel.padded(matrix.shape[1])
            self._pack_matrix(matrix, start, end)
            start = end
        rope = layers_of(model)[0].attn.rope
        cos, sin = (rope.cos, rope.sin) if rope else (torch.empty(0, 0), torch.empty(0, 0))
        # not copied, because a token reads only one row
        embedding = model.token_embeddings.weight.contiguous().numpy()
        self._weights = kernel.Weights(
            embedding, self._matrices, _gains(model), cos.float().numpy(), sin.float().numpy()
        )

    def _pack_matrix(self, matrix: Tensor, start: int, end: int) -> None:
        """Copies one matrix to its place in the packed arrays."""
        packed = self._matrices
        rows, width = matrix.shape
        stride = kernel.padded(width)
        if not len(packed.full):
            scales = packed.scales[start // kernel.GROUP : end // kernel.GROUP]
            _to_int8(matrix, stride, packed.quantized[start:end], scales)
            return
        copy = packed.full[start:end].reshape(rows, stride)[:, :width]
        # rounding the output layer to 8 bits takes longer than seeing that it has not changed
        if self.greatest and end == len(packed.full) and not _equal(copy, matrix.numpy()):
            _to_int8(matrix, stride, packed.quantized, packed.scales)
            packed.widest_scales[:] = packed.scales.reshape(rows, -1).max(1)
        copy[:] = matrix.numpy()

    def __call__(self, token_ids: Tensor, cache: KVCache) -> Tensor:
        """Processes one token per sequence, one sequence after the other.

        Args:
            token_ids: Ids, (B,).
            cache: The cache, to which the tokens are appended.

        Returns:
            Logits of the next tokens, (B, V), float32.

        Raises:
            IndexError: An id is out of range.
            ValueError: The cache has another model's shape or dtype.
        """
        config = self.config
        sequences = len(cache.lengths)
        expected = (config.num_layers, sequences, config.kv_heads, cache.capacity, config.head_width)
        fits_in_scratch = cache.capacity <= config.context_length and token_ids.shape == (sequences,)
        if cache.keys.shape != expected or cache.keys.dtype != torch.float32 or not fits_in_scratch:
            raise ValueError(
                f"{tuple(token_ids.shape)} ids and a cache of {tuple(cache.keys.shape)}, {cache.keys.dtype}; expected "
                f"({sequences},) ids and {expected}, torch.float32, for up to {config.context_length} tokens"
            )
        arrays = kernel.Cache(cache.keys.numpy(), cache.values.numpy())
        logits = torch.empty(sequences, config.vocab_size, dtype=torch.float32)
        for row, (token, length) in enumerate(zip(token_ids.tolist(), cache.lengths.tolist(), strict=True)):
            if not 0 <= token < config.vocab_size:
                raise IndexError(f"token id {token} is out of range; expected 0 to {config.vocab_size - 1}")
            position = min(length, cache.capacity - 1)
            result = logits[row].numpy()
            self._step(self._shape, self._weights, arrays, self._scratch, token, position, row, result)
        cache.lengths.add_(1)
        return logits


@contextmanager
def kernel_step(model: TransformerLM, greatest: bool) -> Iterator[KernelStep]:
    """Makes a KernelStep of the current weights. Its memory is kept for the next one while the model lives."""
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


def fits(model: TransformerLM) -> bool:
    """Whether the kernel can compute a model: float32 parameters in main memory."""
    return all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters())


def _equal(a: Float32Array, b: Float32Array) -> bool:
    """Whether all bits are equal, also the bits of nan."""
    return np.array_equal(a.view(np.int32), b.view(np.int32))


def _to_int8(matrix: Tensor, stride: int, numbers: Int8Array, scales: Float32Array) -> None:
    """Writes a matrix, with rows padded to `stride`, into `numbers`, and one scale per group into `scales`."""
    groups = F.pad(matrix, (0, stride - matrix.shape[1])).view(-1, kernel.GROUP)
    scale = (groups.abs().amax(-1, keepdim=True) / kernel.LARGEST_INT8).clamp(min=1e-38)
    numbers[:] = (groups / scale).round().nan_to_num().flatten().numpy()  # the scale of a group with nan is nan
    scales[:] = scale.flatten().numpy()


def _shape(config: ModelConfig) -> kernel.Shape:
    return kernel.Shape(
        d_model=config.d_model,
        num_heads=config.num_heads,
        num_kv_heads=config.kv_heads,
        d_head=config.head_width,
        d_ff=config.d_ff,
        vocab_size=config.vocab_size,
        num_layers=config.num_layers,
        norm=NORMS[config.norm],
        rope=kernel.NONE if config.rope_theta is None else LAYOUTS[config.rope_layout],
        gated=int(config.ffn == "swiglu"),
        qk_norm=int(config.qk_norm),
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
    """The gains of all RMSNorms in the kernel's order; ones where the model has no norm."""

    def gain(norm: torch.nn.Module, width: int) -> Float32Array:
        return norm.weight.numpy() if isinstance(norm, RMSNorm) else np.ones(width, np.float32)

    config = model.config
    gains = []
    for layer in layers_of(model):
        gains += [gain(norm, config.d_model) for norm in (layer.ln1, layer.ln2)]
        gains += [gain(norm, config.head_width) for norm in (layer.attn.q_norm, layer.attn.k_norm)]
    return np.concatenate([*gains, gain(model.ln_final, config.d_model)])
