"""Targets for the speed of the model, and the figures of a run of `python -m benchmarks.model`."""

from __future__ import annotations

from typing import Any

from benchmarks import decode_lm
from benchmarks.device import NO_INSTRUCTIONS
from benchmarks.targets import Target

STEP = "training step, TinyStories shape, {}"
# share of the faster of torch's products in bfloat16 and float32; FLOPs by the causal convention, which counts the
# scores that a model needs
OF_PRODUCT = 0.65


def targets(found: dict[str, Any]) -> list[Target]:
    """The targets of training steps, float32 first, and of decoding."""
    steps = [target for dtype in ("float32", "bfloat16") for target in _training(found, dtype)]
    return [*steps, *_decoding(found["decode"])]


def _training(found: dict[str, Any], dtype: str) -> list[Target]:
    races = (race for race in found["train"] if (race["size"], race["dtype"]) == ("tinystories", f"torch.{dtype}"))
    race = next(races, None)
    emulated = dtype == "bfloat16" and not found["bfloat16"]["multiplied"]
    device = found["bfloat16"]["device"]
    missing = ""
    if race is None:
        missing = "not measured: another shape or dtype was asked for"
        if emulated:
            missing = f"not measured: this {device} has no bfloat16 products, and --dtype bfloat16 was not given"
    rows = {} if race is None else {row["name"]: row for row in race["contenders"]}
    step = STEP.format(dtype)

    def fastest(name: str, compiled: bool, key: str = "tokens_per_s") -> float | None:
        of_it = [row[key] for full, row in rows.items() if full == name or (compiled and full.startswith(f"{name},"))]
        return max(of_it, default=None)

    def against(peer: str, compiled: bool, least: float) -> Target:
        what, wanted = f"{step}, {'compiled' if compiled else 'eager'}", f">= {least}x {peer}"
        ours, theirs = fastest("fastlm", compiled), fastest(peer, compiled)
        if ours is None or theirs is None:
            return Target(what, wanted, missing or f"not measured: {peer} is not present", None)
        measured = f"{ours / theirs:.2f}x"
        if emulated:
            # the peers take torch's emulation, so the ratio does not tell how fast fastlm is
            return Target(what, wanted, f"{measured}, not counted: the peer emulates bfloat16", None)
        return Target(what, wanted, measured, ours >= least * theirs)

    wanted, share = f">= {OF_PRODUCT:.0%} of the fastest product", fastest("fastlm", True, "of_product_causal")
    reached = Target(step, wanted, missing, None)
    if share is not None and emulated:
        measured = f"{share:.0%}, not counted: this {device} has {NO_INSTRUCTIONS}"
        reached = Target(step, wanted, measured, None)
    elif share is not None:
        reached = Target(step, wanted, f"{share:.0%}", share >= OF_PRODUCT)
    return [
        against("transformers", False, 1.25),
        against("transformers", True, 1.05),
        against("nanoGPT", True, 1.05),
        reached,
    ]


def _decoding(found: dict[str, Any]) -> list[Target]:
    ratios = {row["name"]: row["ratio"] for row in found["contenders"]}
    wanted = {
        ("greedy decoding at batch 1, float32, the same tokens", decode_lm.CHOSEN): 2.9,
        ("greedy decoding at batch 1, int8", decode_lm.INT8): 6.0,
    }
    return [
        Target(what, f">= {least}x transformers", f"{ratios[name]:.2f}x", ratios[name] >= least)
        if name in ratios
        else Target(what, f">= {least}x transformers", "not measured: the kernel is for processors", None)
        for (what, name), least in wanted.items()
    ]
