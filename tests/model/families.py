"""The families of open models, as transformers' configurations of random small shapes, and what each of them can have.

`python -m tests.model.families` writes the table in docs/open_models.md; `test_families.py` checks each of its cells.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fastlm.model.hf_architectures import ARCHITECTURES, Architecture

PAGE = Path(__file__).resolve().parents[2] / "docs" / "open_models.md"
BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"

Draw = Callable[[st.SearchStrategy[Any]], Any]


def _scaled(kind: str, **numbers: Any) -> Callable[[Draw, dict[str, Any]], None]:
    def change(draw: Draw, config: dict[str, Any]) -> None:
        original = draw(st.integers(4, 10))
        factor = draw(st.sampled_from([2.0, 2.5, 4.0]))
        rope = {"rope_type": kind, "rope_theta": draw(st.sampled_from([10_000.0, 500.0])), "factor": factor}
        if kind in ("linear", "dynamic"):
            config["max_position_embeddings"] = original
        else:
            config["max_position_embeddings"] = int(original * factor)
            rope["original_max_position_embeddings"] = original
        config["rope_parameters"] = {**rope, **{name: draw(values) for name, values in numbers.items()}}

    return change


def _set(**fields: Any) -> Callable[[Draw, dict[str, Any]], None]:
    return lambda draw, config: config.update(fields)


def _wide_heads(draw: Draw, config: dict[str, Any]) -> None:
    config["head_dim"] = config["head_dim"] + 2 * draw(st.integers(1, 3))


def _window(draw: Draw, config: dict[str, Any]) -> None:
    # with a window of 1, the cache of transformers keeps all keys
    config |= {"sliding_window": draw(st.integers(2, 9)), "use_sliding_window": True}
    config["max_window_layers"] = draw(st.integers(0, config["num_hidden_layers"] - 1))


def _unrotated(draw: Draw, config: dict[str, Any]) -> None:
    config["no_rope_layers"] = draw(st.lists(st.sampled_from([0, 1]), min_size=3, max_size=3))


# what a configuration may have, and how it gets it
FEATURES: dict[str, Callable[[Draw, dict[str, Any]], None]] = {
    "plain positions": _set(),
    "linear scaling": _scaled("linear"),
    "dynamic scaling": _scaled("dynamic"),
    "yarn scaling": _scaled(
        "yarn",
        beta_fast=st.sampled_from([32.0, 4.0]),
        beta_slow=st.sampled_from([1.0, 0.5]),
        truncate=st.booleans(),
        attention_factor=st.sampled_from([None, 1.0, 1.25]),
    ),
    "llama3 scaling": _scaled(
        "llama3", low_freq_factor=st.sampled_from([1.0, 0.5]), high_freq_factor=st.sampled_from([4.0, 2.0])
    ),
    "biases": _set(attention_bias=True),
    "width of heads": _wide_heads,
    "sliding window": _window,
    "layers without positions": _unrotated,
    "tied output layer": _set(tie_word_embeddings=True),
}
SCALINGS = {f"{kind} scaling": kind for kind in ("linear", "dynamic", "yarn", "llama3")}
YES, ALWAYS, REFUSED, NONE = "yes", "always", "refused", "–"


def cell(architecture: Architecture, feature: str) -> str:
    """What the table says of a family and a feature: NONE where transformers' class has no such thing."""
    if feature in SCALINGS:
        return YES if SCALINGS[feature] in architecture.scalings else REFUSED
    if feature == "biases":
        return {"qkv": "always, of q, k and v", "field": YES, "none": NONE}[architecture.bias]
    if feature == "sliding window":
        return NONE if architecture.window == "none" else YES
    if feature == "layers without positions":
        return YES if architecture.unrotated else NONE
    return YES


def fixed(architecture: Architecture) -> str:
    """What all models of a family have."""
    named = {
        "queries and keys normalized by head": architecture.qk_norm == "head",
        "queries and keys normalized together": architecture.qk_norm == "projection",
        "norm after the sublayer": architecture.norm == "output",
        "joined projections": architecture.joined,
    }
    return ", ".join(name for name, holds in named.items() if holds) or NONE


def can_have(architecture: Architecture) -> list[str]:
    """The features of a family that the tests compare with transformers."""
    return [feature for feature in FEATURES if cell(architecture, feature) not in (NONE, REFUSED)]


def drawn(draw: Draw, architecture: Architecture, features: list[str]) -> dict[str, Any]:
    """A small configuration of transformers with some features."""
    kv_heads, groups, width = draw(st.integers(1, 2)), draw(st.integers(1, 3)), 2 * draw(st.integers(2, 4))
    config: dict[str, Any] = {
        "vocab_size": draw(st.integers(20, 40)),
        "hidden_size": kv_heads * groups * width,
        "intermediate_size": draw(st.integers(1, 20)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": kv_heads * groups,
        "num_key_value_heads": kv_heads,
        "head_dim": width,
        "max_position_embeddings": draw(st.integers(12, 30)),
        "rms_norm_eps": draw(st.sampled_from([1e-5, 1e-6, 0.1])),
        "rope_parameters": {"rope_type": "default", "rope_theta": draw(st.sampled_from([10_000.0, 500_000.0, 7.5]))},
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "attention_bias": False,
        "use_sliding_window": False,
        "sliding_window": None,
    }
    for feature in features:
        FEATURES[feature](draw, config)
    return config


def length_of(config: Mapping[str, Any]) -> int:
    """A sequence length beyond the original context of scaled positions."""
    rope = config["rope_parameters"]
    if rope["rope_type"] in ("linear", "dynamic"):
        return int(config["max_position_embeddings"] * rope["factor"])
    return int(config["max_position_embeddings"])


def table() -> str:
    """The table of families and features as Markdown."""
    names = [architecture.model_type for architecture in ARCHITECTURES]
    rows = [["", *(f"`{name}`" for name in names)], ["---"] * (len(names) + 1)]
    rows.append(["always", *(fixed(architecture) for architecture in ARCHITECTURES)])
    rows += [[feature, *(cell(one, feature) for one in ARCHITECTURES)] for feature in FEATURES]
    rows += [
        [what, *[YES] * len(names)]
        for what in ("several files with an index", "bfloat16, float16", "greedy tokens of transformers, by the kernel")
    ]
    published = [f"- `{one.model_type}` (`{one.class_name}`): {one.models}" for one in ARCHITECTURES]
    return "\n".join([*published, "", *(f"| {' | '.join(row)} |" for row in rows)])


def page(text: str) -> str:
    """The page with the present table."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(PAGE.read_text()))
