"""Segments: the matches of a pattern in pieces, the text between them, and the pieces that they become."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlm._types import Int64Array
from fastlm.pretokenize.steps.pieces import Pieces

Behavior: TypeAlias = Literal["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
"""What a match becomes: nothing; a piece; a part of the piece before or after; or a piece with its neighbours."""


class Segments(NamedTuple):
    """Consecutive segments that cover all pieces. A match may be empty, the text between matches is not.

    Attributes:
        starts: int64 (segments,): the first character.
        ends: int64 (segments,): the end.
        is_match: bool (segments,): whether it is a match.
        piece: int64 (segments,): the piece that it is in.
    """

    starts: Int64Array
    ends: Int64Array
    is_match: NDArray[np.bool_]
    piece: Int64Array


def segments_of_chars(pieces: Pieces, is_match: NDArray[np.bool_]) -> Segments:
    """The segments if each character is a match or is not."""
    n = len(pieces.chars)
    starts_segment = is_match.copy()
    starts_segment[1:] |= is_match[:-1]
    starts_segment[pieces.starts] = True
    starts = np.flatnonzero(starts_segment)
    ends = np.append(starts, n)[1:] if n else starts
    return Segments(starts, ends, is_match[starts], np.searchsorted(pieces.ends, starts, side="right"))


def segments_of_matches(pieces: Pieces, matches: Int64Array, counts: Int64Array) -> Segments:
    """The segments for given matches.

    Args:
        pieces: The pieces.
        matches: int64 (matches, 2): start and end in characters, in order.
        counts: int64 (pieces,): the number of matches in each piece.
    """
    count, numbers = len(pieces.ends), np.arange(len(matches))
    of_match = np.repeat(np.arange(count), counts)
    is_first = np.append(True, of_match[1:] != of_match[:-1])[: len(of_match)]
    before = np.where(is_first, pieces.starts[of_match], np.append(0, matches[:-1, 1])[: len(of_match)])
    after = np.cumsum(counts)
    rest = np.where(counts > 0, np.append(matches[:, 1], 0)[after - 1], pieces.starts)
    # in each piece the gap before each match, the match, and the gap at the end
    gaps, ends_of_pieces = 2 * numbers + of_match, 2 * after + np.arange(count)
    starts, ends = np.empty(2 * len(matches) + count, np.int64), np.empty(2 * len(matches) + count, np.int64)
    starts[gaps], ends[gaps] = before, matches[:, 0]
    starts[gaps + 1], ends[gaps + 1] = matches[:, 0], matches[:, 1]
    starts[ends_of_pieces], ends[ends_of_pieces] = rest, pieces.ends
    is_match = np.zeros(len(starts), bool)
    is_match[gaps + 1] = True
    kept = is_match | (starts < ends)
    piece = np.repeat(np.arange(count), 2 * counts + 1)
    return Segments(starts[kept], ends[kept], is_match[kept], piece[kept])


def split(pieces: Pieces, segments: Segments, behavior: Behavior, invert: bool = False) -> Pieces:
    """The pieces that segments become. With `invert` the text between matches counts as the matches."""
    is_match = segments.is_match != invert
    if behavior == "removed":
        keep = np.repeat(~is_match, segments.ends - segments.starts)
        lengths = np.where(is_match, 0, segments.ends - segments.starts)
        return pieces.kept(keep, np.cumsum(lengths)[lengths > 0])
    match, previous = is_match[1:], is_match[:-1]
    joins = {
        "isolated": np.zeros(len(match), bool),
        "merged_with_previous": match & ~previous,
        "merged_with_next": previous & ~match,
        "contiguous": match == previous,
    }[behavior]
    is_last = np.append(~joins | (segments.piece[1:] != segments.piece[:-1]), True)[: len(is_match)]
    ends = segments.ends[is_last]
    # a group of empty matches is no piece
    return pieces.with_ends(ends[np.append(0, ends)[: len(ends)] < ends])
