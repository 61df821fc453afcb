"""A corpus in blocks: files of several kinds, standard input, addresses, documents, a Hugging Face dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import RawIOBase
from queue import SimpleQueue
from typing import Any, Literal, TypeAlias

from fastlm.corpus.columns import arrow_blocks, parquet_blocks
from fastlm.corpus.documents import Gathered
from fastlm.corpus.jsonl import jsonl_blocks
from fastlm.corpus.skipped import Faults, OnError
from fastlm.corpus.sources import STDIN, Place, find_places
from fastlm.corpus.streams import CHUNK_BYTES, Counted, Decompressed, Limited, ValidUtf8
from fastlm.corpus.text_blocks import BEGINNING, Block, Position, text_blocks
from fastlm.pretokenize.cutting import Cutter
from fastlm.text._utf8 import utf8_bytes

Document: TypeAlias = str | bytes
Kind: TypeAlias = Literal["text", "jsonl", "parquet", "arrow"]

DATASET_ROWS = 256


@dataclass(frozen=True)
class Corpus:
    """Files and how to read them.

    inputs: a list of paths, directories (all files below whose names do not begin with a dot, in the order of their
    bytes), globs, addresses that fsspec knows, "-" for the standard input (see places.find_places); or a Hugging Face
    dataset. `.gz`, `.zst` and `.xz` are decompressed. `.jsonl`, `.ndjson`, `.json`, `.parquet`, `.arrow` and `.feather`
    hold a document a line or row, in the field or column `field`; any other file is text. `kind` says it where names do
    not.
    separator: stands between the documents of a text; without it a file is one document.
    on_error: "raise" ValueError with file and place for what cannot be read, or "skip" it and count it: documents,
    lines, rows, the rest of a damaged file, and of a text the bytes that are not UTF-8.
    """

    inputs: Sequence[str | os.PathLike[str]]
    field: str = "text"
    separator: str | None = None
    kind: Kind | None = None
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        if not is_dataset(self.inputs):
            if isinstance(self.inputs, str | bytes | os.PathLike) or not isinstance(self.inputs, Sequence):
                raise TypeError(f"inputs must be a list of paths and addresses, not {type(self.inputs).__name__}")
            for name in self.inputs:
                if not isinstance(name, str | os.PathLike):
                    raise TypeError(f"an input must be a path or an address, not {type(name).__name__}")
        if self.kind not in (None, "text", "jsonl", "parquet", "arrow"):
            raise ValueError(f"kind must be 'text', 'jsonl', 'parquet' or 'arrow', not {self.kind!r}")
        Faults(self.on_error)


Source: TypeAlias = str | os.PathLike[str] | Corpus | Iterable[Document | os.PathLike[str]]
"""A path or address, a Corpus, a dataset of Hugging Face's with a column "text", or an iterable of documents and path
objects."""


class Blocks:
    """The blocks of a source from a position on, in order.

    `start` may be set until they are iterated. stop: a place in the last of its files up to which that is read, as
    stretches.stretches_of gives it. `total_bytes` is known where the source is files whose sizes are, and
    `places` are these files; `faults` has counted what was skipped. Raises TypeError for what is no Source, and while
    it is read for a document of a wrong type; OSError for files that cannot be read; ValueError that names file and
    place for what a file should not hold.
    """

    def __init__(
        self, source: Source, cutter: Cutter, start: Position = BEGINNING, stop: Position | None = None
    ) -> None:
        self.places: list[Place] | None = None
        self._items: Iterable[Any] = ()
        self.corpus = source if isinstance(source, Corpus) else Corpus(())
        if isinstance(source, Corpus) and is_dataset(source.inputs):
            self._items = source.inputs
        elif isinstance(source, Corpus):
            self.places = find_places(source.inputs)
        elif isinstance(source, str | os.PathLike):
            self.places = find_places([source])
        elif isinstance(source, bytes) or not isinstance(source, Iterable):
            raise TypeError(f"input must be a path or an iterable of documents or paths, not {type(source).__name__}")
        else:
            if isinstance(source, list | tuple):
                _refuse_names_of_files(source)
                paths = [item for item in source if isinstance(item, os.PathLike)]
                self.places = find_places(paths) if len(paths) == len(source) else None
            self._items = source
        sizes = [place.size for place in self.places or ()]
        known = [size for size in sizes if size is not None]
        self.total_bytes: int | None = sum(known) if self.places is not None and len(known) == len(sizes) else None
        self.faults = Faults(self.corpus.on_error)
        self._plain = cutter.separating(None)
        self.cutter = cutter.separating(self.corpus.separator)
        self.start, self._stop = start, stop
        self._free: SimpleQueue[bytearray] = SimpleQueue()

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """What is known of each file, by which another is told from it, or of a source that is no file."""
        if self.places is not None:
            return [{"name": place.name, "size": place.size, "version": place.version} for place in self.places]
        return [{"name": type(self._items).__name__, "version": getattr(self._items, "_fingerprint", None)}]

    def __iter__(self) -> Iterator[Block]:
        """Each block with where it starts and ends."""
        position = self.start
        try:
            for block in self._blocks():
                end = block.end._replace(document=position.document + block.documents)
                yield replace(block, start=position, end=end)
                position = end
        finally:
            self._free = SimpleQueue()  # what comes after reading may need the memory

    def _blocks(self) -> Iterator[Block]:
        if self.places is not None:
            for number in range(self.start.item, len(self.places)):
                yield from self._file_blocks(self.places[number], self._start_of(number))
        elif is_dataset(self._items):
            yield from self._dataset_blocks(self._items)
        else:
            yield from self._document_blocks(self._items)

    def _start_of(self, item: int) -> Position:
        return self.start if item == self.start.item else Position(item)

    def _file_blocks(self, place: Place, start: Position) -> Iterator[Block]:
        kind = self.corpus.kind or place.kind
        before = dict(self.faults.counts)
        with place.open() as stored:
            if kind in ("parquet", "arrow"):
                read, done = self._rows_of(kind, place, stored, start), 0
            else:
                counted = Counted(stored)
                read, done = self._text_of(kind, place, counted, start), counted.consumed
            for block in read:
                now = stored.tell() if kind in ("parquet", "arrow") else counted.consumed
                # a text is read ahead of its blocks, so what is skipped within one counts when it has ended
                ahead = kind == "text" and block.end.item == start.item
                skipped = before if ahead else dict(self.faults.counts)
                yield replace(block, consumed=max(0, now - done), skipped=skipped)
                done = max(done, now)

    def _rows_of(self, kind: str, place: Place, stored: RawIOBase, start: Position) -> Iterator[Block]:
        if place.compression or place.name == STDIN:
            raise ValueError(f"{place.name}: {kind} is read from a file of its own that is not compressed")
        if kind == "parquet":
            return parquet_blocks(stored, place.name, self.corpus.field, self._plain, self.faults, start, self._stop)
        return arrow_blocks(stored, place.name, self.corpus.field, self._plain, self.faults, start)

    def _text_of(self, kind: str, place: Place, counted: Counted, start: Position) -> Iterator[Block]:
        content: RawIOBase = counted
        if place.compression:
            content = Decompressed(content, place.compression, place.name, self.faults)
        if self.faults.skips and kind == "text":
            content = ValidUtf8(content, place.name, self.faults)
        if content is counted and start.byte and counted.seekable():
            counted.seek(start.byte)
        else:
            _pass(content, start.byte, place.name)
        if self._stop:
            content = Limited(content, self._stop.byte - start.byte, place.name)
        if kind == "jsonl":
            return jsonl_blocks(content, place.name, self.corpus.field, self._plain, self.faults, start)
        return text_blocks(content, place.name, self.cutter, self._free, start, self._stop)

    def _document_blocks(self, items: Iterable[Any]) -> Iterator[Block]:
        gathered = Gathered(self._plain, self.faults, "document {}".format)
        number = -1
        for number, item in enumerate(items):
            if number < self.start.item:
                continue
            if isinstance(item, os.PathLike):
                yield from _taken(gathered, Position(number))
                place, *others = find_places([item])
                if others:
                    raise ValueError(f"{place.name}: a directory cannot stand among documents, only a file")
                yield from self._file_blocks(place, self._start_of(number))
                continue
            if not isinstance(item, str | bytes):
                raise TypeError(f"document {number} must be str, bytes or a path, not {type(item).__name__}")
            gathered.add(utf8_bytes(item), number)
            if gathered.is_enough:
                yield from _taken(gathered, Position(number + 1))
        yield from _taken(gathered, Position(number + 1))

    def _dataset_blocks(self, dataset: Any) -> Iterator[Block]:
        field, row = self.corpus.field, self.start.row
        gathered = Gathered(self._plain, self.faults, "row {}".format)
        for batch in (dataset.skip(row) if row else dataset).iter(batch_size=DATASET_ROWS):
            if field not in batch:
                raise ValueError(f"the dataset has no column {field!r}; found {', '.join(map(repr, batch))}")
            for text in batch[field]:
                if isinstance(text, str | bytes):
                    gathered.add(utf8_bytes(text), row)
                else:
                    what = f"column {field!r} must hold strings, not {type(text).__name__}"
                    self.faults.meet("row without a text", f"row {row}", what)
                row += 1
            if gathered.is_enough:
                yield from _taken(gathered, Position(row=row), self.faults)
        yield from _taken(gathered, Position(row=row), self.faults)


def _taken(gathered: Gathered, end: Position, faults: Faults | None = None) -> Iterator[Block]:
    for block in gathered.take():
        yield replace(block, end=end, consumed=len(block.text), skipped=dict(faults.counts) if faults else {})


def _pass(content: RawIOBase, size: int, name: str) -> None:
    """Reads so many bytes and leaves them."""
    while size:
        passed = content.read(min(size, CHUNK_BYTES))
        if not passed:
            raise ValueError(f"{name}: ends {size} bytes before the place at which reading is to go on")
        size -= len(passed)


def is_dataset(value: object) -> bool:
    """Whether this is a Dataset or IterableDataset of Hugging Face's `datasets`, by what it offers."""
    return all(hasattr(value, name) for name in ("column_names", "iter", "skip"))


def _refuse_names_of_files(items: list[Any] | tuple[Any, ...]) -> None:
    """In a list a str is a document; a list of nothing but names of files was surely meant otherwise."""
    for item in items:
        if not isinstance(item, str) or len(item) > 4096 or "\0" in item or not os.path.isfile(item):
            return
    if items:
        raise ValueError(f"{items[0]!r} is the name of a file: in a list, give files as pathlib.Path")
