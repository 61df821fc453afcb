"""Vocabularies in files: one module a format."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fastlm._arguments import did_you_mean
from fastlm.files.atomic import unfinished, write_files
from fastlm.files.checksum import sha256_of_file
from fastlm.files.reading import begins_with, check_content
from fastlm.files.recognize import START_BYTES
from fastlm.files.remote import Location, fetched
from fastlm.forks import no_fork
from fastlm.formats import (
    gpt2,
    js_tiktoken,
    minbpe,
    native,
    native_copy,
    tekken,
    tiktoken,
    transformers_config,
)
from fastlm.pretokenize.patterns import Pattern, find_pattern
from fastlm.vocabulary.vocabulary import Rules, Vocabulary

if TYPE_CHECKING:
    from fastlm.formats import tokenizer_json
    from fastlm.formats import tokenizer_json as hf_json

__all__ = ["WRITERS", "gpt2", "hf_json", "load", "minbpe", "native", "save", "tekken", "tiktoken", "tokenizer_json"]

SpecialTokens = Mapping[str, int] | Iterable[str]

_TOKENIZER_JSON = "tokenizer.json"


def _tokenizer_json() -> ModuleType:
    """The module of tokenizer.json. With its components it takes longer to import than all other formats."""
    with no_fork:
        import fastlm.formats.tokenizer_json as module
    return module


def __getattr__(name: str) -> Any:
    if name in ("tokenizer_json", "hf_json"):
        return _tokenizer_json()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _write_tokenizer_json(vocabulary: Vocabulary) -> dict[str, bytes]:
    content: dict[str, bytes] = _tokenizer_json().write(vocabulary)
    return content


def _read_tokenizer_json(path: Path) -> Vocabulary:
    vocabulary: Vocabulary = _tokenizer_json().read(path)
    return vocabulary


WRITERS: dict[str, Callable[[Vocabulary], dict[str, bytes]]] = {
    "fastlm": native.write,
    "tokenizer.json": _write_tokenizer_json,
    "gpt2": gpt2.write,
    "tiktoken": tiktoken.write,
    "minbpe": minbpe.write,
    "transformers": transformers_config.write,
}
"""Name of a format -> its writer, which gives name -> content of the files or raises ValueError."""

FormatName: TypeAlias = Literal["fastlm", "tokenizer.json", "gpt2", "tiktoken", "minbpe", "transformers"]
"""The keys of WRITERS, for type checkers."""

# written by default, where they can hold the vocabulary
_USUAL = ("tokenizer.json", "gpt2")
# in a directory the first of these that exists is read
_IN_DIRECTORY = (native.FILE, _TOKENIZER_JSON, gpt2.VOCAB, tekken.FILE, f"*{tiktoken.SUFFIX}", f"*{minbpe.SUFFIX}")
# files that a save writes, and that belong to the tokenizer.fastlm in their folder
_SIBLINGS = (_TOKENIZER_JSON, gpt2.VOCAB, gpt2.MERGES, tiktoken.FILE, minbpe.FILE)

_log = logging.getLogger(__name__)


def save(vocabulary: Vocabulary, directory: Location, formats: Iterable[str] | None) -> list[Location]:
    """Writes a vocabulary; see Tokenizer.save."""
    contents: dict[str, bytes] = {}
    if formats is not None and (isinstance(formats, str) or not isinstance(formats, Iterable)):
        raise TypeError(f"formats must be a list of names of formats, got {type(formats).__name__}")
    names = ("fastlm", *_USUAL) if formats is None else list(iter(formats))
    for name in names:
        if not isinstance(name, str) or name not in WRITERS:
            hint = did_you_mean(name, WRITERS)
            raise ValueError(f"no format is named {name!r}{hint}; there are {sorted(WRITERS)}")
        try:
            contents |= WRITERS[name](vocabulary)
        except ValueError as error:
            if formats is not None:
                raise
            _log.warning("%s: the format %r is left out: %s", directory, name, error)
    siblings = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items() if name != native.FILE}
    if native.FILE in contents:
        contents |= native.write(vocabulary, siblings)
    stale: list[str] = []
    if contents:
        with fetched(directory, (native.FILE, *_SIBLINGS)) as folder:
            stale = _stale_files(vocabulary, folder, contents.keys())
    if stale:
        _log.warning("%s: removed %s, which held another tokenizer", directory, ", ".join(stale))
    # the file that has the checksums of the others comes last
    write_files(directory, dict(sorted(contents.items(), key=lambda file: file[0] == native.FILE)), stale)
    return [directory / name for name in contents]


def _stale_files(vocabulary: Vocabulary, directory: Path, written: Iterable[str]) -> list[str]:
    """The files of another tokenizer that would stay in a folder that has or gets a tokenizer.fastlm."""
    is_written = set(written)
    native_file = directory / native.FILE
    if native.FILE not in is_written and not native_file.is_file():
        return []
    stale = _disagreeing(directory, vocabulary, [name for name in _SIBLINGS if name not in is_written], {})
    if native.FILE not in is_written and not _holds(native_file, vocabulary):
        stale.append(native.FILE)
    return stale


def _is_minbpe(path: Path) -> bool:
    """Whether a `.model` file is minbpe's; SentencePiece's has the same name."""
    return begins_with(path, 16).startswith(minbpe.FIRST_LINE.encode())


def _disagreeing(
    directory: Path, vocabulary: Vocabulary, names: Iterable[str], digests: Mapping[str, str]
) -> list[str]:
    """The files of a folder that do not hold this vocabulary.

    A file with the digest that was recorded when the folder was saved needs no reading.
    """
    return [
        name
        for name in names
        if (directory / name).is_file()
        and (name != minbpe.FILE or _is_minbpe(directory / name))
        and sha256_of_file(directory / name) != digests.get(name)
        and not _holds(directory / name, vocabulary)
    ]


def _holds(path: Path, vocabulary: Vocabulary) -> bool:
    """Whether a file describes this vocabulary, as far as its format can tell."""
    special = vocabulary.special_tokens
    try:
        if path.name in (gpt2.VOCAB, gpt2.MERGES):
            pair = path.with_name(gpt2.VOCAB), path.with_name(gpt2.MERGES)
            found = gpt2.read(*pair, list(special), vocabulary.pattern)
            return vocabulary.rules == Rules() and _same_tokens(found, vocabulary)
        if path.name == tiktoken.FILE:
            return _same_tokens(tiktoken.read(path, special, vocabulary.pattern), vocabulary)
        reader = {native.FILE: native.read, minbpe.FILE: minbpe.read}.get(path.name, _read_tokenizer_json)
        return reader(path).fingerprint == vocabulary.fingerprint
    except (ValueError, FileNotFoundError):
        return False


def _same_tokens(one: Vocabulary, other: Vocabulary) -> bool:
    """Whether two vocabularies have the same tokens, merges and added tokens."""
    return one.tokens == other.tokens and one.merges == other.merges and one.special_tokens == other.special_tokens


def load(
    path: Path, pattern: str | Sequence[str] | None, special_tokens: SpecialTokens | None, *, cache: bool = False
) -> Vocabulary:
    """Reads a directory or a file; see fastlm.load."""
    if path.is_dir():
        found = _file_in(path)
        if found.name == native.FILE and pattern is None and special_tokens is None:
            return _native_of_folder(path)
        return load(found, pattern, special_tokens, cache=cache)
    if special_tokens is not None and not isinstance(special_tokens, Mapping | str):
        special_tokens = list(iter(special_tokens))  # read more than once
    files, read = _reader(path, None if pattern is None else find_pattern(pattern), special_tokens)
    if not cache or not files:
        return read()
    spelled = dict(special_tokens) if isinstance(special_tokens, Mapping) else special_tokens
    return native_copy.read_through(files, repr((files[0].name, pattern, spelled)), read)


def _reader(
    path: Path, pattern: Pattern | None, special_tokens: SpecialTokens | None
) -> tuple[list[Path], Callable[[], Vocabulary]]:
    """The files of a vocabulary, none if they are in the native format, and a function that reads them."""
    if path.name in (gpt2.VOCAB, gpt2.MERGES):
        if pattern is None:
            raise ValueError(f"{path} does not say how text is split: give pattern=, such as 'gpt2'")
        vocab, merges = path.with_name(gpt2.VOCAB), path.with_name(gpt2.MERGES)
        return [vocab, merges], functools.partial(gpt2.read, vocab, merges, special_tokens or (), pattern)
    check_content(path)
    start = begins_with(path, START_BYTES)
    reader: Callable[[Path], Vocabulary]
    if start.startswith(native.MAGIC_STEM):
        reader = native.read
    elif start.lstrip().startswith(b"{") or path.suffix == ".json":
        if tekken.is_tekken(path):
            reader = tekken.read
        else:
            reader = js_tiktoken.read if js_tiktoken.is_js_tiktoken(path) else _read_tokenizer_json
    elif start.startswith(minbpe.FIRST_LINE.encode()):
        reader = minbpe.read
    else:
        return [path], functools.partial(tiktoken.read, path, special_tokens, pattern)
    if pattern is not None or special_tokens is not None:
        raise ValueError(f"{path} holds pattern and special tokens itself; give them only with {gpt2.VOCAB} or ranks")
    return [] if reader is native.read else [path], functools.partial(reader, path)


def _native_of_folder(directory: Path) -> Vocabulary:
    """The vocabulary of the tokenizer.fastlm in a folder. Raises ValueError if the files of the folder disagree."""
    path = directory / native.FILE
    vocabulary, digests = native.read_with_siblings(path)
    for name in _disagreeing(directory, vocabulary, _SIBLINGS, digests):
        if unfinished(directory / name):
            # a save was killed after it had written tokenizer.fastlm, which it writes first
            _log.warning("%s: a save was interrupted; %s may be out of date", directory, name)
            continue
        raise ValueError(
            f"{directory}: {name} does not hold the vocabulary of {native.FILE}, with fingerprint "
            f"{vocabulary.fingerprint[:16]}: remove the file that is out of date, or load one of them by its own path"
        )
    return vocabulary


def _file_in(directory: Path) -> Path:
    for name in _IN_DIRECTORY:
        found = sorted(directory.glob(name))
        if len(found) > 1:
            raise ValueError(f"{directory}: holds several files {name}; load one of them")
        if found:
            return found[0]
    raise FileNotFoundError(f"{directory}: holds none of {', '.join(_IN_DIRECTORY)}")
