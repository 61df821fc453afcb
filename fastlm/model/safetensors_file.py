"""The one writer of safetensors files (https://github.com/huggingface/safetensors), and archives of tensors and JSON.

Equal tensors and metadata give equal bytes: the header lists tensors in a fixed order, where the safetensors package
takes the order of a hash map. The writer writes to the file that the caller opened, so that the caller's fsync, mode
and rename apply to it. The package writes to a temporary file of mode 0600 and renames that one over the given path.

An archive is a safetensors file with JSON in its metadata and a sha256 over the whole file, computed with zeros in
place of the digest.
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

FileOrPath = str | os.PathLike[str] | BinaryIO

MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors package
READ_BYTES = 1 << 18
NO_DIGEST = "0" * 64
DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES_BY_NAME = {name: dtype for dtype, name in DTYPES.items()}


def write_safetensors(
    file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, with_digest: bool = False
) -> None:
    """Writes a safetensors file.

    Args:
        file: A binary file, at its beginning.
        tensors: Tensors in main memory by name.
        metadata: Metadata of the header, in the order of the mapping.
        with_digest: Whether the metadata gets a first entry "sha256", the digest of the whole file.

    Raises:
        OSError: The file cannot be written.
        TypeError: A tensor has a dtype that the format lacks.
    """
    entries = {"sha256": NO_DIGEST, **metadata} if with_digest else dict(metadata)
    header: dict[str, Any] = {"__metadata__": entries}
    # the widest dtypes first, so that every tensor is aligned
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    start = 0
    for name, tensor in ordered:
        if tensor.dtype not in DTYPES:
            raise TypeError(f"{name} is of {tensor.dtype}; expected one of {', '.join(map(str, DTYPES))}")
        end = start + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    contents = [tensor_bytes(tensor) for _, tensor in ordered]
    if with_digest:
        digest = hashlib.sha256(head)
        for content in contents:
            digest.update(content)
        head = head.replace(NO_DIGEST.encode(), digest.hexdigest().encode(), 1)
    file.write(head)
    for content in contents:
        file.write(content)


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor in main memory, without a copy where it is contiguous."""
    content: memoryview = tensor.detach().reshape(-1).view(torch.uint8).numpy().data
    return content


def read_header(path: str | os.PathLike[str]) -> tuple[int, dict[str, dict[str, Any]]]:
    """Where the tensors of a safetensors file begin, in bytes, and the header's entry of each by name.

    Args:
        path: A file that the package has opened before, so that its header is known to be valid.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return 8 + length, header


def mapped_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a safetensors file as the pages of the mapped file, of which none is read.

    The package reads the beginning of each tensor, and with it 64 kB of the file.

    Args:
        path: A file that the package has opened before, so that its header is known to be valid.

    Returns:
        The tensors by name, except tensors of a dtype that `write_safetensors` lacks. They keep the file mapped. A
        tensor that is not aligned to its dtype is a copy.
    """
    begin, entries = read_header(path)
    pages = torch.from_file(os.fspath(path), shared=False, size=os.path.getsize(path), dtype=torch.uint8)
    found = {}
    for name, entry in entries.items():
        dtype = _DTYPES_BY_NAME.get(entry["dtype"])
        if dtype is None:
            continue
        start, end = (begin + offset for offset in entry["data_offsets"])
        content = pages[start:end] if start % dtype.itemsize == 0 else pages[start:end].clone()
        found[name] = content.view(dtype).view(entry["shape"])
    return found


def write_archive(file: BinaryIO, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Writes an archive.

    Raises:
        OSError: The file cannot be written.
        TypeError: JSON cannot represent the document, or a tensor has a dtype that the format lacks.
    """
    write_safetensors(file, tensors, {"fastlm": json.dumps(document)}, with_digest=True)


def read_archive(source: FileOrPath, *, mapped: bool = False) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """Reads an archive.

    Args:
        source: A path or a binary file.
        mapped: Whether tensors are the pages of a mapped file, given as a path, which must not change while they are in
            use. They are read when they are needed.

    Returns:
        The name of the file for messages, the tensors by name, and the document.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not as `write_archive` wrote it.
    """
    name = str(source) if isinstance(source, str | os.PathLike) else str(getattr(source, "name", "checkpoint"))
    try:
        if isinstance(source, str | os.PathLike):
            with open(source, "rb") as file:
                _check_digest(file, os.fstat(file.fileno()).st_size)
            with safe_open(source, "pt") as opened:
                metadata = opened.metadata()
                if mapped:
                    tensors = mapped_tensors(source)
                else:
                    # copies, because mapped pages would change with the file
                    tensors = {key: opened.get_tensor(key).clone() for key in opened.keys()}  # noqa: SIM118
        else:
            content = source.read()
            _check_digest(io.BytesIO(content), len(content))
            tensors = safetensors.torch.load(content)
            length = int.from_bytes(content[:8], "little")
            metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        document = json.loads(metadata["fastlm"])
        if not isinstance(document, dict):
            raise ValueError("its JSON is not an object")
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name}: not a whole checkpoint of fastlm: {error}") from None
    return name, tensors, document


def archive_digest(path: str | os.PathLike[str]) -> str:
    """Reads an archive's file and returns its sha256.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file does not have the digest that its header names.
    """
    with open(path, "rb") as file:
        return _check_digest(file, os.fstat(file.fileno()).st_size)


def named_digest(path: str | os.PathLike[str]) -> str:
    """The sha256 that the header of an archive names. It is not checked."""
    with open(path, "rb") as file:
        found = DIGEST.search(file.read(min(int.from_bytes(file.read(8), "little"), MAX_HEADER_BYTES)))
    return found[1].decode() if found else ""


def _check_digest(file: BinaryIO, size: int) -> str:
    """Returns the digest that a header names; ValueError unless the bytes of the file have it."""
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or not 0 < length <= min(MAX_HEADER_BYTES, size - 8):
        raise ValueError(f"its header does not fit its {size} bytes")
    header = file.read(length)
    named = DIGEST.search(header)
    if named is None:
        raise ValueError("its header has no sha256")
    digest = hashlib.sha256(prefix)
    digest.update(header[: named.start(1)] + NO_DIGEST.encode() + header[named.end(1) :])
    while chunk := file.read(READ_BYTES):
        digest.update(chunk)
    if digest.hexdigest().encode() != named[1]:
        raise ValueError("its bytes do not have the sha256 that it names")
    return digest.hexdigest()
