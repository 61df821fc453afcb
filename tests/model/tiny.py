"""A run so small that a test can make many of them."""

from pathlib import Path
from typing import Any

import numpy as np

from fastlm.model.config import ModelConfig
from fastlm.training.config import TrainingConfig

MODEL = ModelConfig(vocab_size=40, context_length=12, d_model=16, num_layers=2, num_heads=2, d_ff=24)


def ids(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Ids of which some are more frequent and each says something about the next."""
    rng = np.random.default_rng(seed)
    return ((rng.integers(0, 40, count).cumsum() % 40) ** 2 // 40).astype("<u2")


def config(directory: Path, **changes: Any) -> TrainingConfig:
    """A run in `directory`/run over three files there, of each kind that can be read; they are made if not there."""
    if not directory.is_dir():
        directory.mkdir()
        np.save(directory / "a.npy", ids(3000))
        np.save(directory / "b.npy", ids(40, 1).astype("<u4"))
        ids(2000, 2).tofile(directory / "c.bin")
        np.save(directory / "valid.npy", ids(500, 3))
    values: dict[str, Any] = {
        "model": MODEL,
        "out": str(directory / "run"),
        "train_data": tuple(str(directory / name) for name in ("a.npy", "b.npy", "c.bin")),
        "validation_data": (str(directory / "valid.npy"),),
        "data_dtype": "uint16",
        "steps": 12,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "min_learning_rate": 1e-3,
        "warmup_steps": 3,
        "precision": "float32",
        "device": "cpu",
        "log_every": 1,
        "eval_every": 5,
        "checkpoint_every": 4,
        "peak_flops": 1e11,
    }
    return TrainingConfig(**{**values, **changes})
