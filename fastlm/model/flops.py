"""Floating-point operations (FLOPs) of a model's matrix products. A product of (m, k) and (k, n) takes 2 m k n.

Norms, activations and softmax are not counted, as is usual. They are about 1 % of the total.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastlm.model.config import ModelConfig

Part = Literal["attention projections", "attention scores", "feed-forward", "output layer"]
# "full" counts all T x T scores, as the explicit formula computes them; "causal" counts keys up to the query
Convention = Literal["full", "causal"]


@dataclass(frozen=True)
class MatrixProduct:
    """`count` products of an (m, k) matrix and a (k, n) matrix, in the forward pass of one sequence."""

    name: str
    part: Part
    count: int
    m: int
    k: int
    n: int

    @property
    def flops(self) -> int:
        """FLOPs of all `count` products in the forward pass."""
        return 2 * self.count * self.m * self.k * self.n

    @property
    def backward_flops(self) -> int:
        """FLOPs in the backward pass: the gradient of each of the two factors takes a product of the same size."""
        return 2 * self.flops


def matrix_products(config: ModelConfig, length: int | None = None) -> list[MatrixProduct]:
    """Lists the matrix products of one sequence of `length` tokens (by default context_length) in order."""
    length = config.context_length if length is None else length
    width, head, layers = config.d_model, config.head_width, config.num_layers
    queries, keys = config.num_heads * head, config.kv_heads * head
    products = [
        MatrixProduct("queries", "attention projections", layers, length, width, queries),
        MatrixProduct("keys", "attention projections", layers, length, width, keys),
        MatrixProduct("values", "attention projections", layers, length, width, keys),
        MatrixProduct(
            "scores of queries and keys", "attention scores", layers * config.num_heads, length, head, length
        ),
        MatrixProduct("values by scores", "attention scores", layers * config.num_heads, length, length, head),
        MatrixProduct("attention's output", "attention projections", layers, length, queries, width),
        MatrixProduct("feed-forward w1", "feed-forward", layers, length, width, config.d_ff),
        MatrixProduct("feed-forward w2", "feed-forward", layers, length, config.d_ff, width),
        MatrixProduct("output layer", "output layer", 1, length, width, config.vocab_size),
    ]
    if config.ffn == "swiglu":
        products.insert(7, MatrixProduct("feed-forward w3", "feed-forward", layers, length, width, config.d_ff))
    return products


def flops_by_part(config: ModelConfig, length: int | None = None, convention: Convention = "full") -> dict[Part, int]:
    """Forward FLOPs of one sequence by part of the model."""
    length = config.context_length if length is None else length
    parts: dict[Part, int] = {}
    for product in matrix_products(config, length):
        flops = product.flops
        if convention == "causal" and product.part == "attention scores":
            visible = sum(_visible(length, config.window_of(layer)) for layer in range(config.num_layers))
            flops = flops // (config.num_layers * length * length) * visible
        parts[product.part] = parts.get(product.part, 0) + flops
    return parts


def _visible(length: int, window: int | None) -> int:
    """The number of scores that a layer needs: query t = 1 .. T sees t keys, or the last ones in a sliding window."""
    seen = length if window is None else min(length, window)
    return seen * (seen + 1) // 2 + (length - seen) * seen


def forward_flops(config: ModelConfig, length: int | None = None, convention: Convention = "full") -> int:
    """FLOPs of one forward pass over a sequence."""
    return sum(flops_by_part(config, length, convention).values())


def train_flops_per_token(config: ModelConfig, length: int | None = None, convention: Convention = "full") -> int:
    """FLOPs per token of forward and backward, three times the FLOPs of forward, without recomputed activations."""
    length = config.context_length if length is None else length
    return 3 * forward_flops(config, length, convention) // length
