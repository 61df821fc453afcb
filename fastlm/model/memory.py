"""Memory of training and decoding, for float32 parameters and products in float32 or bfloat16.

T tokens of a sequence, D d_model, H num_heads, G num_kv_heads, K d_head, F d_ff, V vocab_size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fastlm.model.config import ModelConfig
from fastlm.model.parameters import num_parameters, parameter_shapes

ComputeType = Literal["float32", "bfloat16"]
Optimizer = Literal["adamw", "muon"]
Kernel = Literal["sdpa", "explicit"]
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
# the default of `linear_cross_entropy`
CHUNK_TOKENS = 1024


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes in use at the end of a forward pass, which is the peak."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    loss: int

    @property
    def total(self) -> int:
        """The sum. Overhead of the allocator and of torch is not included."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.loss


def training_memory(
    config: ModelConfig,
    batch: int,
    length: int | None = None,
    *,
    compute: ComputeType = "float32",
    optimizer: Optimizer = "adamw",
    kernel: Kernel = "sdpa",
    checkpointing: bool = False,
) -> TrainingMemory:
    """Computes the memory of training.

    Args:
        config: The model.
        batch: Sequences in a batch.
        length: Tokens in a sequence; context_length by default.
        compute: Dtype of the products.
        optimizer: AdamW stores two float32 moments per parameter. Muon stores one per weight of the layers' matrices,
            and uses AdamW for the rest.
        kernel: Attention kernel; "explicit" stores all scores.
        checkpointing: Whether activations within layers are recomputed in the backward pass.

    Returns:
        Bytes by purpose.
    """
    length = config.context_length if length is None else length
    count = num_parameters(config)
    moments = 2 * count
    if optimizer == "muon":
        shapes = parameter_shapes(config)
        moments -= sum(math.prod(shape) for name, shape in shapes.items() if "layers." in name and len(shape) == 2)
    chunk = min(CHUNK_TOKENS, batch * length)
    return TrainingMemory(
        parameters=4 * count,
        gradients=4 * count,
        optimizer=4 * moments,
        activations=activation_bytes(
            config, batch, length, compute=compute, kernel=kernel, checkpointing=checkpointing
        ),
        # logits and their slope, and the gradient of the output layer
        loss=2 * 4 * chunk * config.vocab_size + 4 * config.vocab_size * config.d_model,
    )


def largest_batch(config: ModelConfig, memory: int, length: int | None = None, **options: object) -> int:
    """Largest batch whose training fits into `memory` bytes, or 0. Takes the options of training_memory.

    Raises:
        ValueError: The memory is not finite.
    """
    if not math.isfinite(memory):
        raise ValueError(f"memory is {memory!r}; expected a finite number of bytes")
    low, high = 0, 1
    while training_memory(config, high, length, **options).total <= memory:  # type: ignore[arg-type]
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        fits = training_memory(config, middle, length, **options).total <= memory  # type: ignore[arg-type]
        low, high = (middle, high) if fits else (low, middle)
    return low


def activation_bytes(
    config: ModelConfig,
    batch: int,
    length: int | None = None,
    *,
    compute: ComputeType = "float32",
    kernel: Kernel = "sdpa",
    checkpointing: bool = False,
) -> int:
    """Bytes that autograd stores in a forward pass, with torch's CPU kernels and without compilation.

    With `checkpointing` these are the inputs of all layers, and the activations of one layer.
    """
    length = config.context_length if length is None else length
    tokens = batch * length
    narrow = BYTES[compute]
    of_layers = [
        tokens * _layer_bytes_per_token(config, layer, length, narrow, kernel)
        + _layer_bytes(config, layer, length, narrow)
        + _mask_bytes(config, layer, length, narrow, kernel)
        for layer in range(config.num_layers)
    ]
    inputs = config.num_layers * tokens * 4 * config.d_model
    layers = inputs + max(of_layers) if checkpointing else sum(of_layers)
    # ids; the last norm; the gradient by its result
    ends = tokens * (8 + _norm_bytes(config, config.d_model) + 4 * config.d_model)
    return layers + ends


