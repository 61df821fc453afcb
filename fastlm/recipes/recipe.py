"""Recipes: what each stage of a run does, from a TOML file or a built-in recipe."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from fastlm.corpus.read_options import Kind, ReadOptions
from fastlm.corpus.shard_formats import Format
from fastlm.corpus.skipped import OnError
from fastlm.files.reading import read_toml
from fastlm.files.schema import Range, parse
from fastlm.training.config import TrainingConfig

Positive = Annotated[int, Range(1, 2**62)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
END_OF_TEXT = "<|endoftext|>"
# fields of a training run that a recipe determines
_DETERMINED = (
    "model", "out", "init_from", "train_data", "validation_data", "data", "valid_data", "tokenizer", "end_of_text",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """The text.

    Attributes:
        embedded: Use the prose that ships with CPython.
        inputs: Paths, directories, globs and addresses, if the text is not the embedded one.
        validation_inputs: Text for evaluation only. Without it, a fraction of the documents is used.
        fetch: Command that fetches the inputs, which the message for a missing file shows.
        text_field, separator, kind, on_error: As in ReadOptions.
    """

    embedded: bool = False
    inputs: list[str] = field(default_factory=list)
    validation_inputs: list[str] = field(default_factory=list)
    fetch: str = ""
    text_field: str = "text"
    separator: str | None = None
    kind: Kind | None = None
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        if self.embedded == bool(self.inputs):
            found = "both" if self.embedded else "neither"
            raise ValueError(f"expected either embedded = true or inputs, found {found}")
        if self.embedded and self.reading != ReadOptions():
            raise ValueError(
                "expected text_field, separator, kind and on_error only with inputs, found one with embedded"
            )

    @property
    def reading(self) -> ReadOptions:
        """How the inputs are read."""
        return ReadOptions(field=self.text_field, separator=self.separator, kind=self.kind, on_error=self.on_error)


@dataclass(frozen=True, kw_only=True)
class TokenizerOptions:
    """The tokenizer; the fields are arguments of train_bpe."""

    vocab_size: Annotated[int, Range(257, 2**31 - 1)]
    special_tokens: list[str] = field(default_factory=lambda: [END_OF_TEXT])
    pattern: str | None = None
    tie_break: Literal["cs336", "hf"] = "cs336"
    min_frequency: Positive = 1
    max_token_length: Positive | None = None


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """The shards; the fields are arguments of encode_corpus, and `shuffle` is a seed of a random order of documents."""

    format: Format = "npy"
    shard_tokens: Positive = 100_000_000
    end_of_text: str | None = END_OF_TEXT
    validation_fraction: Annotated[float, Range(0, 0.999)] = 0.01
    shuffle: Seed | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """The evaluation of the trained model.

    Attributes:
        sequences: Maximum number of sequences, spread over the validation data; all by default.
        prompts: Texts that the model continues.
        max_new_tokens, temperature, top_p, seed: Options of the continuations.
    """

    sequences: Positive | None = None
    prompts: list[str] = field(default_factory=lambda: ["The"])
    max_new_tokens: Positive = 100
    temperature: Annotated[float, Range(0, 100)] = 0.8
    top_p: Annotated[float, Range(0, 1)] | None = 0.95
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The formats to export the model to; see `fastlm export`."""

    formats: list[Literal["llama", "llama2c"]] = field(default_factory=lambda: ["llama"])


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What each stage of a run does.

    Attributes:
        name: The name of the run, for its report.
        description: What the recipe is for.
        out: Directory of the run.
        corpus, tokenizer, shards, evaluation, export: The options of these stages.
        model: Fields of ModelConfig, or `preset`, `depth` or `params` in place of sizes.
        training: Fields of TrainingConfig, except those that the recipe determines.
    """

    name: str
    description: str = ""
    out: str
    corpus: CorpusOptions
    tokenizer: TokenizerOptions
    shards: ShardOptions = ShardOptions()
    model: dict[str, Any]
    training: dict[str, Any]
    evaluation: EvaluationOptions = EvaluationOptions()
    export: ExportOptions = ExportOptions()

    def __post_init__(self) -> None:
        for name in _DETERMINED:
            if name in self.training:
                raise ValueError(f"training.{name}: the recipe determines this field; expected it not to be given")
        if self.shards.end_of_text not in (None, *self.tokenizer.special_tokens):
            known = ", ".join(map(repr, self.tokenizer.special_tokens)) or "none"
            raise ValueError(
                f"shards.end_of_text: expected one of tokenizer.special_tokens ({known}), "
                f"found {self.shards.end_of_text!r}"
            )
        try:
            self.training_config(self.tokenizer.vocab_size, Path(self.out))
        except ValueError as error:
            raise ValueError(f"training: {error}") from None

    def training_config(self, vocab_size: int, run: Path, folder: Path | None = None) -> TrainingConfig:
        """The configuration of the training run.

        Args:
            vocab_size: Number of tokens of the tokenizer.
            run: Directory of the recipe's run.
            folder: Directory of the training run; by default `training` in `run`.

        Raises:
            ValueError: A field of `model` or `training` is wrong.
        """
        validation = {"validation_data": [str(run / "shards" / "validation")]} if self.corpus.validation_inputs else {}
        return TrainingConfig.from_dict(
            {
                **self.training,
                **validation,
                "model": {**({} if "preset" in self.model else {"vocab_size": vocab_size}), **self.model},
                "out": str(run / "training" if folder is None else folder),
                "train_data": [str(run / "shards" / "train")],
                "tokenizer": str(run / "tokenizer"),
            }
        )


def builtin_recipes() -> dict[str, Path]:
    """The recipes that come with fastlm, by name."""
    folder = Path(str(files("fastlm.recipes") / "builtin"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(source: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Reads a recipe.

    Args:
        source: Name of a built-in recipe, or path of a TOML file.
        changes: Values that replace values of the recipe, by names such as "training.steps".

    Returns:
        The recipe.

    Raises:
        OSError: The file cannot be read.
        ValueError: The recipe is wrong. The message names the file, the field, the value and the expected values.

    >>> load_recipe("embedded", {"training.steps": 100}).training["steps"]
    100
    """
    known = builtin_recipes()
    path = known.get(source, Path(source))
    if source not in known and path.suffix != ".toml":
        raise ValueError(f"{source!r} is not a recipe; expected a .toml file or one of {', '.join(known)}")
    content = read_toml(path)
    try:
        for name, value in (changes or {}).items():
            _change(content, name, value)
        _refuse_unknown(Recipe, content, "")
        return parse(Recipe, content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_change(text: str) -> tuple[str, Any]:
    """Parses NAME=VALUE. The value is TOML, or else a text.

    Raises:
        ValueError: There is no name or no equals sign.

    >>> parse_change("training.steps=10"), parse_change("out=runs/a")
    (('training.steps', 10), ('out', 'runs/a'))
    """
    name, equals, value = text.partition("=")
    if not equals or not all(part.isidentifier() for part in name.strip().split(".")):
        raise ValueError(f"--set is {text!r}; expected NAME=VALUE, such as training.steps=100")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value


def _change(content: dict[str, Any], name: str, value: Any) -> None:
    *tables, last = name.split(".")
    for depth, table in enumerate(tables, 1):
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise ValueError(f"{'.'.join(tables[:depth])}: expected a table, found {content!r}")
    content[last] = value


def _refuse_unknown(expected: Any, content: Any, field_name: str) -> None:
    """Raises ValueError for a field that a table does not have, with the fields that it has."""
    if not isinstance(content, dict):
        return
    known = {one.name for one in dataclasses.fields(expected)}
    for name, value in content.items():
        if name not in known:
            raise ValueError(f"{field_name}{name}: unknown field; expected some of {_listed(known)}")
        kind = {"corpus": CorpusOptions, "tokenizer": TokenizerOptions, "shards": ShardOptions}.get(name) or {
            "evaluation": EvaluationOptions,
            "export": ExportOptions,
        }.get(name)
        if expected is Recipe and kind is not None:
            _refuse_unknown(kind, value, f"{name}.")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
