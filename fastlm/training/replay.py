"""The windows of a past step of a run: their text, the documents they come from, and the loss of each token.

The windows are a function of seed and step, so nothing is recorded while a run trains.

B batch, T sequence.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from fastlm.corpus.document_table import read_document_table
from fastlm.model.transformer import TransformerLM
from fastlm.tokenizer import Tokenizer
from fastlm.tokenizer_files import load
from fastlm.training.batches import read_batches, step_starts
from fastlm.training.checkpoint import read_checkpoint
from fastlm.training.checkpoint_rotation import CheckpointRotation
from fastlm.training.config import TrainingConfig, load_config
from fastlm.training.data import TokenFiles
from fastlm.training.first_model import first_model
from fastlm.training.hardware import autocast_type, find_device
from fastlm.training.initial_model import initial_tokenizer
from fastlm.training.log import read_log
from fastlm.training.run_data import RunData
from fastlm.training.schedule import learning_rate_of

# fields of the identity of a run that decide the windows
_DECIDING = ("seed", "batch_size", "model.context_length")


@dataclass(frozen=True)
class ReplayedDocument:
    """The part of a document in a window.

    Attributes:
        shard: The file of ids in which the document ends.
        number: Number of the document in its split.
        source: The file that the document comes from, if the shards have a table of documents.
        position: Its byte, line or row there; see corpus.document_table.
        first_token: Its first token in the window.
        tokens: Number of its tokens in the window.
        skipped_tokens: Number of its tokens before the window.
    """

    shard: str
    number: int
    source: str | None
    position: int | None
    first_token: int
    tokens: int
    skipped_tokens: int


@dataclass(frozen=True)
class ReplayedWindow:
    """A window of a step.

    Attributes:
        start: Position of its first id in the training data.
        ids: Its T + 1 ids.
        text: Their text; None without a tokenizer.
        tokens: The text of each id; None without a tokenizer.
        losses: The loss in nats of each id but the first, given the ids before it in its document.
        documents: The documents; None if nothing tells where they end.
    """

    start: int
    ids: list[int]
    text: str | None
    tokens: list[str] | None
    losses: list[float]
    documents: list[ReplayedDocument] | None

    @property
    def loss(self) -> float:
        """The mean loss."""
        return float(np.mean(self.losses))


@dataclass(frozen=True)
class Replay:
    """A past step of a run.

    Attributes:
        step: The step.
        learning_rate: Its learning rate.
        logged_loss: The loss that the run logged for it, if it did.
        weights: The weights that computed the losses: a checkpoint, or the first weights.
        weights_step: The number of steps that they have done. The step itself used weights of `step` - 1 steps.
        windows: The windows.
    """

    step: int
    learning_rate: float
    logged_loss: float | None
    weights: str
    weights_step: int
    windows: list[ReplayedWindow]

    @property
    def is_exact(self) -> bool:
        """Whether the losses are the losses of the step, from its weights before the update."""
        return self.weights_step == self.step - 1

    @property
    def loss(self) -> float:
        """The mean loss over all windows."""
        return float(np.mean([window.loss for window in self.windows]))

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, with values that JSON can represent."""
        return asdict(self) | {"exact": self.is_exact, "loss": self.loss}


def replay(run: str | Path, step: int, device: str = "auto") -> Replay:
    """Computes a past step of a run again.

    The losses are exact if the run has the checkpoint of the step before, and for step 1. Otherwise the weights of
    the nearest checkpoint compute them.

    Args:
        run: The directory of the run.
        step: The step, from 1.
        device: As in TrainingConfig.

    Returns:
        The step.

    Raises:
        OSError: A file cannot be read.
        ValueError: The run has not done the step, or its data have changed.
    """
    folder = Path(run)
    config = load_config(folder / "config.toml")
    if not 1 <= step <= config.steps:
        raise ValueError(f"step is {step}; expected 1 to {config.steps}, the steps of {folder}")
    data = RunData.open(config)
    checkpoints = CheckpointRotation(folder / "checkpoints", 1)
    newest = checkpoints.newest()
    if newest is not None:
        _check_same(config, data, newest)
    place = find_device(device, 0)
    weights, weights_step, model = _weights(config, checkpoints, step)
    tokenizer = _tokenizer(config, folder)
    starts = step_starts(config, data, step)
    losses = _losses(model.to(place), config, data, starts, place)
    lines = [line for line in read_log(folder / "log.jsonl") if line["step"] == step and "loss" in line]
    windows = [
        _window(data.train, int(start), ids, row, tokenizer)
        for start, ids, row in zip(starts, data.train.windows(starts).tolist(), losses, strict=True)
    ]
    logged = lines[0]["loss"] if lines else None
    return Replay(step, learning_rate_of(config, step), logged, weights, weights_step, windows)


