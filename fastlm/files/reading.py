"""Text and JSON files, with errors that name file and place."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, NoReturn

from fastlm.files.recognize import START_BYTES, foreign_content, refuse_foreign
from fastlm.files.remote import RemotePath

# Python's reader takes quadratic time for keys of many parts
MOST_TOML_BYTES = 1 << 20
_LONG_KEY = re.compile(r"""(?:(?:(?<![\w-])[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){32}""")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def read_text(path: str | os.PathLike[str] | RemotePath) -> str:
    """Reads a UTF-8 file. Raises OSError, or ValueError naming the file and the fault."""
    content = (path if isinstance(path, RemotePath) else Path(path)).read_bytes()
    try:
        return decoded(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def decoded(content: bytes) -> str:
    """Decodes UTF-8. Raises ValueError naming the first wrong byte, or the kind of file if it is recognized."""
    refuse_foreign(content)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None


def read_json(path: str | os.PathLike[str] | RemotePath) -> Any:
    """Reads a JSON file. Raises OSError, or ValueError naming the file and the fault that `parse_json` names."""
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_json(text: str) -> Any:
    """Parses JSON text.

    Args:
        text: The JSON document.

    Returns:
        The Python value.

    Raises:
        ValueError: For text that is not JSON, a key given twice in one object, NaN or Infinity, a lone surrogate,
            or nesting beyond Python's recursion limit. A syntax error is named by line and column.
    """
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if _SURROGATE_ESCAPE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("a string holds a lone surrogate") from None
    return value


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not TOML, or larger than MOST_TOML_BYTES. The message names the file and the fault.
    """
    import tomllib

    with open(path, "rb") as file:
        content = file.read(MOST_TOML_BYTES + 1)
    try:
        if len(content) > MOST_TOML_BYTES:
            raise ValueError(f"more than {MOST_TOML_BYTES} bytes")
        text = content.decode()
        if _LONG_KEY.search(text):
            raise ValueError("a key of more than 32 parts")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not TOML: {error}") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key!r} is given twice")
            seen.add(key)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def check_content(path: str | os.PathLike[str]) -> None:
    """Raises ValueError naming the file and its kind, if it is recognized as another kind than a tokenizer file."""
    try:
        refuse_foreign(begins_with(path, START_BYTES))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def unreadable_model(directory: str | os.PathLike[str]) -> str | None:
    """Recognizes a `.model` file in a directory that is no tokenizer file of fastlm, such as SentencePiece's.

    Returns:
        Its path and kind, and the remedy; None if there is none.
    """
    for path in sorted(Path(directory).glob("*.model")):
        kind = foreign_content(begins_with(path, START_BYTES)) if path.is_file() else None
        if kind is not None:
            return f"{path}: the file {kind}"
    return None


def begins_with(path: str | os.PathLike[str], size: int) -> bytes:
    """The first bytes of a file, fewer where it is shorter. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(size)
