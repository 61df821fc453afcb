"""A corpus in stretches that can be read apart from each other: some whole files, or a part of one.

A text is cut where its pretokens, its special tokens and its separators are those of the whole, which some bytes around
the place decide; a Parquet file between row groups. A compressed file, one of JSON lines or of Arrow, a text whose
faults are skipped, and one that the tokenizer must have whole are not divided.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fastlm.corpus.columns import row_groups_of
from fastlm.corpus.read import Blocks, Corpus
from fastlm.corpus.sources import STDIN, Place
from fastlm.corpus.text_blocks import BEGINNING, Position
from fastlm.pretokenize.cutting import Cutter

# so far before the place where a stretch should end another is looked for
SEARCHED = 1 << 16


@dataclass(frozen=True)
class Stretch:
    """Some files of a corpus, the first of which is its file number `item`, read from `start` to the end or, of one
    file, to `stop`. These positions are those of a corpus of just these files. sizes: in bytes, where known."""

    item: int
    names: tuple[str, ...]
    sizes: tuple[int | None, ...]
    start: Position = BEGINNING
    stop: Position | None = None

    def blocks(self, corpus: Corpus, cutter: Cutter, start: Position | None = None) -> Blocks:
        """Its blocks, from `start` on, read as `corpus` says, on whatever machine this is called.

        Raises OSError where a file is missing or has another size, and as Blocks.
        """
        files = [name if "://" in name else Path(name) for name in self.names]
        blocks = Blocks(replace(corpus, inputs=files), cutter, start or self.start, self.stop)
        for place, size in zip(blocks.places or (), self.sizes, strict=True):
            if place.size != size:
                raise OSError(f"{place.name}: {place.size} bytes here, but {size} where the run was started")
        return blocks


def stretches_of(blocks: Blocks, size: int) -> Iterator[Stretch]:
    """What `blocks` would read, in order, in stretches of about `size` stored bytes, as far as files can be divided.

    Raises ValueError for a source that is not files, OSError for a file that cannot be read.
    """
    places = blocks.places
    if places is None or any(place.name == STDIN for place in places):
        raise ValueError("a cluster reads files and addresses, not documents or the standard input")
    first = blocks.start.item
    begin = blocks.start._replace(item=0, document=0)
    gathered: list[Place] = []
    for item in range(first, len(places)):
        start = begin if item == first else BEGINNING
        ends = list(_ends_within(places[item], start, blocks, size))
        if ends and gathered:
            yield _whole(gathered, item - len(gathered), begin if item - len(gathered) == first else BEGINNING)
            gathered = []
        if ends:
            for a, b in zip([start, *ends], [*ends, None], strict=True):
                yield Stretch(item, (places[item].name,), (places[item].size,), a, b)
            continue
        gathered.append(places[item])
        if sum(place.size or size for place in gathered) >= size:
            since = item + 1 - len(gathered)
            yield _whole(gathered, since, begin if since == first else BEGINNING)
            gathered = []
    if gathered:
        since = len(places) - len(gathered)
        yield _whole(gathered, since, begin if since == first else BEGINNING)


def _whole(places: list[Place], item: int, start: Position) -> Stretch:
    return Stretch(item, tuple(place.name for place in places), tuple(place.size for place in places), start)


def _ends_within(place: Place, start: Position, blocks: Blocks, size: int) -> Iterator[Position]:
    """Places within a file, after `start`, that end a stretch of it."""
    kind = blocks.corpus.kind or place.kind
    if place.compression or place.size is None or place.size < 2 * size:
        return
    if kind == "text" and not blocks.faults.skips:
        yield from _text_ends(place, start.byte, blocks.cutter, size, place.size)
    elif kind == "parquet":
        with place.open() as file:
            groups = row_groups_of(file)
        at = held = 0
        for rows, stored in groups[:-1]:
            at += rows
            held = held + stored if at > start.row else 0
            if held >= size:
                yield Position(row=at)
                held = 0


def _text_ends(place: Place, start: int, cutter: Cutter, size: int, end: int) -> Iterator[Position]:
    with place.open() as file:
        if not file.seekable():
            return
        for wanted in range(start + size, end - size // 2, size):
            first = max(start, wanted - SEARCHED)
            file.seek(first)
            window = file.read(wanted - first + cutter.reach) or b""
            if cut := cutter.place_apart(window):
                start = first + cut
                yield Position(byte=start, row=1)