def _check_same(config: TrainingConfig, data: RunData, checkpoint: Path) -> None:
    """Refuses data and settings that differ from a checkpoint's."""
    run = read_checkpoint(checkpoint)[2]["run"]
    found = {**config.deciding(), "data_sha256": data.train.fingerprint()}
    for name in (*_DECIDING, "data_sha256"):
        if name in run and run[name] != found[name]:
            raise ValueError(f"{checkpoint}: made with {name} {run[name]!r}; found {found[name]!r}")


def _weights(config: TrainingConfig, checkpoints: CheckpointRotation, step: int) -> tuple[str, int, TransformerLM]:
    """The weights before a step, or the nearest ones: what they are, the steps they have done, and the model."""
    known = checkpoints.all()
    nearest = min(known, key=lambda one: abs(one[0] - (step - 1)), default=None)
    if step == 1 or nearest is None:
        return "the first weights", 0, first_model(config)
    done, path = nearest
    _, tensors, _ = read_checkpoint(path)
    model = TransformerLM.from_config(config.model, device="cpu", dtype=torch.float32)
    prefix = "model."
    weights = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    model.load_state_dict(weights, rope_layout=config.model.rope_layout)
    return path.name, done, model


def _tokenizer(config: TrainingConfig, folder: Path) -> Tokenizer | None:
    if config.tokenizer is not None:
        return load(config.tokenizer)
    return None if config.init_from is None else initial_tokenizer(config.init_from)


@torch.no_grad()
def _losses(
    model: TransformerLM, config: TrainingConfig, data: RunData, starts: np.ndarray[Any, Any], device: torch.device
) -> list[list[float]]:
    """The loss of each token of each window."""
    dtype = autocast_type(config, device)
    size = min(config.micro_batch_size or config.batch_size, config.batch_size)
    found: list[list[float]] = []
    for batch in read_batches(data, starts, size):
        inputs, targets, documents = batch.to(device)
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            hidden = model.hidden(inputs, document_ids=documents)  # (B, T, D)
            for row, expected in zip(hidden, targets, strict=True):  # a row at a time: all logits are large
                logits = F.linear(row, model.lm_head.weight).float()  # (T, V)
                found.append(F.cross_entropy(logits, expected, reduction="none").tolist())
    return found


def _window(
    data: TokenFiles, start: int, ids: list[int], losses: list[float], tokenizer: Tokenizer | None
) -> ReplayedWindow:
    text = tokens = None
    if tokenizer is not None:
        text = tokenizer.decode(ids)
        tokens = [tokenizer.decode([token_id]) for token_id in ids]
    return ReplayedWindow(start, ids, text, tokens, losses, _documents(data, start, start + len(ids)))


def _documents(data: TokenFiles, start: int, stop: int) -> list[ReplayedDocument] | None:
    """The documents of the ids from `start` to `stop`; None if a file there has no manifest."""
    found: list[ReplayedDocument] = []
    for part in data.parts(start, stop):
        if part.file.listing is None:
            return None
        listing = part.file.listing
        folder = listing.manifest_path.parent
        table = read_document_table(folder, listing.split)
        shards = listing.manifest.splits[listing.split]
        before = sum(shard.documents for shard in shards[: listing.number])
        ends = part.file.document_ends()
        at = part.first
        while at < part.last:
            index = int(np.searchsorted(ends, at, "right"))
            until = min(int(ends[index]), part.last) if index < len(ends) else part.last
            begun = int(ends[index - 1]) if index else 0
            number = before + index
            row = None if table is None or number >= len(table) else table[number]
            document = ReplayedDocument(
                shard=str(part.file.path),
                number=number,
                source=None if row is None else str(listing.manifest.job.inputs[int(row["source"])]["name"]),
                position=None if row is None else int(row["position"]),
                first_token=part.offset + at - part.first,
                tokens=until - at,
                skipped_tokens=at - begun,
            )
            found = _joined(found, document)
            at = until
    return found


def _joined(found: list[ReplayedDocument], document: ReplayedDocument) -> list[ReplayedDocument]:
    """Adds a document; the rest of one that continues in the next shard is added to its beginning."""
    if found and found[-1].number == document.number and Path(found[-1].shard).parent == Path(document.shard).parent:
        first = found[-1]
        joined = ReplayedDocument(
            **{**asdict(first), "tokens": first.tokens + document.tokens, "shard": document.shard}
        )
        return [*found[:-1], joined]
    return [*found, document]
