"""Columns of Parquet and Arrow files: one document a row, taken from the column's memory as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import RawIOBase
from typing import Any

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus import text_blocks
from fastlm.corpus.documents import blocks_of
from fastlm.corpus.skipped import Faults
from fastlm.corpus.streams import needed
from fastlm.corpus.text_blocks import Block, Position
from fastlm.pretokenize.cutting import Cutter


def parquet_blocks(
    file: RawIOBase,
    name: str,
    column: str,
    cutter: Cutter,
    faults: Faults,
    start: Position,
    stop: Position | None = None,
) -> Iterator[Block]:
    """The documents of a file from row start.row on, up to stop.row, where a row group ends.

    `faults` meets a file that is not Parquet or lacks the column.
    """
    pyarrow, parquet = needed("pyarrow", "Parquet"), needed("pyarrow.parquet", "Parquet")
    try:
        opened = parquet.ParquetFile(file, pre_buffer=False, buffer_size=text_blocks.BLOCK_BYTES)
        schema = opened.schema_arrow
    except (pyarrow.ArrowException, OSError) as error:
        _refuse(error, faults, name)
        return
    if not _has_text(schema, column, pyarrow, name, faults):
        return
    last = stop.row if stop else opened.metadata.num_rows
    yield from _batches_to_blocks(_row_groups(opened, column, start.row, last), name, cutter, faults, start)


def row_groups_of(file: RawIOBase) -> list[tuple[int, int]]:
    """(rows, bytes) of each row group of a Parquet file; nothing where it cannot be read as one."""
    pyarrow, parquet = needed("pyarrow", "Parquet"), needed("pyarrow.parquet", "Parquet")
    try:
        metadata = parquet.ParquetFile(file).metadata
    except (pyarrow.ArrowException, OSError):
        return []
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return [(group.num_rows, group.total_byte_size) for group in groups]


def _row_groups(opened: Any, column: str, first: int, last: int) -> Iterator[tuple[int, Any]]:
    """(number of the first row, an array of some rows), from the row `first` on, of the groups that begin before
    `last`."""
    begin = 0
    for group in range(opened.num_row_groups):
        known = opened.metadata.row_group(group)
        stop = begin + known.num_rows
        if first < stop and begin < last:
            width = max(1, known.total_byte_size // max(1, known.num_rows))
            rows = max(1, text_blocks.BLOCK_BYTES // width)
            at = begin
            for batch in opened.iter_batches(rows, row_groups=[group], columns=[column], use_threads=False):
                skipped = min(max(0, first - at), len(batch))
                if skipped < len(batch):
                    yield at + skipped, batch.column(0)[skipped:]
                at += len(batch)
        begin = stop


def arrow_blocks(
    file: RawIOBase, name: str, column: str, cutter: Cutter, faults: Faults, start: Position
) -> Iterator[Block]:
    """The same for an Arrow file, or a stream of Arrow batches as Hugging Face datasets keeps on disk."""
    pyarrow = needed("pyarrow", "Arrow")
    source = pyarrow.PythonFile(file, mode="r")
    try:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        opened = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
    except (pyarrow.ArrowException, OSError) as error:
        _refuse(error, faults, name)
        return
    if not _has_text(opened.schema, column, pyarrow, name, faults):
        return
    batches = map(opened.get_batch, range(opened.num_record_batches)) if is_file else iter(opened)

    def arrays() -> Iterator[tuple[int, Any]]:
        at = 0
        for batch in batches:
            rows = batch.column(column)
            width = max(1, rows.nbytes // max(1, len(rows)))
            step = max(1, text_blocks.BLOCK_BYTES // width)
            for begin in range(min(max(0, start.row - at), len(rows)), len(rows), step):
                yield at + begin, rows[begin : begin + step]
            at += len(rows)

    yield from _batches_to_blocks(arrays(), name, cutter, faults, start)


def _has_text(schema: Any, column: str, pyarrow: Any, name: str, faults: Faults) -> bool:
    if column not in schema.names:
        found = ", ".join(map(repr, schema.names))
        faults.meet("file without the column", name, f"no column {column!r}; found {found}")
        return False
    kind = schema.field(column).type
    types = pyarrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    checks = (types.is_string, types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary)
    if not any(check(kind) for check in checks):
        faults.meet("file without the column", name, f"column {column!r} must hold strings, not {kind}")
        return False
    return True


def _refuse(error: Exception, faults: Faults, place: str) -> None:
    if isinstance(error, OSError) and error.errno is not None:
        raise error
    faults.meet("damaged file", place, str(error).splitlines()[0])


def _batches_to_blocks(
    batches: Iterator[tuple[int, Any]], name: str, cutter: Cutter, faults: Faults, start: Position
) -> Iterator[Block]:
    pyarrow = needed("pyarrow", "columns")
    row = start.row
    while True:
        try:
            row, rows = next(batches)
        except StopIteration:
            return
        except (pyarrow.ArrowException, OSError) as error:
            _refuse(error, faults, f"{name}: row {row} or later")
            return
        numbers = np.arange(row, row + len(rows))
        row += len(rows)
        if rows.null_count:
            present = np.asarray(rows.is_valid())
            for number in numbers[~present].tolist():
                faults.meet("row without a text", f"{name}: row {number}", "null, where a text was expected")
            rows, numbers = rows.drop_null(), numbers[present]
        if len(rows):
            text, ends = joined_rows(rows, pyarrow)
            found = blocks_of(text, ends, numbers, lambda number: f"{name}: row {number}", cutter, faults)
            yield from (replace(block, end=start._replace(row=row)) for block in found)


def joined_rows(rows: Any, pyarrow: Any) -> tuple[memoryview, Int64Array]:
    """The bytes of an array of strings without nulls, where they lie if its type allows, and where each row ends."""
    kind = rows.type
    types = pyarrow.types
    wide = types.is_large_string(kind) or types.is_large_binary(kind)
    if not wide and not types.is_string(kind) and not types.is_binary(kind):
        rows, wide = rows.cast(pyarrow.large_string()), True
    offsets = np.frombuffer(rows.buffers()[1], np.int64 if wide else np.int32)
    offsets = offsets[rows.offset : rows.offset + len(rows) + 1].astype(np.int64)
    data = rows.buffers()[2]
    text = memoryview(data if data is not None else b"").cast("B")
    return text[offsets[0] : offsets[-1]], offsets[1:] - offsets[0]
