"""What a training run is: one typed record, from TOML and from the command line, without torch."""

from __future__ import annotations

import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

from fastlm.model.config import ModelConfig

# fields that, beside the model's, decide losses and weights but for rounding: a run goes on only with the same
DECIDING = (
    "end_of_text",
    "steps",
    "batch_size",
    "optimizer",
    "learning_rate",
    "min_learning_rate",
    "warmup_steps",
    "beta1",
    "beta2",
    "eps",
    "weight_decay",
    "max_gradient_norm",
    "seed",
    "precision",
)
POSITIVE_INTEGERS = (
    "steps",
    "batch_size",
    "micro_batch_size",
    "log_every",
    "eval_every",
    "eval_sequences",
    "checkpoint_every",
    "keep_checkpoints",
)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A training run.

    Args:
        model: Shape of the model; its context_length is the length of the sequences.
        out: Directory of the run: configuration, log, checkpoints, and in the end the model.
        train_data: Files of token ids, one sequence of tokens together: .npy as `fastlm encode` writes, or .bin of raw
            little-endian uint16.
        valid_data: Files of token ids for evaluation.
        tokenizer: Directory or file of the tokenizer; gives bits per byte, and is stored with the model.
        end_of_text: Id of the token between documents; then tokens see only those of their own document. None for
            windows without regard to documents.
        steps: Number of updates of the weights.
        batch_size: Sequences of an update, over all processes.
        micro_batch_size: Sequences that a process computes at a time; None for all of its share of a batch.
        optimizer: "adamw", or "muon" for the matrices of the blocks and AdamW for the rest.
        learning_rate: The highest, at the end of the warm-up.
        min_learning_rate: At the last step.
        warmup_steps: Steps in which the learning rate rises from 0; then it falls along half a cosine.
        beta1: Decay of AdamW's mean of gradients.
        beta2: Decay of AdamW's mean of squared gradients.
        eps: What AdamW adds to the root of the latter.
        weight_decay: Of matrices; vectors have none.
        max_gradient_norm: Gradients are scaled down to this l2 norm; None for no limit.
        seed: Decides first weights and windows.
        precision: Of matrix products: "bfloat16" by autocast, "float32", or "auto" for bfloat16 where the hardware
            multiplies it; elsewhere it saves memory and is no faster than float32.
        checkpoint_activations: Whether the backward pass computes the activations within blocks again instead of
            keeping them.
        compile: Whether the model is compiled by torch.compile.
        device: "cpu", "cuda", another device of torch, or "auto" for cuda where there is one.
        parallel: What processes started by torchrun share: "ddp", the batch; "fsdp", also weights, gradients and
            states of the optimizer.
        log_every: Steps between lines of the log.
        eval_every: Steps between evaluations, and one follows the last step.
        eval_sequences: The most sequences of an evaluation, spread evenly over the data; None for all.
        checkpoint_every: Steps between checkpoints, and one follows the last step.
        keep_checkpoints: Number of checkpoints that are kept.
        peak_flops: FLOP/s of a device that count as full utilisation; None to measure those of a matrix product.
        tensorboard: Whether the log is also written for TensorBoard.

    Raises ValueError that names the field, its value and what was expected.
    """

    model: ModelConfig
    out: str
    train_data: tuple[str, ...]
    valid_data: tuple[str, ...] = ()
    tokenizer: str | None = None
    end_of_text: int | None = None
    steps: int
    batch_size: int
    micro_batch_size: int | None = None
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float
    min_learning_rate: float = 0.0
    warmup_steps: int = 0
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_gradient_norm: float | None = 1.0
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    checkpoint_activations: bool = False
    compile: bool = False
    device: str = "auto"
    parallel: Literal["ddp", "fsdp"] = "ddp"
    log_every: int = 10
    eval_every: int = 500
    eval_sequences: int | None = None
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    peak_flops: float | None = None
    tensorboard: bool = False

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in fields(self):
            _check_type(field.name, getattr(self, field.name), hints[field.name])
        for name in POSITIVE_INTEGERS:
            if (value := getattr(self, name)) is not None:
                _check(name, value, 0 < value < 1 << 62, "a positive integer")
        for name in ("learning_rate", "eps", "max_gradient_norm", "peak_flops"):
            if (value := getattr(self, name)) is not None:
                _check(name, value, math.isfinite(value) and value > 0, "a positive number")
        for name in ("beta1", "beta2"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) < 1, "a number from 0 to less than 1")
        _check("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "a number not below 0")
        within = 0 <= self.min_learning_rate <= self.learning_rate
        _check("min_learning_rate", self.min_learning_rate, within, f"from 0 to learning_rate, {self.learning_rate}")
        _check("warmup_steps", self.warmup_steps, 0 <= self.warmup_steps <= self.steps, f"0 to steps, {self.steps}")
        _check("seed", self.seed, 0 <= self.seed < 1 << 63, "an integer from 0 to less than 2^63")
        _check("train_data", self.train_data, bool(self.train_data), "at least one file")
        if self.end_of_text is not None:
            known = 0 <= self.end_of_text < self.model.vocab_size
            _check("end_of_text", self.end_of_text, known, f"an id below vocab_size, {self.model.vocab_size}")
        if self.parallel == "fsdp" and (self.compile or self.optimizer == "muon"):
            other = "compile" if self.compile else "optimizer 'muon'"
            raise ValueError(f"parallel is 'fsdp', which does not go with {other}; expected 'ddp'")

    def deciding(self) -> dict[str, Any]:
        """The fields that decide the result, those of the model as `model.NAME`, of types that JSON has."""
        own = {name: getattr(self, name) for name in DECIDING}
        return own | {f"model.{name}": value for name, value in self.model.to_dict().items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration of which `values` has the fields, `model` as a mapping and files as lists; ValueError for a
        field that is missing, unknown or wrong. "none" stands for None, which TOML does not have."""
        required = {"model", "out", "train_data", "steps", "batch_size", "learning_rate"}
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown field {unknown[0]!r}; expected some of {', '.join(sorted(known))}")
        if missing := sorted(required - set(values)):
            raise ValueError(f"field {missing[0]!r} is missing")
        arguments = {name: _without_none(value) for name, value in values.items()}
        if not isinstance(values["model"], Mapping):
            raise ValueError(f"model is {values['model']!r}; expected a table of fields")
        try:
            arguments["model"] = ModelConfig.from_dict({k: _without_none(v) for k, v in values["model"].items()})
        except ValueError as error:
            raise ValueError(f"model: {error}") from None
        return cls(**arguments)

    def to_toml(self) -> str:
        """The configuration as TOML that `load_config` reads."""
        lines = [
            f"{field.name} = {_toml(getattr(self, field.name))}" for field in fields(self) if field.name != "model"
        ]
        lines += ["", "[model]", *(f"{name} = {_toml(value)}" for name, value in self.model.to_dict().items())]
        return "\n".join(lines) + "\n"


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> TrainingConfig:
    """The configuration in a TOML file, `overrides` standing above it, field by field, those of `model` too.

    Raises OSError where the file cannot be read, ValueError naming file and field for what is wrong in it.
    """
    try:
        values = tomllib.loads(Path(path).read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not TOML: {error}") from None
    changes = dict(overrides or {})
    if isinstance(values.get("model", {}), dict):
        changes["model"] = {**values.get("model", {}), **changes.get("model", {})}
    try:
        return TrainingConfig.from_dict({**values, **changes})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _without_none(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return None if value == "none" else value


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # what JSON writes of strings, numbers and booleans is TOML as well, if characters stand for themselves
    return '"none"' if value is None else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _check(name: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value!r}; expected {expected}")


def _check_type(name: str, value: Any, hint: Any) -> None:
    if not _is_of(value, hint):
        raise ValueError(f"{name} is {value!r}; expected {_described(hint)}")


def _is_of(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin is types.UnionType:
        return any(_is_of(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(isinstance(item, arguments[0]) for item in value)
    return type(value) is hint or (hint is float and type(value) is int)


def _described(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(arguments)}"
    if origin is types.UnionType:
        return " or ".join(map(_described, arguments))
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text", types.NoneType: "none"}
    return "a list of texts" if origin is tuple else names.get(hint, hint.__name__)
