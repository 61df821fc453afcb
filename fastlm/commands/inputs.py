"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from tyro.conf import OmitArgPrefixes, Positional, arg

from fastlm.corpus.read import Corpus
from fastlm.corpus.read_options import Kind, ReadOptions
from fastlm.files.remote import Location, RemotePath, location

if TYPE_CHECKING:
    from fastlm.tokenizer import Tokenizer


def option(metavar: str, *aliases: str) -> Any:
    """An optional argument for Annotated, whose help shows `metavar` and no default."""
    return arg(metavar=metavar, aliases=list(aliases) or None, help_behavior_hint="")


Inputs = Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...", help_behavior_hint="(required)")]
NumThreads = Annotated[int | None, option("INT", "--threads")]
OptionalPath = Annotated[Path | None, option("PATH")]
PathOrAddress = Annotated[str, arg(metavar="PATH|ADDRESS")]
OptionalPathOrAddress = Annotated[str | None, option("PATH|ADDRESS")]
Address = Annotated[str | None, option("ADDRESS")]

TOKENIZER_MARK = "tokenizer.fastlm"
TOKENIZER_FILES = (TOKENIZER_MARK, "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")


# the fields are repeated for their metavars, and so that the help shows no None
@dataclass(frozen=True, kw_only=True)
class _ReadingOptions(ReadOptions):
    """How the inputs are read."""

    field: Annotated[str, arg(metavar="NAME")] = "text"
    """Field of JSON lines, or column of Parquet and Arrow files, that holds the text."""
    separator: Annotated[str | None, option("TEXT")] = None
    """Text between two documents of a file; without it a text file is one document."""
    kind: Annotated[Kind | None, option("{" + ",".join(get_args(Kind)) + "}")] = None
    """Kind of all inputs, where their names do not tell it."""


ReadingOptions = OmitArgPrefixes[_ReadingOptions]
AS_NAMED = _ReadingOptions()


def folder_to_write(path: Location, option: str = "--out") -> None:
    """Raises NotADirectoryError or PermissionError that names the option if a folder cannot be written.

    A folder of an object store is not checked. An address as a path object is a ValueError; see remote.location.
    """
    path = location(path)
    if isinstance(path, RemotePath):
        return
    existing = next((one for one in (path, *path.parents) if os.path.lexists(one)), Path("."))
    if not existing.is_dir():
        where = "is a file" if existing == path else f"is below {existing}, which is a file"
        raise NotADirectoryError(f"{option} {path} {where}; give a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"{option} {path} cannot be written: permission denied for {existing}")


def corpus_of(inputs: Sequence[str], options: ReadOptions) -> Corpus:
    """The inputs as a corpus. Raises ValueError where there is none."""
    if not inputs:
        raise ValueError("give at least one INPUT, or - for standard input")
    return Corpus(list(inputs), **vars(options))


def skipped_line(skipped: dict[str, int]) -> str:
    """The numbers of skipped records as a line of text."""
    return "skipped: " + ", ".join(f"{count:,} x {reason}" for reason, count in sorted(skipped.items()))


def refuse_to_overwrite(folder: Location, names: Sequence[str], mark: str, force: bool) -> None:
    """Protects files that this command did not write.

    Args:
        folder: The folder to write to.
        names: The names of the files that the command writes.
        mark: The name of a file that is in the folder if the command wrote to it before.
        force: Overwrite them.

    Raises:
        FileExistsError: names the first file that would be overwritten.
        NotADirectoryError, PermissionError: The folder cannot be written.
    """
    folder_to_write(folder)
    if force or (folder / mark).exists():
        return
    for name in names:
        path = folder / name
        if os.path.lexists(path) if isinstance(path, Path) else path.exists():
            raise FileExistsError(f"{folder / name} exists and was not written by this command; --force overwrites it")


def model_folder(path: Path, file: str = "model.json") -> Path:
    """The folder of a model.

    Raises:
        FileNotFoundError: The folder, or its file, is missing. The message says which folder to give instead.
        NotADirectoryError: The path is a file.
    """
    if path.is_file():
        raise NotADirectoryError(f"{path}: is a file; give the folder that holds {file}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder; give the folder that holds {file}")
    if not (path / file).exists():
        inside = [folder for folder in (path / "model", path.parent) if (folder / file).exists()]
        remedy = f"give {inside[0]}" if inside else "give the folder model/ of a training run"
        raise FileNotFoundError(f"no {file} in {path}: {remedy}")
    return path


def shard_folder(path: Location) -> Location:
    """The folder of shards. A folder of an object store is not checked.

    Raises:
        FileNotFoundError, NotADirectoryError: The path is missing, a file, or a folder without a manifest.
    """
    if isinstance(path, RemotePath):
        return path
    wanted = "give a folder that `fastlm encode` wrote"
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder; {wanted}")
    if not path.is_dir():
        raise NotADirectoryError(f"{path}: is a file; {wanted}")
    if not (path / "manifest.json").exists():
        unfinished = (path / "unfinished").exists()
        raise FileNotFoundError(
            f"no manifest.json in {path}: {'finish it with `fastlm encode --resume`' if unfinished else wanted}"
        )
    return path


def save_tokenizer(tokenizer: Tokenizer, folder: Location) -> None:
    """Writes a tokenizer in the usual formats, and the file from which transformers reads its special tokens."""
    if any(path.name == "tokenizer.json" for path in tokenizer.save(str(folder))):
        tokenizer.save(str(folder), ["transformers"])
