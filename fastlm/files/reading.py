"""Text and JSON files, with errors that name file and place."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def read_text(path: str | os.PathLike[str]) -> str:
    """A UTF-8 file. Raises OSError, or ValueError naming the file and the byte that is wrong."""
    content = Path(path).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8") from None


def read_json(path: str | os.PathLike[str]) -> Any:
    """A JSON file. Raises OSError, or ValueError naming the file and the line that is wrong, or a key given twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ValueError(f"key {twice!r} stands twice")
        return found

    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: JSON nested too deeply") from None


def begins_with(path: str | os.PathLike[str], size: int) -> bytes:
    """The first bytes of a file, fewer where it is shorter. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(size)
