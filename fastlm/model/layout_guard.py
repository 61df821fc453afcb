"""A guard for weights of queries and keys that were made for the other layout of rotary positions.

Both layouts have the same names and shapes, so such weights load without an error and give other logits. State dicts of
fastlm's modules therefore say their layout in the metadata that torch keeps next to the tensors. A module converts
weights whose layout is known, and warns where nothing says it.
"""

from __future__ import annotations

import sys
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import nn

from fastlm.model.config import CHOICES, RopeLayout
from fastlm.model.rope import reorder_heads

LAYOUT = "rope_layout"


def guard_layout(attention: nn.Module) -> None:
    """Makes an attention module write its layout into state dicts, and check the layout of state dicts that it loads.

    Args:
        attention: A module with `rope`, `num_heads`, `num_kv_heads` and CS336's names of weights.
    """
    attention.register_state_dict_post_hook(_write_layout)  # type: ignore[no-untyped-call]
    attention.register_load_state_dict_pre_hook(_check_layout)  # type: ignore[no-untyped-call]


def with_layout(state: Mapping[str, Any], module: nn.Module, layout: RopeLayout) -> dict[str, Any]:
    """The state dict of a module, marked as made for a layout.

    Args:
        state: The state dict.
        module: The module that will load it.
        layout: The layout of all its weights.

    Returns:
        A new state dict, which the module converts to its own layout when it loads it.

    Raises:
        ValueError: The layout is unknown.
    """
    if layout not in CHOICES[LAYOUT]:
        raise ValueError(f"rope_layout is {layout!r}; expected one of {', '.join(CHOICES[LAYOUT])}")
    marked: OrderedDict[str, Any] = OrderedDict(state)
    metadata = {name: dict(entry) for name, entry in getattr(state, "_metadata", {}).items()}
    for name, _ in module.named_modules():
        metadata.setdefault(name, {})[LAYOUT] = layout
    marked._metadata = metadata  # type: ignore[attr-defined]
    return marked


def _write_layout(module: Any, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Called after the state dict of an attention module was made."""
    if module.rope is not None:
        metadata[LAYOUT] = module.rope.layout


def _check_layout(module: Any, state: dict[str, Any], prefix: str, metadata: Mapping[str, Any], *_: Any) -> None:
    """Called before an attention module loads its part of a state dict, which is a copy."""
    rope = module.rope
    heads = {"q_proj": module.num_heads, "k_proj": module.num_kv_heads}
    # one head's gains where each head is normalized
    joint = module.qk_norm_width == "projection"
    heads |= {"q_norm": module.num_heads if joint else 1, "k_norm": module.num_kv_heads if joint else 1}
    parts = {f"{prefix}{name}.{part}": count for name, count in heads.items() for part in ("weight", "bias")}
    names = {name: count for name, count in parts.items() if name in state}
    if rope is None or not names:
        return
    source = metadata.get(LAYOUT)
    if source is None:
        if rope.layout == "half":
            warnings.warn(
                "the weights do not say for which layout of rotary positions they were made; this model has 'half', "
                "and weights of CS336's modules are 'interleaved', which gives other logits here. "
                "TransformerLM.load_state_dict(state, rope_layout='interleaved') converts them, and "
                "rope_layout='half' loads them as they are",
                stacklevel=_stack_level(),
            )
        return
    for name, count in names.items():
        if source != rope.layout:
            state[name] = reorder_heads(state[name], count, source, rope.layout)


def _stack_level() -> int:
    """The stack level at which `_check_layout` warns: the first caller outside torch and fastlm."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("torch", "fastlm"):
        level, frame = level + 1, frame.f_back
    return level
