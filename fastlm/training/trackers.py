"""Trackers of experiments that get what the log gets: TensorBoard, Weights & Biases, trackio.

Each library is imported only if the configuration asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fastlm._extras import install_command
from fastlm.files.atomic import write_files
from fastlm.files.reading import read_text
from fastlm.training.config import TrainingConfig

RUN_ID = "tracking.txt"


class Tracker(Protocol):
    """Takes the figures and the samples of a run."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the values of a step."""

    def write_samples(self, step: int, samples: Sequence[Mapping[str, str]]) -> None:
        """Takes the samples of a step: prompts and the texts that continue them."""

    def close(self, failed: bool) -> None:
        """Ends the tracking."""


def open_trackers(config: TrainingConfig, step: int) -> list[Tracker]:
    """Opens the trackers that a configuration asks for.

    A run that resumes continues its run of the tracker, whose identifier is in `tracking.txt` in its directory.

    Args:
        config: The configuration.
        step: Number of steps done.

    Raises:
        ValueError: A package is missing.
    """
    found: list[Tracker] = []
    if config.tensorboard:
        found.append(_TensorBoard(Path(config.out) / "tensorboard", step))
    if config.wandb or config.trackio:
        run_id = _run_id(Path(config.out), step)
        if config.wandb:
            found.append(_Wandb(config, run_id))
        if config.trackio:
            found.append(_Trackio(config, run_id))
    return found


def _missing(option: str, extra: str) -> ValueError:
    return ValueError(f"{option} is true, but the package is missing: {install_command(extra)}")


def _run_id(directory: Path, step: int) -> str:
    """The identifier of a run: a new one at its beginning."""
    path = directory / RUN_ID
    if step and path.exists():
        return read_text(path).strip()
    run_id = os.urandom(4).hex()
    write_files(directory, {RUN_ID: f"{run_id}\n".encode()})
    return run_id


def _settings(config: TrainingConfig) -> dict[str, Any]:
    """The configuration with values that JSON can represent."""
    return {**config.deciding(), "out": config.out, "train_data": list(config.train_data)}


class _TensorBoard:
    def __init__(self, directory: Path, step: int):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError("tensorboard is true, but the package is missing: pip install tensorboard") from None
        self._writer: Any = SummaryWriter(str(directory), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def write_samples(self, step: int, samples: Sequence[Mapping[str, str]]) -> None:
        for number, sample in enumerate(samples):
            self._writer.add_text(f"sample_{number}", f"    {sample['prompt']}{sample['text']}", step)

    def close(self, failed: bool) -> None:
        self._writer.close()


class _Wandb:
    """Weights & Biases. It ignores values of a step before the last one that it has, which are the same."""

    def __init__(self, config: TrainingConfig, run_id: str):
        try:
            import wandb
        except ImportError:
            raise _missing("wandb", "wandb") from None
        self._wandb: Any = wandb
        self._run: Any = wandb.init(
            project=config.project,
            name=Path(config.out).name,
            id=run_id,
            resume="allow",
            dir=config.out,
            config=_settings(config),
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def write_samples(self, step: int, samples: Sequence[Mapping[str, str]]) -> None:
        rows = [[sample["prompt"], sample["text"]] for sample in samples]
        self._run.log({"samples": self._wandb.Table(columns=["prompt", "text"], data=rows)}, step=step)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class _Trackio:
    def __init__(self, config: TrainingConfig, run_id: str):
        try:
            import trackio
        except ImportError:
            raise _missing("trackio", "trackio") from None
        self._trackio: Any = trackio
        trackio.init(
            project=config.project,
            name=f"{Path(config.out).name}-{run_id}",
            resume="allow",
            config=_settings(config),
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._trackio.log(dict(values), step=step)

    def write_samples(self, step: int, samples: Sequence[Mapping[str, str]]) -> None:
        texts = {f"sample_{number}": f"{sample['prompt']}{sample['text']}" for number, sample in enumerate(samples)}
        self._trackio.log(texts, step=step)

    def close(self, failed: bool) -> None:
        self._trackio.finish()
