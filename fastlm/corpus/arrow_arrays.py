"""Arrow arrays of strings from files that nobody vouches for.

An Arrow file holds offsets and indices that its writer chose, and pyarrow reads them unchecked: an offset outside the
data reads the memory of the process or ends it. So `validated` checks every buffer of an array before anything else
touches it. Strings are checked as binary, because text_blocks reports bytes that are not UTF-8 document by document.

Dictionary indices and views may name one long string many times, so the decoded text can be far larger than the array.
`decoded_parts` decodes only a limited number of bytes at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus.streams import needed


def holds_text(arrow_type: Any) -> bool:
    """True for the Arrow types that this module reads: strings, binary, their large and view forms, and dictionaries
    of these."""
    types = needed("pyarrow", "Arrow").types
    if types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    checks = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_binary,
        types.is_large_binary,
        types.is_binary_view,
    )
    return any(check(arrow_type) for check in checks)


def validated(array: Any) -> Any:
    """The same array with strings typed as binary, after a check of all its buffers.

    The check covers the size of every buffer, every offset, view, index and the null bitmap. It takes about 1 ns a row.

    Raises:
        pyarrow.ArrowException: for an array that does not fit its buffers.
    """
    pyarrow = needed("pyarrow", "Arrow")
    compute = needed("pyarrow.compute", "Arrow")
    if not holds_text(array.type):
        raise pyarrow.ArrowInvalid(f"expected strings, found {array.type}")
    array.validate()
    if not pyarrow.types.is_dictionary(array.type):
        array = array.view(_binary_type(array.type))
        array.validate(full=True)
        return array
    indices, values = array.indices, validated(array.dictionary)
    if pyarrow.types.is_binary_view(values.type):
        size, stored = int(_lengths(values).sum()), sum(buffer.size for buffer in values.buffers() if buffer)
        if size > stored:
            raise pyarrow.ArrowInvalid(f"the views of the dictionary name {size} bytes in buffers of {stored}")
        values = values.cast(pyarrow.large_binary())
    indices.validate(full=True)
    bounds = compute.min_max(indices)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is not None and (low < 0 or high >= len(values)):
        wrong = low if low < 0 else high
        raise pyarrow.ArrowInvalid(f"dictionary index {wrong} is outside the dictionary of {len(values)} values")
    return pyarrow.DictionaryArray.from_arrays(indices, values, safe=False)


def _binary_type(arrow_type: Any) -> Any:
    pyarrow = needed("pyarrow", "Arrow")
    types = pyarrow.types
    if types.is_large_string(arrow_type) or types.is_large_binary(arrow_type):
        return pyarrow.large_binary()
    if types.is_string_view(arrow_type) or types.is_binary_view(arrow_type):
        return pyarrow.binary_view()
    return pyarrow.binary()


def decoded_parts(array: Any, first: int, size: int) -> Iterator[tuple[int, Any]]:
    """Splits a validated array, whose rows are numbered from `first`, into parts of about `size` bytes of text.

    Yields:
        The number of the first row of the part, and its rows as a binary or large_binary array. A part has at least one
        row; only a part of one row has more than `size` bytes.
    """
    pyarrow = needed("pyarrow", "Arrow")
    ends = np.cumsum(_lengths(array))
    is_view = pyarrow.types.is_binary_view(array.type)
    start, before = 0, 0
    while start < len(array):
        stop = max(start + 1, int(np.searchsorted(ends, before + size, "right")))
        rows = array[start:stop]
        if pyarrow.types.is_dictionary(rows.type):
            rows = rows.dictionary.take(rows.indices)
        elif is_view:
            rows = rows.cast(pyarrow.large_binary())
        number, start, before = first + start, stop, int(ends[stop - 1])
        if start == len(array):
            del array
            yield number, rows
            return
        yield number, rows
        del rows


def _lengths(array: Any) -> Int64Array:
    """int64 (n,): the number of bytes of each row of a validated array; 0 for a null."""
    pyarrow = needed("pyarrow", "Arrow")
    if pyarrow.types.is_dictionary(array.type):
        values = _lengths(array.dictionary)
        if not len(values):
            return np.zeros(len(array), np.int64)
        lengths = values[np.asarray(array.indices.fill_null(0)).astype(np.int64)]
    elif pyarrow.types.is_binary_view(array.type):
        lengths = _views(array)[:, 0].astype(np.int64)
    else:
        lengths = np.diff(_offsets(array))
    if array.null_count:
        lengths[~np.asarray(array.is_valid())] = 0
    return lengths


def _views(array: Any) -> np.ndarray[Any, np.dtype[np.int32]]:
    """int32 (n, 4): length, prefix, buffer and offset of each row of an array of views."""
    if not len(array):
        return np.empty((0, 4), np.int32)
    stop = array.offset + len(array)
    return np.frombuffer(array.buffers()[1], np.int32, 4 * stop).reshape(-1, 4)[array.offset :]


def _offsets(array: Any) -> Int64Array:
    """int64 (n + 1,): where the bytes of each row start in the data, and where the last one ends."""
    if not len(array):
        return np.zeros(1, np.int64)  # the buffer may be missing then
    pyarrow = needed("pyarrow", "Arrow")
    dtype = np.int64 if pyarrow.types.is_large_binary(array.type) else np.int32
    offsets = np.frombuffer(array.buffers()[1], dtype, array.offset + len(array) + 1)
    return offsets[array.offset :].astype(np.int64)


def joined_rows(rows: Any) -> tuple[memoryview, Int64Array]:
    """The text of a validated binary or large_binary array without nulls.

    Returns:
        The bytes of all rows, without a copy, and int64 (n,): where each row ends among them.
    """
    offsets = _offsets(rows)
    data = rows.buffers()[2]
    text = memoryview(data if data is not None else b"").cast("B")
    return text[offsets[0] : offsets[-1]], offsets[1:] - offsets[0]
