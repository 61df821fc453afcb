"""The configuration of a training run: one typed record, from TOML and the command line. Needs no torch."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

from fastlm.files.reading import read_toml
from fastlm.model.config import LATER_FIELDS, ModelConfig
from fastlm.model.sizing import SIZE_FIELDS, SIZES, with_size
from fastlm.training.config_values import (
    ALIASES,
    SHORT_NAMES,
    check,
    check_type,
    field_types,
    python_values,
    renamed,
    to_toml,
)

# Fields that, with the model's, decide losses and weights except for rounding. A run resumes only with the same values,
# except that `steps` may grow and the learning rates may fall.
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
    "allow_tf32",
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
    "sample_every",
    "sample_tokens",
)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A training run.

    Args:
        model: Configuration of the model; its context_length is the length of the sequences. In a file it may be the
            name of a preset, and a table may have `preset`, `depth` or `params` in place of sizes; vocab_size is by
            default the vocabulary size of the data. It may be left out, in part or as a whole, if init_from is given.
        out: Directory of the run: configuration, log, checkpoints, and finally the model.
        init_from: Model whose weights the run starts from: a folder of fastlm, a folder of transformers with a Llama,
            or a .bin file of llama2.c. None for random weights.
        train_data: Token ids: folders that `fastlm encode` wrote, files, and globs of both. Files are .npy, .bin of
            Megatron-LM with its .idx, .bin of llm.c, or other .bin of raw little-endian ids. Together they are one
            sequence of tokens. The short name data is accepted.
        validation_data: Token ids for evaluation, in the same forms. By default the validation split of the folders in
            train_data, if they have one. The earlier name valid_data is accepted.
        data_dtype: Dtype of the ids in .bin files that have neither a manifest nor a header nor an .idx file.
        tokenizer: Directory or file of the tokenizer. It gives bits per byte, and is saved with the model. It must be
            the one that made the ids.
        end_of_text: Id of the token between documents. Tokens then see tokens of their own document only. "auto" takes
            the id from the manifests of the folders and globs in train_data; if documents have no such token there,
            it takes their recorded ends. None ignores documents.
        steps: Number of updates of the weights.
        batch_size: Sequences per update, over all processes.
        micro_batch_size: Sequences that a process computes at once; None for its whole share of a batch.
        optimizer: "adamw", or "muon" for the matrices of the layers and AdamW for the rest.
        learning_rate: Maximum learning rate, at the end of the warm-up.
        min_learning_rate: Learning rate of the last step. With 0 the last step changes nothing.
        warmup_steps: Steps in which the learning rate rises from 0; then it falls along half a cosine.
        beta1: Decay of AdamW's mean of gradients.
        beta2: Decay of AdamW's mean of squared gradients.
        eps: Value that AdamW adds to the root of the mean of squared gradients.
        weight_decay: Weight decay of matrices; vectors have none.
        max_gradient_norm: Maximum l2 norm of the gradient, which is scaled down to it; None for no limit.
        seed: Seed of the first weights and of the windows.
        prefetch: Number of steps whose batches are read ahead, in a thread; 0 for none. It does not change them.
        precision: Dtype of matrix products: "bfloat16" by autocast, "float32", or "auto" for bfloat16 where the
            hardware multiplies it. Elsewhere bfloat16 saves memory and is no faster than float32. A run that resumes
            with "auto" keeps the dtype that it began with.
        allow_tf32: Whether float32 products on CUDA may use TF32, which has 10 bits of mantissa and is several times as
            fast. It applies during the run only.
        checkpoint_activations: Whether the backward pass recomputes the activations within layers instead of storing
            them.
        compile: Whether torch.compile compiles the model.
        device: "cpu", "cuda", another device of torch, or "auto" for cuda if available, else mps (Apple's GPUs) if
            available, else cpu.
        parallel: What the processes started by torchrun share: "ddp", the batch; "fsdp", also weights, gradients and
            optimizer states.
        log_every: Steps between lines of the log.
        eval_every: Steps between evaluations; one follows the last step.
        eval_sequences: Maximum number of sequences in an evaluation, spread evenly over the data; None for all.
        checkpoint_every: Steps between checkpoints; one follows the last step.
        keep_checkpoints: Number of checkpoints to keep.
        peak_flops: FLOP/s of a device at full utilization; None to measure them with a matrix product.
        sample_every: Steps between samples, texts that the model writes, also after the last step; None for no samples.
            They need a tokenizer, and change nothing in the training.
        sample_prompts: Texts that the samples continue.
        sample_tokens: Maximum number of tokens of a sample.
        tensorboard: Whether the log is also written for TensorBoard.
        wandb: Whether the log also goes to Weights & Biases; its variables such as WANDB_MODE apply.
        trackio: Whether the log also goes to trackio.
        project: Name of the project in Weights & Biases and trackio.

    Raises:
        ValueError: A field has a wrong value. The message names the field, the value and the expected values.
    """

    model: ModelConfig
    out: str
    init_from: str | None = None
    train_data: tuple[str, ...]
    validation_data: tuple[str, ...] = ()
    data_dtype: Literal["uint16", "uint32", "int32"] | None = None
    tokenizer: str | None = None
    end_of_text: int | Literal["auto"] | None = "auto"
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
    prefetch: int = 1
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    allow_tf32: bool = False
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
    sample_every: int | None = None
    sample_prompts: tuple[str, ...] = ("The",)
    sample_tokens: int = 64
    tensorboard: bool = False
    wandb: bool = False
    trackio: bool = False
    project: str = "fastlm"

    def __post_init__(self) -> None:
        hints = field_types(type(self))
        for field in fields(self):
            check_type(field.name, getattr(self, field.name), hints[field.name])
        self._check_ranges()
        check("train_data", self.train_data, bool(self.train_data), "at least one file or folder")
        check("sample_prompts", self.sample_prompts, bool(self.sample_prompts), "at least one text")
        check("project", self.project, bool(self.project), "a name")
        if isinstance(self.end_of_text, int):
            known = 0 <= self.end_of_text < self.model.vocab_size
            check("end_of_text", self.end_of_text, known, f"an id below vocab_size, {self.model.vocab_size}")
        if self.parallel == "fsdp" and (self.compile or self.optimizer == "muon"):
            other = "compile" if self.compile else "optimizer 'muon'"
            raise ValueError(f"parallel is 'fsdp', which does not go with {other}; expected 'ddp'")

    def _check_ranges(self) -> None:
        for name in POSITIVE_INTEGERS:
            if (value := getattr(self, name)) is not None:
                check(name, value, 0 < value < 1 << 62, "a positive integer")
        for name in ("learning_rate", "eps", "max_gradient_norm", "peak_flops"):
            if (value := getattr(self, name)) is not None:
                check(name, value, 0 < value <= sys.float_info.max, "a positive number")
        for name in ("beta1", "beta2"):
            check(name, getattr(self, name), 0 <= getattr(self, name) < 1, "a number from 0 to less than 1")
        decay = self.weight_decay
        check("weight_decay", decay, 0 <= decay <= sys.float_info.max, "a number not below 0")
        within = 0 <= self.min_learning_rate <= self.learning_rate
        check("min_learning_rate", self.min_learning_rate, within, f"from 0 to learning_rate, {self.learning_rate}")
        check("warmup_steps", self.warmup_steps, 0 <= self.warmup_steps <= self.steps, f"0 to steps, {self.steps}")
        check("prefetch", self.prefetch, 0 <= self.prefetch <= 1000, "an integer from 0 to 1000")
        check("seed", self.seed, 0 <= self.seed < 1 << 63, "an integer from 0 to less than 2^63")

    @property
    def valid_data(self) -> tuple[str, ...]:
        """The earlier name of validation_data. Deprecated."""
        return self.validation_data

    def deciding(self) -> dict[str, Any]:
        """The fields that decide the result, with the model's as `model.NAME`, with values that JSON can represent."""
        own = {name: getattr(self, name) for name in DECIDING}
        return own | {f"model.{name}": value for name, value in self.model.to_dict().items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Makes a configuration from a mapping as TOML gives it: `model` is a mapping, tuples are lists or one text.

        "none" means None in fields that may be None. `data` is a short name of train_data. `model` may be the name of a
        preset, and may have `preset`, `depth` or `params` in place of sizes; see model.sizing. Fields of `model` that
        are missing come from the model that init_from names; vocab_size comes from the manifests of train_data, or from
        the tokenizer.

        Raises:
            ValueError: A field is missing, unknown, given under two names, or wrong.
            OSError: The model that init_from names, or a manifest or tokenizer, cannot be read.
        """
        values = renamed(values)
        required = {"model", "out", "train_data", "steps", "batch_size", "learning_rate"}
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown field {unknown[0]!r}; expected some of {', '.join(sorted(known))}")
        arguments = python_values(values, field_types(cls))
        if arguments.get("init_from") is not None:
            values = {"model": {}, **values}
        if missing := sorted(required - set(values)):
            raise ValueError(f"field {missing[0]!r} is missing")
        model = {"preset": values["model"]} if isinstance(values["model"], str) else values["model"]
        if not isinstance(model, Mapping):
            raise ValueError(f"model is {model!r}; expected the name of a preset or a table of fields")
        try:
            model = python_values(model, field_types(ModelConfig))
            arguments["model"] = ModelConfig.from_dict(_completed(model, arguments))
        except ValueError as error:
            raise ValueError(f"model: {error}") from None
        return cls(**arguments)

    def to_toml(self) -> str:
        """Formats the configuration as TOML that `load_config` reads."""
        lines = [
            f"{field.name} = {to_toml(getattr(self, field.name))}" for field in fields(self) if field.name != "model"
        ]
        lines += ["", "[model]", *(f"{name} = {to_toml(value)}" for name, value in self.model.to_dict().items())]
        return "\n".join(lines) + "\n"


def _accept_aliases(cls: type[TrainingConfig]) -> None:
    """Lets the constructor accept other names of fields."""
    original = cls.__init__

    @functools.wraps(original)
    def init(self: TrainingConfig, **values: Any) -> None:
        for old, new in ALIASES.items():
            if old in values and old not in SHORT_NAMES:
                warnings.warn(f"{old} is deprecated; use {new}", DeprecationWarning, stacklevel=2)
        original(self, **renamed(values))

    cls.__init__ = init  # type: ignore[method-assign]


_accept_aliases(TrainingConfig)


def load_config(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> TrainingConfig:
    """Reads a configuration from a TOML file.

    Args:
        path: The file; None if the overrides have all fields.
        overrides: Fields that replace the fields of the file one by one, also within `model`. A `preset`, `depth` or
            `params` in `model` replaces all sizes of the file.

    Returns:
        The configuration.

    Raises:
        OSError: The file, or the model that init_from names, cannot be read.
        ValueError: The content is wrong. The message names the file and the field.
    """
    values = {} if path is None else read_toml(path)
    changes = dict(overrides or {})
    try:
        values, changes = renamed(values), renamed(changes)
        if "model" in values and "model" in changes:
            changes["model"] = _merged(values["model"], changes["model"])
        return TrainingConfig.from_dict({**values, **changes})
    except ValueError as error:
        if path is None:
            raise
        raise ValueError(f"{path}: {error}") from None


def _merged(model: Any, changes: Mapping[str, Any]) -> Any:
    """The fields of a model with changes; a size as a whole replaces all sizes before."""
    model = {"preset": model} if isinstance(model, str) else model
    if not isinstance(model, Mapping):
        return model
    replaced = (*SIZES, *SIZE_FIELDS) if any(name in changes for name in SIZES) else ()
    return {**{name: value for name, value in model.items() if name not in replaced}, **changes}


def _completed(model: dict[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the model, with missing ones from the model that init_from names, and from the data."""
    if arguments.get("init_from") is not None:
        if not all(field.name in model or field.name in LATER_FIELDS for field in fields(ModelConfig)):
            # imported late, because it loads torch
            from fastlm.training.initial_model import load_initial_model

            model = {**load_initial_model(arguments["init_from"]).config.to_dict(), **model}
        return with_size(model)
    if "vocab_size" not in model and "preset" not in model:
        from fastlm.training.token_source import vocabulary_size

        size = vocabulary_size(arguments["train_data"], arguments.get("tokenizer"))
        model = model if size is None else {**model, "vocab_size": size}
    return with_size(model)
