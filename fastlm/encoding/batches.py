"""Encodes many texts with threads, and converts their ids to arrays of the requested form."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from fastlm._arguments import items_of
from fastlm._types import Int64Array, UInt32Array
from fastlm.forks import no_fork
from fastlm.threads import map_in_order, together

if TYPE_CHECKING:
    from fastlm.encoding._encoder import Encoder
    from fastlm.pretokenize.text_splitter import Boundaries
    from fastlm.text._utf8 import Utf8

    Text = str | bytes | Utf8

# one thread copies fewer ids than this before another one has begun
LEAST_COPIED = 1 << 19

Item = TypeVar("Item")
Result = TypeVar("Result")


def as_list(items: Sequence[Item]) -> list[Item]:
    """A list of the items. Raises TypeError for one text, which is a sequence too."""
    if isinstance(items, str | bytes):
        raise TypeError(f"expected a sequence of texts, got one {type(items).__name__}")
    if type(items) is list:
        return items.copy()
    if not is_iterable(items):
        raise TypeError(f"expected a sequence of texts or of ids, got {type(items).__name__}")
    return items_of(items)


def is_iterable(items: object) -> bool:
    """Whether `iter` takes an object, whose type has `__iter__` or `__getitem__`."""
    try:
        iter(items)  # type: ignore[call-overload]
    except TypeError:
        return False
    return True


def as_int(value: int, name: str) -> int:
    """The value of an argument as an int. Raises TypeError naming the argument for another type."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got bool")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, got {type(value).__name__}") from None


def slices(items: Sequence[Item], num_threads: int) -> Iterator[list[Item]]:
    """Splits the items into several slices for each thread, so that a slow slice does not delay the end."""
    items = as_list(items)
    size = max(1, len(items) // (4 * num_threads)) if num_threads > 1 else max(1, len(items))
    for start in range(0, len(items), size):
        yield items[start : start + size]


def map_items(function: Callable[[Item], Result], items: Sequence[Item], num_threads: int) -> list[Result]:
    """The result of `function` for each item, in order."""
    parts = map_in_order(lambda part: list(map(function, part)), slices(items, num_threads), num_threads)
    return [result for part in parts for result in part]


def encode_flat(
    encoder: Encoder, texts: Sequence[Text], boundaries: Boundaries | list[Boundaries], num_threads: int
) -> tuple[UInt32Array, Int64Array]:
    """The ids of all texts in one array.

    Returns:
        ids: uint32 (n_ids,).
        offsets: int64 (n_texts + 1,): the ids of text k are ids[offsets[k]:offsets[k + 1]].
    """
    if num_threads == 1:
        return encoder.encode_batch_flat(texts, boundaries)
    with no_fork:
        from fastlm.encoding._batch import Batch

    with Batch(encoder, texts, boundaries, num_threads) as batch:
        together(batch.encode, batch.num_threads)
        together(lambda _: batch.copy(), batch.num_threads if batch.gather() >= LEAST_COPIED else 1)
        return batch.arrays()


def encode_lists(
    encoder: Encoder, texts: Sequence[Text], boundaries: Boundaries | list[Boundaries], num_threads: int
) -> list[list[int]]:
    """The ids of each text as a list."""
    with no_fork:
        from fastlm.encoding._batch import Batch

    with Batch(encoder, texts, boundaries, num_threads, as_lists=True) as batch:
        together(batch.encode, batch.num_threads)
        return batch.lists()


def surround(
    ids: UInt32Array, offsets: Int64Array, begin: Sequence[int], end: Sequence[int]
) -> tuple[UInt32Array, Int64Array]:
    """Adds ids before and after the ids of each text; takes and returns (ids, offsets)."""
    rows = np.arange(len(offsets))
    shifted = offsets + rows * (len(begin) + len(end))
    result = np.empty(shifted[-1], np.uint32)
    is_text = np.ones(len(result), bool)
    for k, token_id in enumerate(begin):
        result[shifted[:-1] + k] = token_id
        is_text[shifted[:-1] + k] = False
    for k, token_id in enumerate(reversed(end), 1):
        result[shifted[1:] - k] = token_id
        is_text[shifted[1:] - k] = False
    result[is_text] = ids
    return result, shifted


def pad(
    ids: UInt32Array, offsets: Int64Array, pad_id: int, length: int | None, side: Literal["right", "left"]
) -> tuple[UInt32Array, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Rows of equal length and their mask; see Tokenizer.encode_batch_padded."""
    if side not in ("right", "left"):
        raise ValueError(f"side must be 'right' or 'left', got {side!r}")
    pad_id = as_int(pad_id, "pad_id")
    if not 0 <= pad_id <= np.iinfo(np.uint32).max:
        raise ValueError(f"pad_id must have at most 32 bits and not be negative, got {pad_id}")
    sizes = np.diff(offsets)
    width = int(sizes.max(initial=0)) if length is None else as_int(length, "length")
    if not 0 <= width <= np.iinfo(np.int64).max:
        raise ValueError(f"length must have at most 63 bits and not be negative, got {width}")
    columns, kept = np.arange(width), np.minimum(sizes, width)[:, None]
    mask = columns < kept if side == "right" else columns >= width - kept
    first = offsets[:-1] if side == "right" else offsets[1:] - kept.ravel()
    source = first[:, None] + (columns if side == "right" else columns - (width - kept))
    rows = np.full(mask.shape, pad_id, np.uint32)
    rows[mask] = ids[source[mask]]
    return rows, mask


def converted(ids: UInt32Array, dtype: Any, out: np.ndarray[Any, Any] | None, num_ids: int) -> np.ndarray[Any, Any]:
    """The ids as `dtype`, or in `out`; see Tokenizer.encode_to_numpy. `num_ids` is that of the vocabulary."""
    if out is None and dtype is np.uint32:
        return ids
    if out is not None and not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an array, got {type(out).__name__}")
    target = np.dtype(dtype) if out is None else out.dtype
    if target.kind not in "iu" or num_ids - 1 > np.iinfo(target).max:
        raise ValueError(f"{target} does not hold all ids of the vocabulary, which are up to {num_ids - 1}")
    if out is None:
        return ids.astype(target, copy=False)
    if out.ndim != 1 or out.shape[0] < len(ids):
        raise ValueError(f"out must have one dimension and at least {len(ids)} elements, got shape {out.shape}")
    out[: len(ids)] = ids
    return out[: len(ids)]
