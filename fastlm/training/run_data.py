"""The data of a run: the ids that its configuration names, and what separates the documents in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from fastlm._types import Int64Array
from fastlm.training.config import TrainingConfig
from fastlm.training.data import TokenFiles, document_ids
from fastlm.training.token_source import has_split

TRAIN, VALIDATION = "train", "val"
# the value of end_of_text in a checkpoint if documents are told apart by their recorded ends
RECORDED_ENDS = "recorded ends"


@dataclass(frozen=True, eq=False)
class RunData:
    """Training and validation ids, all of them checked.

    Attributes:
        train: The ids to train on.
        validation: The ids to evaluate on, if there are any.
        end_of_text: Id of the token between documents, if there is one.
        has_recorded_ends: Whether documents are told apart by their recorded ends instead.
    """

    train: TokenFiles
    validation: TokenFiles | None
    end_of_text: int | None
    has_recorded_ends: bool

    @classmethod
    def open(cls, config: TrainingConfig) -> Self:
        """Opens the ids that a configuration names, and checks all of them.

        Raises:
            OSError: A file cannot be read.
            ValueError: A file holds no ids of the model, or files do not belong together.
        """
        train, validation = _open_files(config)
        return cls(train, validation, *_end_of_text(config, train, validation))

    @property
    def separator(self) -> int | str | None:
        """What separates documents, as a checkpoint records it."""
        return RECORDED_ENDS if self.has_recorded_ends else self.end_of_text

    def numbering(self, data: TokenFiles) -> Callable[[Int64Array, Tensor], Tensor | None]:
        """The function that numbers the documents of windows, from their starts, (B), and inputs, (B, T)."""
        if self.has_recorded_ends:
            return lambda starts, inputs: data.window_documents(starts)
        if (end_of_text := self.end_of_text) is None:
            return lambda starts, inputs: None
        return lambda starts, inputs: document_ids(inputs, end_of_text)


def _open_files(config: TrainingConfig) -> tuple[TokenFiles, TokenFiles | None]:
    """Opens and checks the ids to train on, and those to evaluate on, if there are any."""
    shape = config.model
    options: dict[str, Any] = {"data_dtype": config.data_dtype}
    train = TokenFiles(config.train_data, shape.vocab_size, shape.context_length, **options)
    names = config.validation_data or tuple(name for name in config.train_data if has_split(name, VALIDATION))
    validation: TokenFiles | None = None
    if names:
        options["splits"] = (VALIDATION, TRAIN)
        validation = TokenFiles(names, shape.vocab_size, shape.context_length, **options)
        trained = {file.path.resolve() for file in train.files}
        for file in validation.files:
            if file.in_folder and file.path.resolve() in trained:
                raise ValueError(
                    f"{file.path}: is in train_data and validation_data, because its folder has no validation "
                    "split; expected another folder, or files by their names"
                )
        validation.check()
    train.check()
    return train, validation


def _end_of_text(config: TrainingConfig, train: TokenFiles, validation: TokenFiles | None) -> tuple[int | None, bool]:
    """The id between documents, if any, and whether their recorded ends are used instead."""
    configured = config.end_of_text
    if configured is None or isinstance(configured, int):
        for known, path in train.end_of_text_ids.items():
            if None not in (known, configured) and known != configured:
                raise ValueError(f"end_of_text is {configured}; {path} has {known}")
        return configured, False
    folders = [file.listing for file in train.files if file.in_folder and file.listing is not None]
    ids = {listing.end_of_text_id: str(listing.manifest_path) for listing in folders}
    if len(ids) > 1:
        differing = ", ".join(f"{path} has {token_id}" for token_id, path in ids.items())
        raise ValueError(f"end_of_text is 'auto', but folders differ: {differing}; expected an id or 'none'")
    if not ids or (token_id := next(iter(ids))) is not None:
        return (token_id if ids else None), False
    several = sum(listing.manifest.documents for listing in folders) > 1
    recorded = all(data.has_document_ends for data in (train, validation) if data is not None)
    return None, several and recorded
