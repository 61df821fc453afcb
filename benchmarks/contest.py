"""Who takes part with a vocabulary: fastlm and the peers that have it, as long as their ids are right."""

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
"""Whose ids are right: where fastlm's differ from theirs, the run fails."""


@dataclass
class Contest:
    """fastlm and the peers that have a vocabulary: tokenizers that stay and get warm, and makers of cold ones.

    `left_out` says why a peer does not run: what it cannot do, and what it does wrong.
    """

    vocabulary: SharedVocabulary
    warm: dict[str, Encoder] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    right: set[tuple[str, object]] = field(default_factory=set)

    def cold(self, name: str) -> Encoder:
        return peers.fresh(name, self.vocabulary)

    def able(self, form: str, threads: int = 1) -> dict[str, Encoder]:
        """Those that have such a way."""
        return {name: encoder for name, encoder in self.warm.items() if encoder.way(form, threads)}

    def with_right_ids(
        self,
        form: str,
        threads: int,
        encode: Callable[[Encoder], object],
        key: object,
        among: Collection[str] | None = None,
    ) -> tuple[list[str], int]:
        """Names of those that have such a way and give fastlm's ids, fastlm's among them, and the number of ids.

        `key` names the texts: whose ids were right once is not asked again. A peer with other ids runs no more with
        this vocabulary; where it is one of JUDGES, the benchmark fails.
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
    """What is wrong with the ids found."""
    if len(found) != len(expected):
        return f"wrong: ids of {len(found)} texts, not of {len(expected)}"
    wrong = sum(not np.array_equal(*pair) for pair in zip(expected, found, strict=True))
    return f"wrong ids in {wrong:,} of {len(expected):,} texts" if wrong else None
