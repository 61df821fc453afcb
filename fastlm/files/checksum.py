"""sha256 of files and of JSON values, as hexadecimal text."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from io import RawIOBase
from typing import Any, BinaryIO

READ_BYTES = 1 << 22


def sha256_of_stream(file: BinaryIO | RawIOBase, add: Callable[[int], None] | None = None) -> str:
    """sha256 of the rest of a file that is open; `add` gets the number of bytes of each part that was read."""
    digest = hashlib.sha256()
    while part := file.read(READ_BYTES):
        digest.update(part)
        if add is not None:
            add(len(part))
    return digest.hexdigest()


def sha256_of_file(path: str | os.PathLike[str], add: Callable[[int], None] | None = None) -> str:
    """sha256 of a file; see `sha256_of_stream`. Raises OSError if it cannot be read."""
    with open(path, "rb", buffering=0) as file:
        return sha256_of_stream(file, add)


def sha256_of_json(value: Any) -> str:
    """sha256 of a value as JSON without spaces, in which keys are sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
