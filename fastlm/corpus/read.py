"""Reads a corpus as text blocks: files of several kinds, standard input, addresses, documents, a Hugging Face
dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from io import RawIOBase
from queue import SimpleQueue
from typing import Any, TypeAlias

from fastlm.corpus.columns import arrow_blocks, parquet_blocks
from fastlm.corpus.documents import GatheredDocuments
from fastlm.corpus.jsonl import jsonl_blocks
from fastlm.corpus.read_options import Kind as Kind
from fastlm.corpus.read_options import ReadOptions
from fastlm.corpus.skipped import SkippedRecords
from fastlm.corpus.sources import STDIN, SourceFile, find_files
from fastlm.corpus.streams import CHUNK_BYTES, CountedStream, DecompressedStream, LimitedStream, ValidUtf8Stream
from fastlm.corpus.text_blocks import BEGINNING, Block, Position, text_blocks
from fastlm.pretokenize.text_splitter import TextSplitter
from fastlm.text._utf8 import utf8_bytes

Document: TypeAlias = str | bytes

DATASET_ROWS = 256


@dataclass(frozen=True)
class Corpus(ReadOptions):
    """Sources and how to read them.

    `.gz`, `.zst`, `.xz`, `.bz2` and `.lz4` files are decompressed. The name of a file tells its kind: `.jsonl`,
    `.ndjson`, `.json`, `.parquet`, `.arrow` and `.feather` files hold one document a line or row; any other file is
    text.

    Args:
        inputs: A list of paths, directories, globs, addresses that fsspec knows, and "-" for standard input; see
            sources.find_files. Or a Hugging Face dataset.
        field: Field of JSON lines, or column of Parquet and Arrow files, that holds the text.
        separator: Text between two documents of a file; without it a text file is one document.
        kind: "text", "jsonl", "parquet" or "arrow": the kind of all inputs, where their names do not tell it.
        on_error: "raise" a ValueError with file and location for input that cannot be read, or "skip" it and count it:
            documents, lines, rows, the rest of a damaged file, and the bytes of a text that are not UTF-8.

    Raises:
        TypeError: for inputs that are not a list of names or a dataset.
        ValueError: for another `kind` or `on_error`, and for an empty separator.

    Example:
        >>> Corpus(["corpus/", "more/*.jsonl.zst"], separator="<|endoftext|>").kind is None
        True
    """

    inputs: Sequence[str | os.PathLike[str]]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_dataset(self.inputs):
            if isinstance(self.inputs, str | bytes | os.PathLike) or not isinstance(self.inputs, Sequence):
                raise TypeError(f"inputs must be a list of paths and addresses, not {type(self.inputs).__name__}")
            for name in self.inputs:
                if not isinstance(name, str | os.PathLike):
                    raise TypeError(f"an input must be a path or an address, not {type(name).__name__}")

    @property
    def options(self) -> ReadOptions:
        """How the inputs are read, without the inputs."""
        return ReadOptions(**{field.name: getattr(self, field.name) for field in fields(ReadOptions)})


Source: TypeAlias = str | os.PathLike[str] | Corpus | Iterable[Document | os.PathLike[str]]
"""A path or address, a Corpus, a Hugging Face dataset with a column "text", or an iterable of documents and path
objects."""


class Blocks:
    """The text blocks of a source, in order.

    Args:
        source: A Source.
        splitter: Finds what cuts the text.
        start: Where reading starts; `start` may be set until the blocks are iterated.
        stop: Where reading the last file stops, as partitions.partitions_of gives it.

    Attributes:
        corpus: The source as a Corpus; without inputs, if it is not one.
        files: The files of the source, or None for a source that is not only files.
        total_bytes: The stored bytes of all files, or None where unknown.
        skipped: Counts the records that were skipped.

    Raises:
        TypeError: for another type of source; while iterating, for a document of another type.
        OSError: for files that cannot be read.
        ValueError: while iterating, for input that cannot be read, with file and location.
    """

    def __init__(
        self, source: Source, splitter: TextSplitter, start: Position = BEGINNING, stop: Position | None = None
    ) -> None:
        self.files: list[SourceFile] | None = None
        self._items: Iterable[Any] = ()
        self.corpus = source if isinstance(source, Corpus) else Corpus(())
        if isinstance(source, Corpus) and is_dataset(source.inputs):
            self._items = source.inputs
        elif isinstance(source, Corpus):
            self.files = find_files(source.inputs)
        elif isinstance(source, str | os.PathLike):
            self.files = find_files([source])
        elif isinstance(source, bytes) or not isinstance(source, Iterable):
            hint = "; give one document as a list: [text]" if isinstance(source, bytes) else ""
            found = type(source).__name__
            raise TypeError(f"input must be a path or an iterable of documents or paths, not {found}{hint}")
        else:
            if isinstance(source, list | tuple):
                _refuse_file_names(source)
                paths = [item for item in source if isinstance(item, os.PathLike)]
                self.files = find_files(paths) if len(paths) == len(source) else None
            self._items = source
        sizes = [file.size for file in self.files or ()]
        known = [size for size in sizes if size is not None]
        self.total_bytes: int | None = sum(known) if self.files is not None and len(known) == len(sizes) else None
        self.skipped = SkippedRecords(self.corpus.on_error)
        self._plain_splitter = splitter.with_separator(None)
        self.splitter = splitter.with_separator(self.corpus.separator)
        self.start, self._stop = start, stop
        self._free: SimpleQueue[bytearray] = SimpleQueue()

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Name, size and version of each file; for other sources the type and, for a dataset, its fingerprint."""
        if self.files is not None:
            return [{"name": file.name, "size": file.size, "version": file.version} for file in self.files]
        return [{"name": type(self._items).__name__, "version": getattr(self._items, "_fingerprint", None)}]

    def __iter__(self) -> Iterator[Block]:
        """Yields each block with the positions at which it starts and ends."""
        position = self.start
        try:
            for block in self._blocks():
                end = block.end._replace(document=position.document + block.documents)
                yield replace(block, start=position, end=end)
                position = end
        finally:
            self._free = SimpleQueue()  # the caller may need the memory after reading

    def _blocks(self) -> Iterator[Block]:
        if self.files is not None:
            for number in range(self.start.item, len(self.files)):
                yield from self._file_blocks(self.files[number], self._start_of(number))
        elif is_dataset(self._items):
            yield from self._dataset_blocks(self._items)
        else:
            yield from self._document_blocks(self._items)

    def _start_of(self, item: int) -> Position:
        return self.start if item == self.start.item else Position(item)

    def _file_blocks(self, file: SourceFile, start: Position) -> Iterator[Block]:
        is_last = self.files is not None and start.item == len(self.files) - 1
        stop = self._stop if is_last else None
        kind = self.corpus.kind or file.kind
        before = dict(self.skipped.counts)
        with file.open() as stored:
            if kind in ("parquet", "arrow"):
                blocks, done = self._column_blocks(kind, file, stored, start, stop), 0
            else:
                counted = CountedStream(stored)
                blocks, done = self._text_blocks(kind, file, counted, start, stop), counted.consumed
            for block in blocks:
                now = stored.tell() if kind in ("parquet", "arrow") else counted.consumed
                # A text is read ahead of its blocks, so its skipped bytes count only when the text has ended.
                is_ahead = kind == "text" and block.end.item == start.item
                skipped = before if is_ahead else dict(self.skipped.counts)
                yield replace(block, consumed=max(0, now - done), skipped=skipped)
                done = max(done, now)

    def _column_blocks(
        self, kind: str, file: SourceFile, stored: RawIOBase, start: Position, stop: Position | None
    ) -> Iterator[Block]:
        if file.compression or file.name == STDIN:
            raise ValueError(f"{file.name}: {kind} is read from a file of its own that is not compressed")
        field, name = self.corpus.field, file.name
        if kind == "parquet":
            return parquet_blocks(stored, name, field, self._plain_splitter, self.skipped, start, stop)
        return arrow_blocks(stored, name, field, self._plain_splitter, self.skipped, start)

    def _text_blocks(
        self, kind: str, file: SourceFile, counted: CountedStream, start: Position, stop: Position | None
    ) -> Iterator[Block]:
        content: RawIOBase = counted
        if file.compression:
            cuts = b"\n" if kind == "jsonl" else b" \t\r\n"
            content = DecompressedStream(content, file.compression, file.name, self.skipped, cuts)
        if self.skipped.skips and kind == "text":
            content = ValidUtf8Stream(content, file.name, self.skipped)
        if content is counted and start.byte and counted.seekable():
            counted.seek(start.byte)
        else:
            _discard(content, start.byte, file.name)
        if stop:
            content = LimitedStream(content, stop.byte - start.byte, file.name)
        if kind == "jsonl":
            return jsonl_blocks(content, file.name, self.corpus.field, self._plain_splitter, self.skipped, start)
        return text_blocks(content, file.name, self.splitter, self._free, start, stop)

    def _document_blocks(self, items: Iterable[Any]) -> Iterator[Block]:
        gathered = GatheredDocuments(self._plain_splitter, self.skipped, "document {}".format)
        number = -1
        for number, item in enumerate(items):
            if number < self.start.item:
                continue
            if isinstance(item, os.PathLike):
                yield from _take(gathered, Position(number))
                file, *others = find_files([item])
                if others:
                    raise ValueError(f"{file.name}: among documents give files, not directories")
                yield from self._file_blocks(file, self._start_of(number))
                continue
            if not isinstance(item, str | bytes):
                raise TypeError(f"document {number} must be str, bytes or a path, not {type(item).__name__}")
            gathered.add(utf8_bytes(item), number)
            if gathered.is_enough:
                yield from _take(gathered, Position(number + 1))
        yield from _take(gathered, Position(number + 1))

    def _dataset_blocks(self, dataset: Any) -> Iterator[Block]:
        field, row = self.corpus.field, self.start.row
        gathered = GatheredDocuments(self._plain_splitter, self.skipped, "row {}".format)
        for batch in (dataset.skip(row) if row else dataset).iter(batch_size=DATASET_ROWS):
            if field not in batch:
                raise ValueError(f"the dataset has no column {field!r}; found {', '.join(map(repr, batch))}")
            for text in batch[field]:
                if isinstance(text, str | bytes):
                    gathered.add(utf8_bytes(text), row)
                else:
                    message = f"column {field!r} must hold strings, not {type(text).__name__}"
                    self.skipped.record("row without a text", f"row {row}", message)
                row += 1
            if gathered.is_enough:
                yield from _take(gathered, Position(row=row), self.skipped)
        yield from _take(gathered, Position(row=row), self.skipped)


def _take(gathered: GatheredDocuments, end: Position, skipped: SkippedRecords | None = None) -> Iterator[Block]:
    for block in gathered.take():
        yield replace(block, end=end, consumed=len(block.text), skipped=dict(skipped.counts) if skipped else {})


def _discard(content: RawIOBase, size: int, name: str) -> None:
    """Reads `size` bytes and drops them. Raises ValueError if there are fewer."""
    while size:
        dropped = content.read(min(size, CHUNK_BYTES))
        if not dropped:
            raise ValueError(f"{name}: the file ends {size} bytes before the position at which reading resumes")
        size -= len(dropped)


def is_dataset(value: object) -> bool:
    """True for a Dataset or IterableDataset of Hugging Face's `datasets`, recognised by its methods."""
    return all(hasattr(value, name) for name in ("column_names", "iter", "skip"))


def _refuse_file_names(items: list[Any] | tuple[Any, ...]) -> None:
    """Raises ValueError for a list of str that all name files: a str in a list is a document, so this is a mistake."""
    for item in items:
        if not isinstance(item, str) or len(item) > 4096 or "\0" in item or not os.path.isfile(item):
            return
    if items:
        raise ValueError(f"{items[0]!r} is the name of a file: in a list, give files as pathlib.Path")
