"""A decoder-only Transformer as its formulas read, in float64, one token and one head after the other."""

from collections.abc import Mapping

import numpy as np

from fastlm.model import ModelConfig

Array = np.ndarray


def softmax(x: Array) -> Array:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def rms_norm(x: Array, gain: Array, eps: float) -> Array:
    return x / np.sqrt(np.mean(x * x) + eps) * gain


def turned(x: Array, position: int, theta: float, layout: str, exact: type = np.float64) -> Array:
    """A vector of even width, its pairs of features turned by the angles of a position.

    `exact` is the type that computes the angles: float32, as in transformers, for models of all types but float64.
    """
    half = len(x) // 2
    result = np.empty_like(x)
    for i in range(half):
        a, b = (i, i + half) if layout == "half" else (2 * i, 2 * i + 1)
        frequency = exact(1) / exact(theta) ** exact(2 * i / len(x))
        angle = np.float64(exact(position) * frequency)
        cos, sin = np.float64(exact(np.cos(angle))), np.float64(exact(np.sin(angle)))
        result[a], result[b] = x[a] * cos - x[b] * sin, x[b] * cos + x[a] * sin
    return result


def attention(
    weights: Mapping[str, Array],
    config: ModelConfig,
    xs: list[Array],
    positions: list[int],
    documents: list[int],
    layer: int = 0,
) -> list[Array]:
    """Causal attention of a sequence; a token sees the tokens of its own document and window."""
    window = config.window_of(layer) or len(xs)
    groups = config.num_heads // config.kv_heads

    def heads(name: str, x: Array, position: int) -> Array:
        projected = weights[f"{name}_proj.weight"] @ x + weights.get(f"{name}_proj.bias", 0)
        if name != "v" and config.qk_norm and config.qk_norm_width == "projection":
            projected = rms_norm(projected, weights[f"{name}_norm.weight"], config.norm_eps)
        split = projected.reshape(-1, config.head_width)
        if name == "v":
            return split
        if config.qk_norm and config.qk_norm_width == "head":
            split = np.array([rms_norm(head, weights[f"{name}_norm.weight"], config.norm_eps) for head in split])
        if config.rope_theta is not None and layer not in config.layers_without_rope:
            split = np.array([turned(head, position, config.rope_theta, config.rope_layout) for head in split])
        return split

    q, k, v = ([heads(name, x, position) for x, position in zip(xs, positions, strict=True)] for name in "qkv")
    results = []
    for t in range(len(xs)):
        seen = [s for s in range(max(0, t + 1 - window), t + 1) if documents[s] == documents[t]]
        joined = []
        for h in range(config.num_heads):
            scores = np.array([q[t][h] @ k[s][h // groups] for s in seen]) / np.sqrt(config.head_width)
            joined.append(sum(share * v[s][h // groups] for share, s in zip(softmax(scores), seen, strict=True)))
        output = weights["output_proj.weight"] @ np.concatenate(joined)
        results.append(output + weights.get("output_proj.bias", 0))
    return results


def feed_forward(weights: Mapping[str, Array], config: ModelConfig, x: Array) -> Array:
    inner = silu(weights["w1.weight"] @ x)
    if config.ffn == "swiglu":
        inner = inner * (weights["w3.weight"] @ x)
    return weights["w2.weight"] @ inner


def logits(
    weights: Mapping[str, Array],
    config: ModelConfig,
    ids: list[int],
    positions: list[int] | None = None,
    documents: list[int] | None = None,
) -> Array:
    """The logits, (T, V), of a sequence of ids, from a state dict in float64."""
    positions = list(range(len(ids))) if positions is None else positions
    documents = [0] * len(ids) if documents is None else documents

    def below(prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}

    def norm(name: str, x: Array) -> Array:
        return x if config.norm == "none" else rms_norm(x, weights[f"{name}.weight"], config.norm_eps)

    xs = [weights["token_embeddings.weight"][token_id] for token_id in ids]
    for layer in range(config.num_layers):
        at = f"layers.{layer}."
        attn, ffn = below(f"{at}attn."), below(f"{at}ffn.")
        if config.norm == "post":
            attended = attention(attn, config, xs, positions, documents, layer)
            xs = [norm(f"{at}ln1", x + y) for x, y in zip(xs, attended, strict=True)]
            xs = [norm(f"{at}ln2", x + feed_forward(ffn, config, x)) for x in xs]
        elif config.norm == "output":
            attended = attention(attn, config, xs, positions, documents, layer)
            xs = [x + norm(f"{at}ln1", y) for x, y in zip(xs, attended, strict=True)]
            xs = [x + norm(f"{at}ln2", feed_forward(ffn, config, x)) for x in xs]
        else:
            attended = attention(attn, config, [norm(f"{at}ln1", x) for x in xs], positions, documents, layer)
            xs = [x + y for x, y in zip(xs, attended, strict=True)]
            xs = [x + feed_forward(ffn, config, norm(f"{at}ln2", x)) for x in xs]
    return np.array([weights["lm_head.weight"] @ norm("ln_final", x) for x in xs])


def cross_entropy(rows: Array, targets: list[int]) -> float:
    """The mean of -log softmax(row)[target]."""
    return float(np.mean([-np.log(softmax(row)[target]) for row, target in zip(rows, targets, strict=True)]))
