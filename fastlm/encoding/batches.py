"""Ids of many texts: their order over threads, and the arrays in which they are handed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from fastlm._types import Int64Array, UInt32Array
from fastlm.threads import map_in_order, together

if TYPE_CHECKING:
    from fastlm.encoding._encoder import Encoder
    from fastlm.pretokenize.cutting import Cuts
    from fastlm.text._utf8 import Utf8

    Text = str | bytes | Utf8

# fewer ids are copied before another thread has begun
LEAST_SHARED = 1 << 19

Item = TypeVar("Item")
Result = TypeVar("Result")


def slices(items: Sequence[Item], threads: int) -> Iterator[list[Item]]:
    """The items in parts for threads: several for each, so that one slow part does not hold up the end."""
    if isinstance(items, str | bytes):
        raise TypeError(f"expected a sequence of texts, not one {type(items).__name__}")
    items = list(items)
    size = max(1, len(items) // (4 * threads)) if threads > 1 else max(1, len(items))
    for start in range(0, len(items), size):
        yield items[start : start + size]


def mapped(function: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """function(item) of each item, in order."""
    parts = map_in_order(lambda part: list(map(function, part)), slices(items, threads), threads)
    return [result for part in parts for result in part]


def encoded(
    encoder: Encoder, texts: Sequence[Text], cuts: Cuts | list[Cuts], threads: int
) -> tuple[UInt32Array, Int64Array]:
    """Ids of all texts in one array, and where each begins and the last ends; see Encoder."""
    if threads == 1:
        return encoder.encode_batch_flat(texts, cuts)
    from fastlm.encoding._batch import Share

    share = Share(encoder, texts, cuts, threads)
    together(share.encode, share.threads)
    together(lambda _: share.copy(), share.threads if share.gather() >= LEAST_SHARED else 1)
    return share.result_arrays()


def encoded_lists(encoder: Encoder, texts: Sequence[Text], cuts: Cuts | list[Cuts], threads: int) -> list[list[int]]:
    """The same as a list for each text."""
    from fastlm.encoding._batch import Share

    share = Share(encoder, texts, cuts, threads, True)
    together(share.encode, share.threads)
    return share.result_lists()


def framed(
    ids: UInt32Array, offsets: Int64Array, begin: Sequence[int], end: Sequence[int]
) -> tuple[UInt32Array, Int64Array]:
    """The same with ids put before and after each text."""
    rows = np.arange(len(offsets))
    shifted = offsets + rows * (len(begin) + len(end))
    result = np.empty(shifted[-1], np.uint32)
    own = np.ones(len(result), bool)
    for k, id in enumerate(begin):
        result[shifted[:-1] + k] = id
        own[shifted[:-1] + k] = False
    for k, id in enumerate(reversed(end), 1):
        result[shifted[1:] - k] = id
        own[shifted[1:] - k] = False
    result[own] = ids
    return result, shifted


def padded(
    ids: UInt32Array, offsets: Int64Array, pad_id: int, length: int | None, side: Literal["right", "left"]
) -> tuple[UInt32Array, np.ndarray[Any, np.dtype[np.bool_]]]:
    """(ids, mask) of rows made equally long; see Tokenizer.encode_batch_padded."""
    if side not in ("right", "left"):
        raise ValueError(f"side must be 'right' or 'left', not {side!r}")
    if not 0 <= pad_id <= np.iinfo(np.uint32).max:
        raise ValueError(f"pad_id must fit 32 bits, not {pad_id}")
    sizes = np.diff(offsets)
    width = int(sizes.max(initial=0)) if length is None else length
    if width < 0:
        raise ValueError(f"length must not be negative, and is {width}")
    columns, kept = np.arange(width), np.minimum(sizes, width)[:, None]
    mask = columns < kept if side == "right" else columns >= width - kept
    first = offsets[:-1] if side == "right" else offsets[1:] - kept.ravel()
    source = first[:, None] + (columns if side == "right" else columns - (width - kept))
    rows = np.full(mask.shape, pad_id, np.uint32)
    rows[mask] = ids[source[mask]]
    return rows, mask


def delivered(
    ids: UInt32Array, dtype: Any, out: np.ndarray[Any, Any] | None, vocabulary_length: int
) -> np.ndarray[Any, Any]:
    """The ids as `dtype`, or in `out`; see Tokenizer.encode_to_numpy."""
    if out is None and dtype is np.uint32:
        return ids
    kind = np.dtype(dtype) if out is None else out.dtype
    if kind.kind not in "iu" or vocabulary_length - 1 > np.iinfo(kind).max:
        raise ValueError(f"ids of up to {vocabulary_length - 1} do not fit {kind}")
    if out is None:
        return ids.astype(kind, copy=False)
    if out.ndim != 1 or len(out) < len(ids):
        raise ValueError(f"out must be one-dimensional with room for {len(ids)} ids, not of shape {out.shape}")
    out[: len(ids)] = ids
    return out[: len(ids)]
