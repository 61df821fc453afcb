"""The end of a run in a few figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastlm.files.atomic import write_files
from fastlm.model.account import duration
from fastlm.training.config import TrainingConfig
from fastlm.training.json_lines import read_lines
from fastlm.training.plan import RunPlan

SUMMARY = "summary.json"
_VALIDATION = ("valid_loss", "valid_perplexity", "valid_bits_per_byte")


def write_summary(config: TrainingConfig, plan: RunPlan) -> str:
    """Writes `summary.json` in the directory of a run that is complete.

    Args:
        config: The configuration.
        plan: The plan of the run.

    Returns:
        The figures as a line of text.

    Raises:
        OSError: The file cannot be written.
    """
    out = Path(config.out)
    lines = read_lines(out / "log.jsonl")
    losses = [line for line in lines if "loss" in line]
    evaluations = [line for line in lines if "valid_loss" in line]
    found: dict[str, Any] = {"steps": config.steps, "tokens": plan.tokens, "parameters": plan.parameters}
    if losses:
        last = losses[-1]
        found |= {"loss": last["loss"], "seconds": last["seconds"]}
        found["tokens_per_second"] = last["tokens"] / max(last["seconds"], 1e-9)
    if evaluations:
        found |= {name: evaluations[-1][name] for name in _VALIDATION if name in evaluations[-1]}
    found["model"] = str(out / "model")
    write_files(out, {SUMMARY: f"{json.dumps(found, indent=1)}\n".encode()})
    return _line(found)


def _line(found: dict[str, Any]) -> str:
    parts = [f"{found['steps']:,} steps, {found['tokens']:,} tokens"]
    if "loss" in found:
        parts.append(f"loss {found['loss']:.4f}")
    if "valid_loss" in found:
        parts.append(f"validation loss {found['valid_loss']:.4f}")
    if "valid_bits_per_byte" in found:
        parts.append(f"{found['valid_bits_per_byte']:.4f} bits per byte")
    if "seconds" in found:
        parts.append(f"{found['tokens_per_second']:,.0f} tokens/s, {duration(found['seconds'])}")
    return f"{', '.join(parts)}; model in {found['model']}"
