"""One file of tensors and JSON: safetensors (https://github.com/huggingface/safetensors), with a checksum.

The metadata holds the JSON, and a sha256 over the whole file, computed with zeros in its own place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Mapping
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

Place = str | os.PathLike[str] | BinaryIO

LARGEST_HEADER = 100_000_000  # that safetensors reads
CHUNK = 1 << 22
NO_DIGEST = "0" * 64
DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')
TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_archive(file: BinaryIO, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Writes a safetensors file. Raises OSError, and TypeError for a state that JSON does not have."""
    header: dict[str, Any] = {"__metadata__": {"sha256": NO_DIGEST, "fastlm": json.dumps(document)}}
    # the widest types first, so that every tensor is aligned
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    start = 0
    for name, tensor in ordered:
        if tensor.dtype not in TYPES:
            raise TypeError(f"{name} is of {tensor.dtype}; expected one of {', '.join(map(str, TYPES))}")
        end = start + tensor.nbytes
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    beginning = len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256(beginning)
    parts = [tensor.reshape(-1).view(torch.uint8).numpy().data for _, tensor in ordered]
    for part in parts:
        digest.update(part)
    file.write(beginning.replace(NO_DIGEST.encode(), digest.hexdigest().encode(), 1))
    for part in parts:
        file.write(part)


def read_archive(src: Place) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """The name of a file for messages, its tensors and its JSON.

    Raises OSError where it cannot be read, ValueError where it is not as `write_archive` wrote it.
    """
    where = str(src) if isinstance(src, str | os.PathLike) else str(getattr(src, "name", "checkpoint"))
    try:
        if isinstance(src, str | os.PathLike):
            with open(src, "rb") as file:
                _check_digest(file, os.fstat(file.fileno()).st_size)
            with safe_open(src, "pt") as opened:
                metadata = opened.metadata()
                # copies: pages of the file would change with it
                tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
        else:
            content = src.read()
            _check_digest(io.BytesIO(content), len(content))
            tensors = safetensors.torch.load(content)
            length = int.from_bytes(content[:8], "little")
            metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        document = json.loads(metadata["fastlm"])
        if not isinstance(document, dict):
            raise ValueError("its JSON is not an object")
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not a whole checkpoint of fastlm: {error}") from None
    return where, tensors, document


def _check_digest(file: BinaryIO, size: int) -> None:
    """Raises ValueError unless the bytes of a file have the sha256 that its header names."""
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or not 0 < length <= min(LARGEST_HEADER, size - 8):
        raise ValueError(f"its header does not fit its {size} bytes")
    header = file.read(length)
    named = DIGEST.search(header)
    if named is None:
        raise ValueError("its header has no sha256")
    digest = hashlib.sha256(prefix)
    digest.update(header[: named.start(1)] + NO_DIGEST.encode() + header[named.end(1) :])
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    if digest.hexdigest().encode() != named[1]:
        raise ValueError("its bytes do not have the sha256 that it names")
