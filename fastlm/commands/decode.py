"""`fastlm decode`: decodes token ids to text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def decode(
    ids: Annotated[Positional[Path], arg(metavar="DIR|FILE.npy")], /, tokenizer: Path, split: str = "train"
) -> None:
    """Decode token ids, and write the text to standard output as raw bytes.

    Args:
        ids: A directory that `fastlm encode` wrote, or a .npy file of ids.
        tokenizer: Directory or file of the tokenizer, or name of a model in the Hub's local cache.
        split: Split of a directory to decode: train or val.
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
                wrong = next(k for k, token_id in enumerate(part.tolist()) if token_id not in known)
                message = f"{ids}: id {part[wrong]} at position {start + wrong} is not in the vocabulary"
                raise ValueError(message) from None
    sys.stdout.buffer.flush()
