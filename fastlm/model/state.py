"""Conversion of state dicts: other layouts of rotary positions, names of compiled or wrapped models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor

from fastlm.model.config import ModelConfig, RopeLayout
from fastlm.model.layout_guard import LAYOUT
from fastlm.model.rope import reorder_heads

# prefixes that torch.compile and DistributedDataParallel add to the names of a model's parameters
WRAPPERS = ("_orig_mod.", "module.")


def to_layout(
    state: Mapping[str, Tensor], config: ModelConfig, source: RopeLayout, target: RopeLayout
) -> dict[str, Tensor]:
    """Converts a state dict from one layout of rotary positions to another. Logits stay the same.

    Args:
        state: The state dict. Only weights of queries and keys are changed.
        config: The configuration of the model.
        source: The layout that the weights were made for.
        target: The layout of the model that will load them.

    Returns:
        A new state dict, which says its layout.
    """
    converted: OrderedDict[str, Tensor] = OrderedDict(state)
    modules = {name.rpartition(".attn.")[0] + ".attn" for name in state if ".attn." in name}
    converted._metadata = {name: {LAYOUT: target} for name in modules}  # type: ignore[attr-defined]
    for name, weight in state.items():
        module, _, part = name.rpartition(".attn.")
        if module and part.startswith(("q_proj.", "k_proj.", "q_norm.", "k_norm.")):
            # one head's gains where each head is normalized
            heads = config.num_heads if part.startswith("q") else config.kv_heads
            heads = 1 if "_norm" in part and config.qk_norm_width == "head" else heads
            converted[name] = reorder_heads(weight, heads, source, target)
    return converted


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the keys of a compiled or wrapped model's state dict to the keys of the model itself."""
    names = {}
    for name, weight in state.items():
        bare = name
        while wrapper := next((prefix for prefix in WRAPPERS if bare.startswith(prefix)), None):
            bare = bare.removeprefix(wrapper)
        names[bare] = weight
    return names
