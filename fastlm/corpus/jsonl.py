"""JSON Lines: one document a line, in one field of a JSON object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import RawIOBase
from typing import Any

from fastlm.corpus import text_blocks
from fastlm.corpus.documents import GatheredDocuments
from fastlm.corpus.skipped import SkippedRecords
from fastlm.corpus.streams import needed
from fastlm.corpus.text_blocks import Block, Position
from fastlm.pretokenize.text_splitter import TextSplitter
from fastlm.text._utf8 import utf8_bytes


def jsonl_blocks(
    file: RawIOBase, name: str, field: str, splitter: TextSplitter, skipped: SkippedRecords, start: Position
) -> Iterator[Block]:
    """Reads the documents of a file that is at byte start.byte, the start of a line, after start.row lines.

    A whole line is in memory at a time. Lines of whitespace hold no document. `skipped` records lines that are not
    JSON, and lines without a string in the field.
    """
    loads = needed("orjson", "JSON lines").loads
    gathered = GatheredDocuments(splitter, skipped, lambda line: f"{name}: line {line}")
    position = start
    for line, end in _lines(file, start.byte):
        number = position.row + 1
        position = position._replace(byte=end, row=number)
        text = _document(loads, line, field, f"{name}: line {number}", skipped)
        if text is not None:
            gathered.add(text, number)
        if gathered.is_enough:
            yield from (replace(block, end=position) for block in gathered.take())
    yield from (replace(block, end=position) for block in gathered.take())


def _document(
    loads: Callable[[bytes], Any], line: bytes, field: str, location: str, skipped: SkippedRecords
) -> bytes | None:
    if not line.strip():
        return None
    try:
        value = loads(line)
    except ValueError as error:
        skipped.record("line that is not JSON", location, f"not JSON: {error}")
        return None
    if not isinstance(value, dict) or field not in value:
        found = f"the fields {', '.join(map(repr, value))}" if isinstance(value, dict) else type(value).__name__
        skipped.record("line without the field", location, f"no field {field!r}; found {found}")
        return None
    text = value[field]
    if not isinstance(text, str):
        message = f"field {field!r} must be a string, not {type(text).__name__}"
        skipped.record("field that is no string", location, message)
        return None
    return utf8_bytes(text)


def _lines(file: RawIOBase, offset: int) -> Iterator[tuple[bytes, int]]:
    """Each line without its newline, and the byte at which the next line starts."""
    parts: list[bytes] = []
    while chunk := file.read(text_blocks.BLOCK_BYTES):
        first, *others = chunk.split(b"\n")
        parts.append(first)
        for line in others:
            whole = b"".join(parts)
            offset += len(whole) + 1
            yield whole, offset
            parts = [line]
    if last := b"".join(parts):
        yield last, offset + len(last)
