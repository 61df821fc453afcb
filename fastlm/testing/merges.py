"""Why two libraries merge a pretoken differently: the merges that only one of them makes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from fastlm.text.shown import shown

RankOf: TypeAlias = Callable[[bytes, bytes], "int | None"]
"""The rank of the merge of two tokens, or None if they do not merge."""


class Merge(NamedTuple):
    """A merge in a pretoken.

    Attributes:
        start: The byte of the pretoken at which the pair starts.
        left: The bytes of the left token.
        right: The bytes of the right token.
        rank: The rank of the merge.
    """

    start: int
    left: bytes
    right: bytes
    rank: int

    def __str__(self) -> str:
        return f"{_pair(self)} (rank {self.rank:,})"

    @property
    def end(self) -> int:
        """The byte after the pair."""
        return self.start + len(self.left) + len(self.right)

    def crosses(self, other: Merge) -> bool:
        """Whether two merges share bytes, and neither contains the other."""
        apart = self.end <= other.start or other.end <= self.start
        inside = other.start <= self.start and self.end <= other.end
        return not apart and not inside and not (self.start <= other.start and other.end <= self.end)


def merges_of(pretoken: bytes, rank_of: RankOf) -> list[Merge]:
    """The merges of a pretoken by the definition of BPE: the lowest rank first, and of equal ones the leftmost."""
    tokens = [pretoken[k : k + 1] for k in range(len(pretoken))]
    made: list[Merge] = []
    while True:
        best: tuple[int, int] | None = None
        for k in range(len(tokens) - 1):
            rank = rank_of(tokens[k], tokens[k + 1])
            if rank is not None and (best is None or rank < best[0]):
                best = rank, k
        if best is None:
            return made
        rank, k = best
        made.append(Merge(sum(map(len, tokens[:k])), tokens[k], tokens[k + 1], rank))
        tokens[k : k + 2] = [tokens[k] + tokens[k + 1]]


def tokens_of(pretoken: bytes, merges: list[Merge]) -> list[bytes]:
    """The tokens of a pretoken after its merges."""
    joints = set(range(1, len(pretoken)))
    for merge in merges:
        joints.discard(merge.start + len(merge.left))
    ends = [0, *sorted(joints), len(pretoken)]
    return [pretoken[a:b] for a, b in itertools.pairwise(ends)]


def reasons(pretoken: bytes, ours: tuple[str, RankOf], theirs: tuple[str, RankOf]) -> list[str]:
    """Sentences on the first merge that only one of two libraries makes, for each of them. Empty if there is none.

    Args:
        pretoken: The bytes of a pretoken.
        ours: The name of a library, and its ranks.
        theirs: The same of another library.
    """
    histories = [merges_of(pretoken, rank_of) for _, rank_of in (ours, theirs)]
    found = [_reason(ours, theirs, *histories), _reason(theirs, ours, *reversed(histories))]
    return [sentence for sentence in found if sentence]


def _reason(one: tuple[str, RankOf], other: tuple[str, RankOf], made: list[Merge], others: list[Merge]) -> str | None:
    """A sentence on the first merge of one library that the other does not make, or None."""
    spans = {(merge.start, merge.end) for merge in others}
    merge = next((merge for merge in made if (merge.start, merge.end) not in spans), None)
    if merge is None:
        return None
    said = f"{one[0]} merges {_pair(merge)} at rank {merge.rank:,}."
    rank = other[1](merge.left, merge.right)
    if rank is None:
        return f"{said} {other[0]} has no such merge."
    crossing = next((found for found in others if found.crosses(merge)), None)
    why = "the parts are not next to each other there"
    if crossing is not None:
        why = f"its merge of {_pair(crossing)} at rank {crossing.rank:,} comes first"
    return f"{said} {other[0]} has it at rank {rank:,}, but {why}."


def _pair(merge: Merge) -> str:
    return f"“{shown(merge.left)}” + “{shown(merge.right)}”"
