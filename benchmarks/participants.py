"""The participants of a benchmark with one vocabulary: fastlm, and the peers that have it and give its ids."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from benchmarks import OURS, peers
from benchmarks.peers import Encoder, ids_of
from benchmarks.vocabulary import SharedVocabulary

JUDGES = ("tiktoken", "tokenizers")
"""Libraries whose ids are right by definition: the run fails if fastlm's ids differ."""


@dataclass
class Participants:
    """fastlm and the peers that have a vocabulary: tokenizers that stay and get warm, and makers of cold ones.

    left_out: name of a peer -> why it does not run.
    """

    vocabulary: SharedVocabulary
    warm: dict[str, Encoder] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    right: set[tuple[str, object]] = field(default_factory=set)

    def cold(self, name: str) -> Encoder:
        return peers.fresh(name, self.vocabulary)

    def new(self, name: str) -> Encoder:
        return peers.ADAPTERS[name](self.vocabulary)

    def able(self, form: str, threads: int = 1) -> dict[str, Encoder]:
        """The participants that have this way of encoding."""
        return {name: encoder for name, encoder in self.warm.items() if encoder.way(form, threads)}

    def with_right_ids(
        self,
        form: str,
        threads: int,
        encode: Callable[[Encoder], object],
        key: object,
        among: Collection[str] | None = None,
    ) -> tuple[list[str], int]:
        """Names of the participants that have this way and give fastlm's ids, with fastlm, and the number of ids.

        `key` names the texts; each peer is compared once per key. A peer with other ids does not run again with this
        vocabulary; if it is one of JUDGES, the benchmark fails.
        """
        able = {name: encoder for name, encoder in self.able(form, threads).items() if among is None or name in among}
        expected = ids_of(encode(able[OURS]))
        for name, encoder in able.items():
            if name == OURS or (name, key) in self.right:
                continue
            try:
                wrong = difference(expected, ids_of(encode(encoder)))
            except Exception as error:  # noqa: BLE001 - a peer may raise anything, and is then left out
                wrong = f"raises {type(error).__name__}"
            if not wrong:
                self.right.add((name, key))
                continue
            if name in JUDGES:
                pytest.fail(f"{name} {wrong}, against {OURS}: {key}")
            self.left_out[name] = wrong
            del self.warm[name]
        return [name for name in able if name in self.warm], sum(len(row) for row in expected)


def difference(expected: list[np.ndarray[Any, Any]], found: list[np.ndarray[Any, Any]]) -> str | None:
    """A description of the first kind of difference, or None."""
    if len(found) != len(expected):
        return f"wrong: ids of {len(found)} texts, not of {len(expected)}"
    wrong = sum(not np.array_equal(*pair) for pair in zip(expected, found, strict=True))
    return f"wrong ids in {wrong:,} of {len(expected):,} texts" if wrong else None
