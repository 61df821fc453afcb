"""Damaged Arrow arrays in memory, against a check of each offset, view and index with plain Python.

Files would spend most of the time in pyarrow's metadata. Here the offsets, views, indices and lengths are damaged, so
nearly each array reaches the validation.
"""

from __future__ import annotations

import functools
import itertools
import random
import struct
from pathlib import Path
from typing import Any

from fastlm.corpus.arrow_arrays import decoded_parts, joined_rows, validated

DATA = bytes(range(65, 91)) * 2
NUMBERS = (0, 1, 2, 10, 51, 52, 53, 60, -1, -2, -300, 127, 1 << 20, (1 << 31) - 1, -(1 << 31))
# runs that share a random generator: seeding one takes as long as a tenth of a run
_BLOCK = 1000
KINDS = ("string", "binary", "large_string", "large_binary", "string_view", "binary_view")


@functools.cache
def _array(kind: str, rows: int) -> tuple[Any, bytearray]:
    """An array of empty rows, and the memory of its offsets or views. pyarrow checks an array when it is made, so the
    damage comes later, as it does with a file that is mapped into memory."""
    import pyarrow

    width = 16 * rows if kind.endswith("view") else (8 if kind.startswith("large") else 4) * (rows + 1)
    memory = bytearray(width)
    buffers = [None, pyarrow.py_buffer(memory), pyarrow.py_buffer(DATA)]
    return pyarrow.Array.from_buffers(getattr(pyarrow, kind)(), rows, buffers), memory


def _offsets(chance: random.Random, kind: str, rows: int) -> tuple[Any, list[bytes] | None]:
    array, memory = _array(kind, rows)
    offsets = sorted(chance.choices(range(len(DATA) + 1), k=rows + 1))
    if chance.random() < 0.7:
        offsets[chance.randrange(rows + 1)] = chance.choice(NUMBERS)
    struct.pack_into(f"<{rows + 1}{'q' if kind.startswith('large') else 'i'}", memory, 0, *offsets)
    if offsets != sorted(offsets) or offsets[0] < 0 or offsets[-1] > len(DATA):
        return array, None
    return array, [DATA[a:b] for a, b in itertools.pairwise(offsets)]


def _views(chance: random.Random, kind: str, rows: int) -> tuple[Any, list[bytes] | None]:
    array, memory = _array(kind, rows)
    expected, is_right = [], True
    for row in range(rows):
        length, buffer, offset = chance.choice((0, 3, 12, 13, 20)), 0, chance.randrange(33)
        if chance.random() < 0.3:
            length = chance.choice((length, chance.choice(NUMBERS)))
            buffer = chance.choice((buffer, chance.choice(NUMBERS)))
            offset = chance.choice((offset, chance.choice(NUMBERS)))
        if 0 <= length <= 12:
            expected.append(DATA[:length])
            struct.pack_into("<i12s", memory, 16 * row, length, expected[-1])
        else:
            is_right &= length > 12 and buffer == 0 and 0 <= offset <= len(DATA) - length
            expected.append(DATA[max(offset, 0) :][: max(length, 0)])
            struct.pack_into("<i4sii", memory, 16 * row, length, expected[-1][:4], buffer, offset)
    return array, expected if is_right else None


@functools.cache
def _dictionary_array(kind: str, rows: int, count: int) -> tuple[Any, bytearray]:
    """A dictionary array over `_array(kind, rows)`, and the memory of its indices."""
    import pyarrow

    memory = bytearray(count)
    indices = pyarrow.Array.from_buffers(pyarrow.int8(), count, [None, pyarrow.py_buffer(memory)])
    values, of_values = _array(kind, rows)
    of_values[:] = bytes(len(of_values))
    return pyarrow.DictionaryArray.from_arrays(indices, values, safe=False), memory


def _dictionary(chance: random.Random, kind: str, rows: int) -> tuple[Any, list[bytes] | None]:
    count = chance.randrange(1, 6)
    array, memory = _dictionary_array(kind, rows, count)
    _, expected = _plain(chance, kind, rows)
    indices = chance.choices(range(rows), k=count)
    if chance.random() < 0.4:
        indices[0] = chance.choice((-1, rows, 127, -128))
    struct.pack_into(f"{count}b", memory, 0, *indices)
    if expected is None or min(indices) < 0 or max(indices) >= rows:
        return array, None
    return array, [expected[index] for index in indices]


def _plain(chance: random.Random, kind: str, rows: int) -> tuple[Any, list[bytes] | None]:
    return (_views if kind.endswith("view") else _offsets)(chance, kind, rows)


def _rows_of(array: Any) -> list[bytes] | None:
    """The rows as the reader takes them; None if it refuses the array."""
    import pyarrow

    found: list[bytes] = []
    try:
        for _, rows in decoded_parts(validated(array), 0, 30):
            text, ends = joined_rows(rows)
            found += [bytes(text[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    except pyarrow.ArrowException:
        return None
    return found


def run(runs: int, seed: int = 1) -> str:
    """Reads damaged arrays. Returns a report of the first array that is read wrongly, or nothing."""
    for block in range(0, runs, _BLOCK):
        chance = random.Random(f"{seed} {block}")
        for number in range(block, min(runs, block + _BLOCK)):
            try:
                arrow_array(chance)
            except Exception as error:  # noqa: BLE001 - any exception is a report
                return f"arrow, seed {seed}, run {number}: {type(error).__name__}: {error}\n"
    return ""


def arrow_array(chance: random.Random, _: Path | None = None) -> None:
    """An array of strings or a dictionary with damaged buffers: its rows, or refused."""
    kind, rows = chance.choice(KINDS), chance.randrange(1, 6)
    make = _dictionary if chance.random() < 0.2 else _plain
    array, expected = make(chance, kind, rows)
    found = _rows_of(array)
    # views of a dictionary that name more bytes than there are may be refused too
    assert found == expected or (found is None and make is _dictionary and kind.endswith("view")), (kind, expected)
