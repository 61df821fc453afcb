"""What the training of a recipe will cost, before anything runs."""

from __future__ import annotations

from pathlib import Path

import torch

from fastlm.recipes.recipe import Recipe
from fastlm.recipes.stage_record import read_record
from fastlm.training.hardware import autocast_type, find_device, measured_flops
from fastlm.training.plan import RunPlan, plan_run


def training_plan(recipe: Recipe) -> RunPlan:
    """The plan of the training of a recipe, with the figures of the stages that are finished.

    Raises:
        ValueError: The device cannot be used.
    """
    run = Path(recipe.out)
    tokenizer, shards = (read_record(run / stage) for stage in ("tokenizer", "shards"))
    vocab_size = recipe.tokenizer.vocab_size if tokenizer is None else tokenizer.figures["vocab_size"]
    config = recipe.training_config(vocab_size, run)
    device = find_device(config.device, 0)
    dtype = autocast_type(config, device)
    return plan_run(
        config,
        train_tokens=None if shards is None else shards.figures["train_tokens"],
        validation_tokens=None if shards is None else shards.figures.get("validation_tokens"),
        micro_batch_size=config.micro_batch_size or config.batch_size,
        processes=1,
        device=device.type,
        precision="float32" if dtype is None else "bfloat16",
        peak_flops=config.peak_flops or measured_flops(device, dtype or torch.float32),
    )