def _norm_bytes(config: ModelConfig, width: int) -> int:
    """Bytes of a norm for one row: the row, 1 / root mean square, and their product, in float32."""
    return 0 if config.norm == "none" else 4 * (2 * width + 1)


def _mask_bytes(config: ModelConfig, layer: int, length: int, narrow: int, kernel: Kernel) -> int:
    """Bytes of a layer's mask: booleans, or for a sliding window in torch's kernel what it adds to scores."""
    if kernel == "explicit":
        return length * length
    window = config.window_of(layer)
    return 0 if window is None or length <= window else narrow * length * length


def _layer_bytes_per_token(config: ModelConfig, layer: int, length: int, narrow: int, kernel: Kernel) -> int:
    """Activation bytes of one layer that are proportional to the number of tokens."""
    heads, groups, head = config.num_heads, config.kv_heads, config.head_width
    norms = 2 * _norm_bytes(config, config.d_model)
    if config.qk_norm:
        normalized = 2 if config.qk_norm_width == "projection" else heads + groups
        norms += 4 * ((heads + groups) * head + normalized)
        norms += 4 * (heads + groups) * head if narrow < 4 else 0  # their inputs, converted to float32
    if kernel == "sdpa":
        # rotated q and k, the product that contains v, the result; log-sum-exp in float32
        attention = narrow * head * (heads + groups + (heads + 2 * groups) + heads) + 4 * heads
        if config.rope_theta_of(layer) is None and not (config.qk_norm and config.qk_norm_width == "head"):
            # the next product needs no copy of the result, which has the memory order of q
            attention -= narrow * head * heads
            if not config.qk_norm:
                attention -= narrow * head * (heads + groups)  # q and k are views of the product
    else:
        # q, and k and v repeated for all heads; scores before and after softmax, and for the product; softmax's maximum
        # and sum
        attention = narrow * (3 * heads * head + heads * (3 * length + 2))
        if config.qk_norm and narrow == 4:
            attention += narrow * head * (heads + 2 * groups)  # the product, whose parts the norms store
    inputs = 2 * config.d_model + heads * head  # inputs of the projections and of the feed-forward network
    hidden = (4 if config.ffn == "swiglu" else 2) * config.d_ff
    return norms + attention + narrow * (inputs + hidden)


def _layer_bytes(config: ModelConfig, layer: int, length: int, narrow: int) -> int:
    """Bytes of one layer that do not depend on the batch: concatenated and converted matrices, cosines and sines."""
    heads, groups, head, width = config.num_heads, config.kv_heads, config.head_width, config.d_model
    joined = (heads + 2 * groups) * head * width + (2 * config.d_ff * width if config.ffn == "swiglu" else 0)
    scaling = config.rope_scaling
    made_for_length = scaling is not None and scaling.depends_on_length and length > scaling.original_context
    # the model holds the tables, unless they are converted, or depend on the length
    has_tables = config.rope_theta_of(layer) is not None and (narrow < 4 or made_for_length)
    tables = 4 * length * head // 2 if has_tables else 0
    converted = heads * head * width + (1 if config.ffn == "swiglu" else 2) * config.d_ff * width if narrow < 4 else 0
    return narrow * (joined + converted + tables)


def cache_bytes(config: ModelConfig, batch: int = 1, length: int | None = None, *, number: int = 4) -> int:
    """Bytes of the KV cache for `batch` sequences of `length` tokens, with `number` bytes per number."""
    length = config.context_length if length is None else length
    return 2 * config.num_layers * config.kv_heads * config.head_width * length * batch * number


def disk_bytes(config: ModelConfig, number: int = 4) -> int:
    """Bytes of the weights on disk, with `number` bytes per weight, without the file's small header."""
    return num_parameters(config) * number
