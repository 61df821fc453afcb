"""`fastlm decode`: decodes token ids to text."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from fastlm.commands.inputs import PathOrAddress, shard_folder
from fastlm.files.remote import fetched, location
from fastlm.progress import shown

if TYPE_CHECKING:
    import numpy as np

    from fastlm.tokenizer import Tokenizer


def decode(
    ids: Annotated[Positional[str], arg(metavar="DIR|FILE|ADDRESS")],
    /,
    tokenizer: PathOrAddress,
    split: Annotated[str, arg(metavar="NAME")] = "train",
) -> None:
    """Decode token ids, and write the text to standard output as raw bytes.

    Args:
        ids: A directory that `fastlm encode` wrote, or its address such as s3://bucket/name, a .npy file of ids, or a
            .bin or .idx file of Megatron-LM.
        tokenizer: Directory or file of the tokenizer, or name of a model in the Hub's local cache.
        split: Split of a directory to decode: train or val.
    """
    from fastlm import load

    with fetched(location(ids)) as path:
        _decode(ids, _ids_of(path, split), load(tokenizer))


def _decode(ids: str, arrays: list[np.ndarray[Any, np.dtype[Any]]], loaded: Tokenizer) -> None:
    """Writes the text of arrays to standard output."""
    total, done = sum(map(len, arrays)), 0
    # on a terminal a bar would appear between the lines of the text
    with nullcontext(lambda *_: None) if sys.stdout.isatty() else shown() as report:
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
                done += len(part)
                report("decode", done, total)
    sys.stdout.buffer.flush()


def _ids_of(path: Path, split: str) -> list[np.ndarray[Any, np.dtype[Any]]]:
    """The arrays of ids of a directory or a file."""
    from fastlm.corpus.manifest import read_manifest
    from fastlm.corpus.megatron import is_dataset, map_dataset
    from fastlm.corpus.shard_formats import map_npy

    if path.is_dir():
        shard_folder(path)
        return read_manifest(path).map(path, split)
    if is_dataset(path):
        return [map_dataset(path)[0]]
    if path.suffix == ".bin" and path.exists():
        raise ValueError(
            f"{path}: has no index {path.with_suffix('.idx').name} that tells the dtype of its ids; give the folder of "
            "its manifest, or a .npy file"
        )
    array = map_npy(path)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{path}: expected a one-dimensional array of integers, found {array.dtype} {array.shape}")
    return [array]
