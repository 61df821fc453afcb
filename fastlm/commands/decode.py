"""`fastlm decode`: token ids to text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def decode(
    ids: Annotated[Positional[Path], arg(metavar="DIR|FILE.npy")], /, tokenizer: Path, split: str = "train"
) -> None:
    """Write the text of ids to standard output, as the very bytes.

    Args:
        ids: A directory that `fastlm encode` wrote, or a .npy file.
        tokenizer: Directory or file of the tokenizer.
        split: Which shards of a directory: train or val.
    """
    from fastlm import load
    from fastlm.corpus.manifest import read_manifest
    from fastlm.corpus.shard_formats import map_npy

    if ids.is_dir():
        arrays = read_manifest(ids).map(ids, split)
    else:
        arrays = [map_npy(ids)]
        if arrays[0].ndim != 1 or arrays[0].dtype.kind not in "iu":
            found = f"{arrays[0].dtype} {arrays[0].shape}"
            raise ValueError(f"{ids}: expected a one-dimensional array of integers, found {found}")
    loaded = load(tokenizer)
    for array in arrays:
        for start in range(0, len(array), 1 << 20):
            part = array[start : start + (1 << 20)]
            try:
                sys.stdout.buffer.write(loaded.decode_bytes(part))
            except KeyError:
                known = loaded.vocab
                at, id = next((at, id) for at, id in enumerate(part.tolist(), start) if id not in known)
                raise ValueError(f"{ids}: id {id} at position {at} is not in the vocabulary") from None
    sys.stdout.buffer.flush()
