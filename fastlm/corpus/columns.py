"""Columns of Parquet and Arrow files: one document a row, taken from the column's memory without a copy.

Nothing in these files is trusted. Each array is validated before it is read (arrow_arrays), and memory is bounded by
the text that is decoded at a time, not by the number of rows that a file declares.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import RawIOBase
from typing import Any

import numpy as np

from fastlm.corpus import text_blocks
from fastlm.corpus.arrow_arrays import decoded_parts, holds_text, joined_rows, validated
from fastlm.corpus.documents import blocks_of
from fastlm.corpus.skipped import SkippedRecords
from fastlm.corpus.streams import needed
from fastlm.corpus.text_blocks import Block, Position
from fastlm.pretokenize.text_splitter import TextSplitter

# Decoded bytes that a batch of Parquet rows may take: rows may share one value of the dictionary. Writers make
# dictionaries of 1 MiB, and batches of fewer than BATCH_ROWS cost time, so those batches may take up to MOST_BYTES.
BATCH_BYTES = 1 << 24
BATCH_ROWS = 256
MOST_BYTES = 1 << 27

# A row group is refused where it declares more than GROUP_BYTES and more than GROUP_RATIO times the size of the file.
# No text compresses that well (zstd gives 3 to 4), and one page may take 2 GiB.
GROUP_BYTES = 1 << 28
GROUP_RATIO = 1000

# Bytes of a page header that hold its type and its size.
_PAGE_HEADER_BYTES = 16
_DICTIONARY_PAGE = 2


@dataclass(frozen=True)
class _Rows:
    """Some rows of a file: the number of the first, an array that is not validated yet, and the part of the file that
    holds them, for messages."""

    first: int
    array: Any
    part: str


def parquet_blocks(
    file: RawIOBase,
    name: str,
    column: str,
    splitter: TextSplitter,
    skipped: SkippedRecords,
    start: Position,
    stop: Position | None = None,
) -> Iterator[Block]:
    """Reads the documents of a Parquet file from row start.row up to stop.row, where a row group ends.

    `skipped` records a file that is not Parquet, lacks the column, or is damaged.
    """
    parquet = needed("pyarrow.parquet", "Parquet")
    try:
        opened = parquet.ParquetFile(file, pre_buffer=False, buffer_size=text_blocks.BLOCK_BYTES)
        has_text = _has_text(opened.schema_arrow, column, name, skipped)
    except _errors() as error:
        _record_damage(error, skipped, name)
        return
    if has_text:
        last = stop.row if stop else opened.metadata.num_rows
        rows = _parquet_rows(opened, file, column, start.row, last)
        yield from _blocks_of_rows(rows, name, splitter, skipped, start)


def row_groups_of(file: RawIOBase) -> list[tuple[int, int]]:
    """The rows and bytes of each row group of a Parquet file; an empty list for a file that is not Parquet."""
    parquet = needed("pyarrow.parquet", "Parquet")
    try:
        metadata = parquet.ParquetFile(file).metadata
    except _errors():
        return []
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return [(group.num_rows, group.total_byte_size) for group in groups]


def _parquet_rows(opened: Any, file: RawIOBase, column: str, first: int, last: int) -> Iterator[_Rows]:
    """The rows from `first` on of the row groups that begin before `last`."""
    paths = [opened.schema.column(k).path for k in range(len(opened.schema))]
    position = paths.index(column)
    is_dictionary = needed("pyarrow", "Parquet").types.is_dictionary(opened.schema_arrow.field(column).type)
    begin = 0
    for group in range(opened.num_row_groups):
        metadata = opened.metadata.row_group(group)
        stop = begin + metadata.num_rows
        if first < stop and begin < last:
            part = f"row group {group}"
            _check_size(metadata.total_byte_size, file, part)
            read = functools.partial(opened.iter_batches, row_groups=[group], columns=[column], use_threads=False)
            # pyarrow ends the process where it gives the metadata of a damaged column chunk; reading a row raises first
            next(read(1), None)
            batches = read(_batch_rows(metadata.column(position), file, is_dictionary))
            for at, array in _joined(batches, begin, is_dictionary):
                before = max(0, first - at)
                if before < len(array):
                    yield _Rows(at + before, array[before:], part)
                del array
        begin = stop


def _joined(batches: Iterator[Any], first: int, is_dictionary: bool) -> Iterator[tuple[int, Any]]:
    """The number of the first row, and an array, of about BLOCK_BYTES of consecutive batches.

    pyarrow made these arrays itself, so they may be read. Batches of dictionaries are left alone.
    """
    gathered: list[Any] = []
    size = 0
    for batch in batches:
        array = batch.column(0)
        gathered.append(array)
        size += array.nbytes
        if is_dictionary or size >= text_blocks.BLOCK_BYTES // 2:
            del batch, array  # the next batch may need the memory
            joined = _concatenated(gathered)
            gathered, size, count = [], 0, len(joined)
            yield first, joined
            first += count
            del joined
    if gathered:
        yield first, _concatenated(gathered)


def _concatenated(arrays: list[Any]) -> Any:
    return arrays[0] if len(arrays) == 1 else needed("pyarrow", "columns").concat_arrays(arrays)


def _check_size(declared: int, file: RawIOBase, part: str) -> None:
    """Raises ArrowInvalid for a row group that declares an absurd size."""
    before = file.tell()
    stored = file.seek(0, os.SEEK_END)
    file.seek(before)
    if declared > max(GROUP_BYTES, GROUP_RATIO * stored):
        invalid = needed("pyarrow", "Parquet").ArrowInvalid
        raise invalid(f"{part} declares {declared} bytes in a file of {stored} bytes; it is not decompressed")


def _batch_rows(chunk: Any, file: RawIOBase, is_dictionary: bool) -> int:
    """The number of rows of a column chunk to decode at a time."""
    declared: int = chunk.total_uncompressed_size
    width = max(1, declared // max(1, int(chunk.num_values)))
    rows = max(1, text_blocks.BLOCK_BYTES // width)
    if is_dictionary:
        return rows  # the batches stay dictionaries; decoded_parts decodes them in parts
    # the longest value that many rows can share
    longest: int = declared if "DELTA_BYTE_ARRAY" in chunk.encodings else _dictionary_bytes(chunk, file)
    longest = max(1, longest)
    return min(rows, max(1, BATCH_BYTES // longest, min(BATCH_ROWS, MOST_BYTES // longest)))


def _dictionary_bytes(chunk: Any, file: RawIOBase) -> int:
    """The decompressed size of the dictionary page of a column chunk, as its header says; 0 where it has none.

    A page header is a Thrift struct in compact encoding. Its first two fields are the type of the page and its size.
    """
    offset = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < offset:
        offset = chunk.dictionary_page_offset
    before = file.tell()
    file.seek(offset)
    header = file.read(_PAGE_HEADER_BYTES) or b""
    file.seek(before)
    values, at = [], 0
    for _ in range(2):
        value = shift = 0
        if header[at : at + 1] != b"\x15":  # the next field, an i32
            return int(chunk.total_uncompressed_size)
        while True:
            at += 1
            if at >= len(header):
                return int(chunk.total_uncompressed_size)
            value |= (header[at] & 0x7F) << shift
            shift += 7
            if header[at] < 0x80:
                break
        at += 1
        values.append((value >> 1) ^ -(value & 1))
    return max(0, values[1]) if values[0] == _DICTIONARY_PAGE else 0


def arrow_blocks(
    file: RawIOBase, name: str, column: str, splitter: TextSplitter, skipped: SkippedRecords, start: Position
) -> Iterator[Block]:
    """The same for an Arrow IPC file, or for a stream of Arrow batches as Hugging Face datasets keeps on disk.

    One record batch is in memory at a time.
    """
    pyarrow = needed("pyarrow", "Arrow")
    source = pyarrow.PythonFile(file, mode="r")
    try:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        opened = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
        has_text = _has_text(opened.schema, column, name, skipped)
    except _errors() as error:
        _record_damage(error, skipped, name)
        return
    if has_text:
        batches = map(opened.get_batch, range(opened.num_record_batches)) if is_file else iter(opened)
        yield from _blocks_of_rows(_arrow_rows(batches, column, start.row), name, splitter, skipped, start)


def _arrow_rows(batches: Iterator[Any], column: str, first: int) -> Iterator[_Rows]:
    at = 0
    for number, batch in enumerate(batches):
        rows = batch.column(column)
        part = f"record batch {number}"
        if first < at + len(rows):
            # a slice of an array is checked only where it lies
            yield _Rows(max(first, at), rows[max(0, first - at) :], part)
        at += len(rows)


def _has_text(schema: Any, column: str, name: str, skipped: SkippedRecords) -> bool:
    count = schema.names.count(column)
    if count != 1:
        found = ", ".join(map(repr, schema.names))
        what = f"no column {column!r}; found {found}" if not count else f"{count} columns are named {column!r}"
        skipped.record("file without the column", name, what)
        return False
    if not holds_text(found := schema.field(column).type):
        skipped.record("file without the column", name, f"column {column!r} must hold strings, not {found}")
        return False
    return True


def _blocks_of_rows(
    batches: Iterator[_Rows], name: str, splitter: TextSplitter, skipped: SkippedRecords, start: Position
) -> Iterator[Block]:
    """Validates and decodes rows. The end of each block is the row after its last."""
    for first, rows in _decoded(batches, name, skipped, start.row):
        numbers = np.arange(first, first + len(rows))
        end = start._replace(row=first + len(rows))
        if rows.null_count:
            present = np.asarray(rows.is_valid())
            for number in numbers[~present].tolist():
                skipped.record("row without a text", f"{name}: row {number}", "null, where a text was expected")
            rows, numbers = rows.drop_null(), numbers[present]
        if len(rows):
            text, ends = joined_rows(rows)
            found = blocks_of(text, ends, numbers, lambda number: f"{name}: row {number}", splitter, skipped)
            del rows  # the next batch may need the memory
            yield from (replace(block, end=end) for block in found)
            del text, found


def _decoded(batches: Iterator[_Rows], name: str, skipped: SkippedRecords, first: int) -> Iterator[tuple[int, Any]]:
    """The number of the first row, and binary or large_binary arrays of about BLOCK_BYTES, up to damage."""
    place = f"row {first} or later"
    try:
        for rows in batches:
            place = f"{rows.part}: row {rows.first} or later"
            parts = decoded_parts(validated(rows.array), rows.first, text_blocks.BLOCK_BYTES)
            del rows
            yield from parts
    except _errors() as error:
        _record_damage(error, skipped, f"{name}: {place}")


def _errors() -> tuple[type[Exception], ...]:
    """The exceptions that pyarrow raises for a damaged file. It raises the last two for names that are damaged."""
    return needed("pyarrow", "columns").ArrowException, OSError, MemoryError, UnicodeDecodeError, KeyError


def _record_damage(error: Exception, skipped: SkippedRecords, location: str) -> None:
    """Records one of _errors. An OSError with a number is an error of reading, and is raised."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error
    if isinstance(error, MemoryError):
        skipped.record("rows that need too much memory", location, "the rows need more memory than the process can get")
        return
    skipped.record("damaged file", location, (str(error).splitlines() or [type(error).__name__])[0])
