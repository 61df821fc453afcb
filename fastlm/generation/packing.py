"""A step on the CPU by the Numba kernel: the model's weights packed as `kernels.decode_lm` reads them.

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

from fastlm.generation.decoding import KVCache, blocks
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
    """`decode_step` of a float32 model in main memory, by the compiled kernel: a Step, for one thread at a time.

    The weights are copied into large pages of memory, which are read half again as fast; after the model has been
    trained further `pack` copies them anew.

    Args:
        model: The model.
        int8: Whether matrices are kept in 8 bits, with a scale for each 64 numbers of a row, the largest of which it
            takes to 127: a token reads a quarter of the memory, and logits differ a little.
        greatest: Whether a step's logits are asked for nothing but the greatest, as at temperature 0: the output layer
            is kept in 8 bits as well, and multiplied in float32 only in those rows that may have the greatest logit.
            That one is as without this; the others are less than it, and are not exact. `generate` takes such a step
            with temperature 0 and no repetition penalty only.

    Raises ValueError for a model of another type or in another place, and for `int8` with `greatest`.
    """

    def __init__(self, model: TransformerLM, *, int8: bool = False, greatest: bool = False) -> None:
        if int8 and greatest:
            raise ValueError("int8 and greatest are given; expected one of them, as greatest needs float32 weights")
        self.config = config = model.config
        self.greatest = greatest
        self._step = kernel.compiled()
        self._shape, self._eps = _shape(config), np.float32(config.norm_eps)
        # zeros, for what rows are padded with
        size = sum(len(matrix) * kernel.padded(matrix.shape[1]) for matrix in _matrices(model))
        size_in_8_bits = size if int8 else config.vocab_size * kernel.padded(config.d_model) if greatest else 0
        self._matrices = np.zeros(0 if int8 else size, np.float32)
        self._quantised = np.zeros(size_in_8_bits, np.int8)
        self._scales = np.zeros(size_in_8_bits // kernel.GROUP, np.float32)
        self._widest_scales = np.zeros(config.vocab_size if greatest else 0, np.float32)
        inner = config.d_ff * (2 if config.ffn == "swiglu" else 1)
        stacked = (config.num_heads + 2 * config.kv_heads) * config.head_width
        widest = kernel.padded(max(config.d_model, stacked, inner, config.context_length))
        self._room = (
            np.zeros((kernel.ROOM_ROWS, widest), np.float32),
            np.zeros(widest, np.int16),
            np.zeros(widest // kernel.GROUP, np.float32),
        )
        self.pack(model)

    @torch.no_grad()
    def pack(self, model: TransformerLM) -> None:
        """Takes the weights of a model of the same shape as they are now."""
        if not fits(model) or model.config != self.config:
            weight = model.lm_head.weight
            raise ValueError(
                f"the kernel takes a model of torch.float32 on cpu and of one shape; "
                f"got {weight.dtype} on {weight.device} and {model.config}"
            )
        # the kernel goes by the configuration, and checks nothing
        expected = parameter_shapes(self.config)
        for name, parameter in unwrapped(dict(model.named_parameters())).items():
            if tuple(parameter.shape) != expected.get(name):
                raise ValueError(
                    f"{name} has the shape {tuple(parameter.shape)}; the configuration says {expected.get(name)}"
                )
        start = 0
        for matrix in _matrices(model):
            rows, width = matrix.shape
            stride = kernel.padded(width)
            end = start + rows * stride
            if len(self._matrices):
                kept = self._matrices[start:end].reshape(rows, stride)[:, :width]
                # to bring it to 8 bits takes longer than to see that it is what it was
                if self.greatest and end == len(self._matrices) and not _equal(kept, matrix.numpy()):
                    _to_8_bits(matrix, stride, self._quantised, self._scales)
                    self._widest_scales[:] = self._scales.reshape(rows, -1).max(1)
                kept[:] = matrix.numpy()
            else:
                scales = self._scales[start // kernel.GROUP : end // kernel.GROUP]
                _to_8_bits(matrix, stride, self._quantised[start:end], scales)
            start = end
        rope = blocks(model)[0].attn.rope
        cos, sin = (rope.cos, rope.sin) if rope else (torch.empty(0, 0), torch.empty(0, 0))
        embedding = model.token_embeddings.weight.contiguous().numpy()  # of which a row is read: it stays where it is
        weights = (self._matrices, self._quantised, self._scales, self._widest_scales)
        self._arrays = (embedding, *weights, _gains(model), cos.float().numpy(), sin.float().numpy())

    def __call__(self, token_ids: Tensor, cache: KVCache) -> Tensor:
        """The logits, (B, V), of the token after token_ids, (B,), which the sequences of the cache take one by one.

        Raises IndexError for an id out of range, ValueError for a cache of another model's shape or type.
        """
        config = self.config
        sequences = len(cache.lengths)
        expected = (config.num_layers, sequences, config.kv_heads, cache.capacity, config.head_width)
        fits_in_room = cache.capacity <= config.context_length and token_ids.shape == (sequences,)
        if cache.keys.shape != expected or cache.keys.dtype != torch.float32 or not fits_in_room:
            raise ValueError(
                f"{tuple(token_ids.shape)} ids and a cache of {tuple(cache.keys.shape)}, {cache.keys.dtype}; expected "
                f"({sequences},) ids and {expected}, torch.float32, for up to {config.context_length} tokens"
            )
        keys, values = cache.keys.numpy(), cache.values.numpy()
        logits = torch.empty(sequences, config.vocab_size)
        for row, (token, length) in enumerate(zip(token_ids.tolist(), cache.lengths.tolist(), strict=True)):
            if not 0 <= token < config.vocab_size:
                raise IndexError(f"token id {token} is out of range; expected 0 to {config.vocab_size - 1}")
            position = min(length, cache.capacity - 1)
            into = logits[row].numpy()
            place = (token, position, row)
            self._step(self._shape, self._eps, *place, *self._arrays, keys, values, *self._room, into)
        cache.lengths.add_(1)
        return logits


@contextmanager
def kernel_step(model: TransformerLM, greatest: bool) -> Iterator[KernelStep]:
    """A KernelStep of the model as it is now, whose memory is kept for the next one as long as the model lives."""
    step = _idle.pop(model, None)
    if step is None or step.greatest != greatest:
        step = KernelStep(model, greatest=greatest)
    else:
        step.pack(model)
    try:
        yield step
    finally:
        _idle[model] = step


# at most one for a model: of several that are used at a time the last one that comes back stays
_idle: WeakKeyDictionary[TransformerLM, KernelStep] = WeakKeyDictionary()


def fits(model: TransformerLM) -> bool:
    """Whether the kernel computes this model: float32 in main memory."""
    return all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters())


def _equal(a: Float32Array, b: Float32Array) -> bool:
    """Whether all bits are equal, those of nan too."""
    return np.array_equal(a.view(np.int32), b.view(np.int32))


def _to_8_bits(matrix: Tensor, stride: int, numbers: Int8Array, scales: Float32Array) -> None:
    """Writes a matrix, its rows padded to `stride`, into `numbers`, and a scale for each group into `scales`."""
    groups = F.pad(matrix, (0, stride - matrix.shape[1])).view(-1, kernel.GROUP)
    scale = (groups.abs().amax(-1, keepdim=True) / kernel.LARGEST_INT8).clamp(min=1e-38)
    numbers[:] = (groups / scale).round().nan_to_num().flatten().numpy()  # what is not finite is so by its scale
    scales[:] = scale.flatten().numpy()


def _shape(config: ModelConfig) -> np.ndarray[Any, np.dtype[np.int64]]:
    values = {
        kernel.D: config.d_model,
        kernel.H: config.num_heads,
        kernel.G: config.kv_heads,
        kernel.K: config.head_width,
        kernel.F: config.d_ff,
        kernel.V: config.vocab_size,
        kernel.L: config.num_layers,
        kernel.NORM: NORMS[config.norm],
        kernel.ROPE: kernel.NONE if config.rope_theta is None else LAYOUTS[config.rope_layout],
        kernel.GATED: config.ffn == "swiglu",
        kernel.QK_NORM: config.qk_norm,
    }
    return np.array([int(values[place]) for place in range(len(values))], np.int64)


def _matrices(model: TransformerLM) -> Iterator[Tensor]:
    """All matrices but the embedding, (rows, width), in the order in which a token meets them."""
    for layer in blocks(model):
        attn, ffn = layer.attn, layer.ffn
        yield from (attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight, attn.output_proj.weight, ffn.w1.weight)
        if isinstance(ffn, SwiGLU):
            yield ffn.w3.weight
        yield ffn.w2.weight
    yield model.lm_head.weight


def _gains(model: TransformerLM) -> Float32Array:
    """What RMSNorm multiplies by, in the kernel's order; where there is none, ones."""

    def gain(norm: torch.nn.Module, width: int) -> Float32Array:
        return norm.weight.numpy() if isinstance(norm, RMSNorm) else np.ones(width, np.float32)

    config = model.config
    gains = []
    for layer in blocks(model):
        gains += [gain(norm, config.d_model) for norm in (layer.ln1, layer.ln2)]
        gains += [gain(norm, config.head_width) for norm in (layer.attn.q_norm, layer.attn.k_norm)]
    return np.concatenate([*gains, gain(model.ln_final, config.d_model)])
