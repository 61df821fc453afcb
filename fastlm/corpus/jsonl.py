"""JSON Lines: one document a line, in a field of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import RawIOBase

from fastlm.corpus import text_blocks
from fastlm.corpus.documents import Gathered
from fastlm.corpus.skipped import Faults
from fastlm.corpus.streams import needed
from fastlm.corpus.text_blocks import Block, Position
from fastlm.pretokenize.cutting import Cutter
from fastlm.text._utf8 import utf8_bytes


def jsonl_blocks(
    file: RawIOBase, name: str, field: str, cutter: Cutter, faults: Faults, start: Position
) -> Iterator[Block]:
    """The documents of a file that stands at byte start.byte, the start of a line, after start.row lines.

    A line is held whole. Lines of white space hold no document; `faults` meets a line that is not JSON, and one without
    a string in the field.
    """
    loads = needed("orjson", "JSON lines").loads
    gathered = Gathered(cutter, faults, lambda line: f"{name}: line {line}")
    position = start
    for line, end in _lines(file, start.byte):
        number = position.row + 1
        position = position._replace(byte=end, row=number)
        if text := _document(loads, line, field, f"{name}: line {number}", faults):
            gathered.add(text[0], number)
        if gathered.is_enough:
            yield from (replace(block, end=position) for block in gathered.take())
    yield from (replace(block, end=position) for block in gathered.take())


def _document(loads, line: bytes, field: str, place: str, faults: Faults) -> tuple[bytes] | None:  # type: ignore[no-untyped-def]
    if not line.strip():
        return None
    try:
        value = loads(line)
    except ValueError as error:
        faults.meet("line that is not JSON", place, f"not JSON: {error}")
        return None
    if not isinstance(value, dict) or field not in value:
        found = f"the fields {', '.join(map(repr, value))}" if isinstance(value, dict) else type(value).__name__
        faults.meet("line without the field", place, f"no field {field!r}; found {found}")
        return None
    text = value[field]
    if not isinstance(text, str):
        faults.meet("field that is no string", place, f"field {field!r} must be a string, not {type(text).__name__}")
        return None
    return (utf8_bytes(text),)


def _lines(file: RawIOBase, offset: int) -> Iterator[tuple[bytes, int]]:
    """Each line without its end, and the byte at which the next one starts."""
    held: list[bytes] = []
    while chunk := file.read(text_blocks.BLOCK_BYTES):
        first, *others = chunk.split(b"\n")
        held.append(first)
        for line in others:
            whole = b"".join(held)
            offset += len(whole) + 1
            yield whole, offset
            held = [line]
    if last := b"".join(held):
        yield last, offset + len(last)
