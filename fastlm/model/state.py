"""State dicts of other layouts: of interleaved rotary positions, of a compiled or wrapped model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fastlm.model.config import ModelConfig, RopeLayout
from fastlm.model.rope import reorder_heads

# what torch.compile and DistributedDataParallel put before the names of a model's parameters
WRAPPERS = ("_orig_mod.", "module.")


def to_layout(
    state: Mapping[str, Tensor], config: ModelConfig, source: RopeLayout, target: RopeLayout
) -> dict[str, Tensor]:
    """A state dict whose queries and keys are for the layout `target` of rotary positions, made of one for `source`.

    Weights of all others are passed on as they are. Logits stay the same, whichever layout has which weights.
    """
    converted = dict(state)
    for name, weight in state.items():
        if name.endswith((".attn.q_proj.weight", ".attn.k_proj.weight")):
            heads = config.num_heads if ".q_proj." in name else config.kv_heads
            converted[name] = reorder_heads(weight, heads, source, target)
        elif name.endswith((".attn.q_norm.weight", ".attn.k_norm.weight")):
            converted[name] = reorder_heads(weight, 1, source, target)
    return converted


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with the names of the bare model, whatever wrapped the one that it was taken from."""
    names = {}
    for name, weight in state.items():
        bare = name
        while wrapper := next((prefix for prefix in WRAPPERS if bare.startswith(prefix)), None):
            bare = bare.removeprefix(wrapper)
        names[bare] = weight
    return names
