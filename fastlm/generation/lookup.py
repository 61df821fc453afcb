"""Proposals for speculative decoding: what followed the last tokens where they occurred before (prompt lookup).

Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding. A step then computes the proposed tokens together
with the next one, and those are kept that would have been chosen anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 3  # number of tokens that are looked up; fewer if they did not occur together


class PromptLookup:
    """Proposes the continuation of the last tokens of a sequence from their last earlier occurrence.

    Args:
        ids: The sequence so far.
        most: Maximum number of tokens to propose.

    >>> lookup = PromptLookup([1, 2, 3, 9, 1, 2], most=2)
    >>> lookup.proposed()
    [3, 9]
    """

    def __init__(self, ids: Sequence[int], most: int) -> None:
        self._ids: list[int] = []
        self._most = most
        # for each number of tokens, where what follows them last began
        self._ends: list[dict[tuple[int, ...], int]] = [{} for _ in range(LONGEST)]
        for token_id in ids:
            self.append(token_id)

    def append(self, token_id: int) -> None:
        """Adds a token to the sequence."""
        # what ends at the last token is found from now on, as something follows it
        end = len(self._ids)
        for count in range(1, min(LONGEST, end) + 1):
            self._ends[count - 1][tuple(self._ids[end - count :])] = end
        self._ids.append(token_id)

    def proposed(self) -> list[int]:
        """The tokens to propose, none if the last token did not occur before."""
        for count in range(min(LONGEST, len(self._ids)), 0, -1):
            start = self._ends[count - 1].get(tuple(self._ids[-count:]))
            if start is not None:
                return self._ids[start : start + self._most]
        return []
