"""How many characters a node matches."""

from __future__ import annotations

from fastlm.pretokenize.oniguruma.code_points import Ranges
from fastlm.pretokenize.oniguruma.nodes import (
    Alternatives,
    Anchor,
    CharacterSet,
    Keep,
    Look,
    Node,
    Reference,
    Repeat,
    Text,
    children,
)


def lengths(node: Node) -> tuple[int, int | None]:
    """Least and most characters that a node matches. None: there is no limit."""
    if isinstance(node, Text):
        return len(node.characters), len(node.characters)
    if isinstance(node, CharacterSet):
        return 1, 1
    if isinstance(node, Reference):
        return 0, None
    if isinstance(node, Repeat):
        least, most = lengths(node.body)
        if node.most == 0 or most == 0:
            return least * node.least, 0
        return least * node.least, None if most is None or node.most is None else most * node.most
    if isinstance(node, Anchor | Look | Keep):
        return 0, 0
    found = [lengths(inner) for inner in children(node)]
    mosts = [most for _, most in found if most is not None]
    is_limited = len(mosts) == len(found)
    if isinstance(node, Alternatives):
        return min(least for least, _ in found), max(mosts) if is_limited else None
    return sum(least for least, _ in found), sum(mosts) if is_limited else None


def one_character(node: Node) -> Ranges | None:
    """The characters that a node matches, where it always matches one; else None."""
    if isinstance(node, CharacterSet):
        return node.ranges
    if isinstance(node, Text) and len(node.characters) == 1:
        return ((ord(node.characters), ord(node.characters)),)
    return None
