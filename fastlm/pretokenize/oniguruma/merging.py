"""Sequences within sequences made flat, and adjacent texts made one.

This matters where case is ignored: a string that equals two characters matches them only if they are in one text.
"""

from __future__ import annotations

from dataclasses import replace

from fastlm.pretokenize.oniguruma.nodes import (
    Alternatives,
    Atomic,
    Capture,
    Look,
    Node,
    Repeat,
    Scope,
    Sequence,
    Text,
)


def merged(node: Node, capturing: frozenset[int]) -> Node:
    """The node with merged texts. Groups that are not `capturing` no longer capture."""
    if isinstance(node, Sequence):
        return _sequence([merged(part, capturing) for part in node.parts])
    if isinstance(node, Alternatives):
        return Alternatives(tuple(merged(branch, capturing) for branch in node.branches))
    if isinstance(node, Capture) and node.index not in capturing:
        return Scope(merged(node.body, capturing))
    if isinstance(node, Repeat | Scope | Atomic | Capture | Look):
        return replace(node, body=merged(node.body, capturing))
    return node


def _sequence(parts: list[Node]) -> Node:
    flat: list[Node] = []
    for part in parts:
        # an empty group separates texts
        for inner in part.parts if isinstance(part, Sequence) and part.parts else (part,):
            before = flat[-1] if flat else None
            if isinstance(inner, Text) and isinstance(before, Text) and inner.folds == before.folds:
                flat[-1] = Text(before.characters + inner.characters, inner.folds)
            else:
                flat.append(inner)
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))
