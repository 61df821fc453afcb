"""Partitions of a corpus: some whole files, or a part of one file. Each can be read without the others.

A text is cut where its pretokens, special tokens and separators are the same as in the whole text. A few bytes around
the cut decide this. A Parquet file is cut between row groups. These are not cut: compressed files, JSON lines, Arrow
files, a text of which bytes may be skipped, and a text that the tokenizer must have whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fastlm.corpus.columns import row_groups_of
from fastlm.corpus.read import Blocks, Corpus
from fastlm.corpus.sources import STDIN, SourceFile
from fastlm.corpus.text_blocks import BEGINNING, Position
from fastlm.pretokenize.text_splitter import TextSplitter

# bytes before the wanted end of a partition in which a place to cut is searched
SEARCHED_BYTES = 1 << 16


@dataclass(frozen=True)
class Partition:
    """Consecutive files of a corpus, or a part of one file.

    Attributes:
        item: The number of the first file in the corpus.
        names: The names of the files.
        sizes: The stored bytes of the files, where known.
        start: Where reading starts, as a position in a corpus of only these files.
        stop: Where reading stops, for a part of one file; None for the end.
    """

    item: int
    names: tuple[str, ...]
    sizes: tuple[int | None, ...]
    start: Position = BEGINNING
    stop: Position | None = None

    def blocks(self, corpus: Corpus, splitter: TextSplitter, start: Position | None = None) -> Blocks:
        """The blocks of the partition, on the machine that calls this.

        Args:
            corpus: Says how the files are read; its inputs are ignored.
            splitter: Finds what cuts the text.
            start: Where reading starts instead of at the start of the partition.

        Raises:
            OSError: if a file is missing or has another size.
            ValueError: as Blocks.
        """
        files = [name if "://" in name else Path(name) for name in self.names]
        blocks = Blocks(replace(corpus, inputs=files), splitter, start or self.start, self.stop)
        for file, size in zip(blocks.files or (), self.sizes, strict=True):
            if file.size != size:
                raise OSError(f"{file.name}: {file.size} bytes here, {size} bytes where the run was started")
        return blocks


def partitions_of(blocks: Blocks, size: int) -> Iterator[Partition]:
    """Divides the rest of a corpus, in order, into partitions of about `size` stored bytes.

    Raises:
        ValueError: for a source that is not files.
        OSError: for a file that cannot be read.
    """
    files = blocks.files
    if files is None or any(file.name == STDIN for file in files):
        raise ValueError("a cluster reads files and addresses, not documents or the standard input")
    first = blocks.start.item
    begin = blocks.start._replace(item=0, document=0)
    gathered: list[SourceFile] = []
    for item in range(first, len(files)):
        start = begin if item == first else BEGINNING
        ends = list(_ends_within(files[item], start, blocks, size))
        if ends and gathered:
            yield _whole(gathered, item - len(gathered), begin if item - len(gathered) == first else BEGINNING)
            gathered = []
        if ends:
            for a, b in zip([start, *ends], [*ends, None], strict=True):
                yield Partition(item, (files[item].name,), (files[item].size,), a, b)
            continue
        gathered.append(files[item])
        if sum(file.size or size for file in gathered) >= size:
            since = item + 1 - len(gathered)
            yield _whole(gathered, since, begin if since == first else BEGINNING)
            gathered = []
    if gathered:
        since = len(files) - len(gathered)
        yield _whole(gathered, since, begin if since == first else BEGINNING)


def _whole(files: list[SourceFile], item: int, start: Position) -> Partition:
    return Partition(item, tuple(file.name for file in files), tuple(file.size for file in files), start)


def _ends_within(file: SourceFile, start: Position, blocks: Blocks, size: int) -> Iterator[Position]:
    """Positions in a file, after `start`, at which partitions of it end."""
    kind = blocks.corpus.kind or file.kind
    if file.compression or file.size is None or file.size < 2 * size:
        return
    if kind == "text" and not blocks.skipped.skips:
        yield from _text_ends(file, start.byte, blocks.splitter, size, file.size)
    elif kind == "parquet":
        with file.open() as opened:
            groups = row_groups_of(opened)
        row = gathered = 0
        for rows, stored in groups[:-1]:
            row += rows
            gathered = gathered + stored if row > start.row else 0
            if gathered >= size:
                yield Position(row=row)
                gathered = 0


def _text_ends(file: SourceFile, start: int, splitter: TextSplitter, size: int, end: int) -> Iterator[Position]:
    with file.open() as opened:
        if not opened.seekable():
            return
        for wanted in range(start + size, end - size // 2, size):
            first = max(start, wanted - SEARCHED_BYTES)
            opened.seek(first)
            window = opened.read(wanted - first + splitter.context_bytes) or b""
            if cut := splitter.safe_boundary(window):
                start = first + cut
                yield Position(byte=start, row=1)
