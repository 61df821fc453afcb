"""What a run is: the values that decide its result, which a checkpoint records and processes compare."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from fastlm.model.safetensors_file import named_digest, tensor_bytes
from fastlm.model.transformer import TransformerLM
from fastlm.tokenizer import Tokenizer
from fastlm.training.config import TrainingConfig
from fastlm.training.parallel import Processes
from fastlm.training.resuming import Resumed
from fastlm.training.run_data import RunData


def tokenizer_fingerprint(
    config: TrainingConfig, run_data: RunData, tokenizer: Tokenizer | None, model: TransformerLM
) -> str | None:
    """The fingerprint of the tokenizer that made the ids, if known.

    Args:
        config: The configuration.
        run_data: The data.
        tokenizer: The tokenizer of the run, if it has one.
        model: The model with its first weights.

    Raises:
        ValueError: Data, tokenizer and model have different fingerprints.
    """
    known: dict[str, str] = {}
    if tokenizer is not None:
        known[tokenizer.vocabulary.fingerprint] = f"the tokenizer {config.tokenizer or 'of init_from'}"
    if model.tokenizer_fingerprint is not None:
        known.setdefault(model.tokenizer_fingerprint, f"the model {config.init_from}")
    for data in (run_data.train, run_data.validation):
        for fingerprint, path in {} if data is None else data.tokenizers.items():
            known.setdefault(fingerprint, path)
    if len(known) > 1:
        (first, source), (second, other) = list(known.items())[:2]
        raise ValueError(
            f"{other}: its tokenizer has the fingerprint {second}, but {source} has {first}; expected ids, "
            "tokenizer and model that belong together"
        )
    return next(iter(known), None)


def run_identity(
    config: TrainingConfig, data: RunData, precision: str, fingerprint: str | None, model: nn.Module
) -> dict[str, Any]:
    """All values that a checkpoint must have been made with to resume from it.

    Args:
        config: The configuration.
        data: The data.
        precision: "float32" or "bfloat16".
        fingerprint: The fingerprint of the tokenizer.
        model: The model with its first weights.
    """
    return {
        **config.deciding(),
        "end_of_text": data.separator,
        "precision": precision,
        "data_sha256": data.train.fingerprint(),
        "tokenizer": fingerprint,
        "initial_weights": None if config.init_from is None else _weights_digest(model),
    }


def check_resumed(resumed: Resumed | None, identity: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of another run. Values that an earlier version did not write are not compared."""
    if resumed is None:
        return
    run = resumed.document["run"]
    for name, value in identity.items():
        if name in run and not _may_resume(name, run[name], value):
            raise ValueError(
                f"{resumed.path}: made with {name} {run[name]!r}, not {value!r}; give another directory as out"
            )


def check_processes(
    processes: Processes, out: str, resumed: Resumed | None, identity: Mapping[str, Any], model: nn.Module
) -> None:
    """Refuses processes that would begin with different states.

    Args:
        processes: The processes.
        out: Directory of the run, for messages.
        resumed: The checkpoint of this process, if there is one.
        identity: The identity of the run in this process.
        model: The model with its first weights.

    Raises:
        ValueError: names a process and what differs.
    """
    if processes.count == 1:
        return
    if resumed is None:
        mine = (0, "no checkpoint", _weights_digest(model))
    else:
        mine = (resumed.step, resumed.path.name, named_digest(resumed.path))
    states = processes.gather((mine, dict(identity)))
    (first, identity), *_ = states
    for rank, (state, other) in enumerate(states):
        if state != first:
            raise ValueError(
                f"{out}: process {rank} would begin after step {state[0]} ({state[1]}, sha256 "
                f"{state[2]}), process 0 after step {first[0]} ({first[1]}, sha256 {first[2]}); all machines must "
                "have the same checkpoints in this directory"
            )
        if differing := [name for name in identity if identity[name] != other[name]]:
            name = differing[0]
            raise ValueError(f"process {rank} has {name} {other[name]!r}, process 0 {identity[name]!r}")


def _may_resume(name: str, begun: Any, value: Any) -> bool:
    """Whether a run may resume with another value than it began with."""
    numbers = isinstance(begun, int | float) and isinstance(value, int | float)
    if name == "steps" and numbers:
        return bool(begun <= value)
    if name in ("learning_rate", "min_learning_rate") and numbers:
        return bool(value <= begun)
    if name == "tokenizer" and None in (begun, value):
        return True
    if name == "precision" and begun == "auto":  # as an earlier version wrote it
        return True
    return bool(begun == value)


def _weights_digest(model: nn.Module) -> str:
    """sha256 of the weights of a model in main memory."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor_bytes(weight.contiguous()))
    return digest.hexdigest()
