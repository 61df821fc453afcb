"""What the files of shards hold, document by document: the definition that the fast way is held to."""

import hashlib
import struct

import numpy as np


def splits_of(documents: list[list[int]], validation: float) -> dict[str, list[list[int]]]:
    """The documents of each split; splitmix64's output for the seeds 0, 1, 2, ... decides."""
    if not validation:
        return {"train": documents}
    splits: dict[str, list[list[int]]] = {"train": [], "val": []}
    for number, document in enumerate(documents):
        mixed = (number + 0x9E3779B97F4A7C15) % 2**64
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
        mixed ^= mixed >> 31
        splits["val" if mixed / 2**64 < validation else "train"].append(document)
    return splits


def shards_of(documents: list[list[int]], shard_tokens: int, shard_format: str) -> list[tuple[list[int], list[int]]]:
    """(ids, ends of documents) of each shard."""
    shards: list[tuple[list[int], list[int]]] = []
    for document in documents:
        if shard_format == "megatron":
            if not shards or len(shards[-1][0]) >= shard_tokens:
                shards.append(([], []))
            shards[-1][0].extend(document)
        for token_id in document if shard_format != "megatron" else ():
            if not shards or len(shards[-1][0]) == shard_tokens:
                shards.append(([], []))
            shards[-1][0].append(token_id)
        if not shards:
            shards.append(([], []))
        shards[-1][1].append(len(shards[-1][0]))
    return shards


def files_of(documents: list[list[int]], shard_format: str, dtype: str, shard_tokens: int, validation: float = 0.0):
    """Name -> content of every shard's files."""
    files = {}
    for split, of_split in splits_of(documents, validation).items():
        for number, (ids, ends) in enumerate(shards_of(of_split, shard_tokens, shard_format)):
            name = f"{split}-{number:05}"
            array = np.array(ids, dtype)
            if shard_format == "npy":
                header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({len(ids)},), }}".encode()
                files[f"{name}.npy"] = (
                    b"\x93NUMPY\1\0" + struct.pack("<H", 118) + header.ljust(117) + b"\n" + array.tobytes()
                )
            else:
                files[f"{name}.bin"] = array.tobytes()
            if shard_format == "megatron":
                files[f"{name}.idx"] = megatron_idx(ends, dtype)
            else:
                files[f"{name}.index"] = struct.pack(f"<{len(ends)}Q", *ends)
    return files


def megatron_idx(ends: list[int], dtype: str) -> bytes:
    """Megatron-LM's index: a sequence and a document for each document."""
    starts = [0, *ends[:-1]]
    parts = [b"MMIDIDX\0\0", struct.pack("<QBQQ", 1, {"<u2": 8, "<i4": 4}[dtype], len(ends), len(ends) + 1)]
    parts += [struct.pack("<i", end - start) for start, end in zip(starts, ends, strict=True)]
    parts += [struct.pack("<q", start * np.dtype(dtype).itemsize) for start in starts]
    parts += [struct.pack("<q", number) for number in range(len(ends) + 1)]
    return b"".join(parts)


def sums_of(files: dict[str, bytes]) -> dict[str, str]:
    """Name -> sha256."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
