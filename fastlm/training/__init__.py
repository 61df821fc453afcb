"""Training of a model: data, optimizers, checkpoints, the training loop; needs the extra `fastlm[model]`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastlm.training.checkpoint import load_checkpoint, save_checkpoint
    from fastlm.training.config import TrainingConfig, load_config
    from fastlm.training.data import get_batch
    from fastlm.training.loop import train
    from fastlm.training.optimizer import AdamW, clip_gradients
    from fastlm.training.schedule import cosine_schedule

# imported on first access: neither a configuration nor the command that reads it loads torch
_MODULES = {
    "AdamW": "optimizer",
    "TrainingConfig": "config",
    "clip_gradients": "optimizer",
    "cosine_schedule": "schedule",
    "get_batch": "data",
    "load_checkpoint": "checkpoint",
    "load_config": "config",
    "save_checkpoint": "checkpoint",
    "train": "loop",
}

__all__ = [
    "AdamW",
    "TrainingConfig",
    "clip_gradients",
    "cosine_schedule",
    "get_batch",
    "load_checkpoint",
    "load_config",
    "save_checkpoint",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
