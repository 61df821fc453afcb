"""The model with the weights that a run begins with."""

from __future__ import annotations

import torch

from fastlm.model.transformer import TransformerLM
from fastlm.training.config import TrainingConfig
from fastlm.training.initial_model import initial_model


def first_model(config: TrainingConfig) -> TransformerLM:
    """The model with its first weights, in float32 on the CPU, so that random weights are the same on every device.

    Raises:
        OSError: The model that init_from names cannot be read.
        ValueError: That model differs from the configuration.
    """
    if config.init_from is not None:
        return initial_model(config.init_from, config.model)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return TransformerLM.from_config(config.model, device="cpu", dtype=torch.float32)
