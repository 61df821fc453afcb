"""With which bytes a match can start: positions with other ones need not be tried."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastlm.pretokenize.oniguruma.code_points import ALL, Ranges, union
from fastlm.pretokenize.oniguruma.lengths import lengths
from fastlm.pretokenize.oniguruma.nodes import (
    Anchor,
    CharacterSet,
    Keep,
    Look,
    Node,
    Reference,
    Sequence,
    Text,
    children,
)


def first_bytes(node: Node) -> NDArray[np.uint8] | None:
    """For each byte whether a match can start with it; None where a match can be empty."""
    if lengths(node)[0] == 0:
        return None
    found = np.zeros(256, np.uint8)
    for first, last in _first(node):
        found[_lead(first) : _lead(last) + 1] = 1
    return found


def _lead(code_point: int) -> int:
    """The first byte of a character in UTF-8, also of a surrogate."""
    return chr(code_point).encode("utf-8", "surrogatepass")[0]


def _first(node: Node) -> Ranges:
    """With which characters what a node matches can start."""
    if isinstance(node, Text):
        code_point = ord(node.characters[0])
        return ((code_point, code_point),)
    if isinstance(node, CharacterSet):
        return node.ranges
    if isinstance(node, Anchor | Keep | Look):
        return ()
    if isinstance(node, Reference):
        return ALL
    found: list[Ranges] = []
    for inner in children(node):
        found.append(_first(inner))
        if isinstance(node, Sequence) and lengths(inner)[0]:
            break
    return union(*found)
