"""Floating-point operations of the matrix products of a model; a product of (m, k) and (k, n) takes 2 m k n.

The rest (norms, activations, softmax) is not counted, as is the custom: it is some hundredth of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastlm.model.config import ModelConfig

Part = Literal["attention projections", "attention scores", "feed-forward", "output layer"]
# "full" counts all T x T scores, as the explicit formula computes them; "causal" those of keys not after the query
Convention = Literal["full", "causal"]


@dataclass(frozen=True)
class MatrixProduct:
    """`count` products of an (m, k) with a (k, n) matrix, of one sequence, forward."""

    name: str
    part: Part
    count: int
    m: int
    k: int
    n: int

    @property
    def flops(self) -> int:
        """Operations of all of them, forward."""
        return 2 * self.count * self.m * self.k * self.n

    @property
    def backward_flops(self) -> int:
        """Operations of the two products, of the same size, by which each gives the gradients of its factors."""
        return 2 * self.flops


def matrix_products(config: ModelConfig, length: int | None = None) -> list[MatrixProduct]:
    """The matrix products of one sequence of `length` tokens, context_length where it is None, in their order."""
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
    """Forward operations of one sequence by part of the model."""
    length = config.context_length if length is None else length
    parts: dict[Part, int] = {}
    for product in matrix_products(config, length):
        flops = product.flops
        if convention == "causal" and product.part == "attention scores":
            # query t, from 1, has t keys: T (T + 1) / 2 of T x T
            flops = flops // (2 * length) * (length + 1)
        parts[product.part] = parts.get(product.part, 0) + flops
    return parts


def forward_flops(config: ModelConfig, length: int | None = None, convention: Convention = "full") -> int:
    """Operations of one forward pass over a sequence."""
    return sum(flops_by_part(config, length, convention).values())


def train_flops_per_token(config: ModelConfig, length: int | None = None, convention: Convention = "full") -> int:
    """Operations of forward and backward, three times forward, a token; activations computed again are not counted."""
    length = config.context_length if length is None else length
    return 3 * forward_flops(config, length, convention) // length
