"""Ignored case: the characters or strings that match a character, in Oniguruma's Unicode version."""

from __future__ import annotations

import functools

from fastlm.pretokenize.oniguruma import unicode_data
from fastlm.pretokenize.oniguruma.code_points import Ranges, complement, contains, union
from fastlm.pretokenize.oniguruma.nodes import Alternatives, CharacterSet, Node, Sequence, Text, rebuilt

_LONGEST_FOLD = 3


@functools.cache
def classes() -> tuple[str, ...]:
    """Characters that are the same but for case; the first is the one that the others fold to."""
    return tuple(unicode_data.FOLD_CLASSES.split())


@functools.cache
def expansions() -> dict[str, str]:
    """Several characters -> the characters that fold to all of them."""
    return dict(pair.split("=") for pair in unicode_data.FOLD_EXPANSIONS.split())


@functools.cache
def _class_of() -> dict[str, str]:
    return {character: group for group in classes() for character in group}


@functools.cache
def _expansion_of() -> dict[str, str]:
    return {character: fold for fold, characters in expansions().items() for character in characters}


def set_node(ranges: Ranges, is_negated: bool) -> Node:
    """A set that ignores case. Only one that is not negated matches several characters."""
    added = [group for group in classes() if any(contains(ranges, ord(char)) for char in group)]
    expanded = [
        (fold, characters)
        for fold, characters in expansions().items()
        if any(contains(ranges, ord(char)) for char in characters)
    ]
    same = "".join(added) + "".join(characters for _, characters in expanded)
    folded = union(ranges, [(ord(char), ord(char)) for char in same])
    if is_negated:
        return CharacterSet(complement(folded))
    # of two that match, the shorter one is tried first
    texts = sorted((fold for fold, _ in expanded), key=len)
    return (
        Alternatives((CharacterSet(folded), *(Text(fold, True) for fold in texts))) if texts else CharacterSet(folded)
    )


def unfolded(node: Node, is_behind: bool = False) -> Node:
    """The node with texts that ignore case written out.

    is_behind: the node is in a lookbehind, where a character matches single characters only.
    """
    if isinstance(node, Text):
        return _text(node.characters, is_behind) if node.folds else node
    return rebuilt(node, lambda inner, behind: unfolded(inner, is_behind or behind))


def _text(characters: str, is_behind: bool) -> Node:
    parts: list[Node] = []
    at = 0
    while at < len(characters):
        length, node = (1, _single(characters[at])) if is_behind else _longest(characters, at)
        parts.append(node)
        at += length
    return parts[0] if len(parts) == 1 else Sequence(tuple(parts))


def _longest(characters: str, at: int) -> tuple[int, Node]:
    """(characters that are taken at once, what they match)."""
    fold = _expansion_of().get(characters[at])
    if fold:
        return 1, Alternatives((_single(characters[at]), _each(fold)))
    for length in range(_LONGEST_FOLD, 1, -1):
        taken = characters[at : at + length]
        same = expansions().get("".join(map(fold_of, taken))) if len(taken) == length else None
        if same and not any(character in _expansion_of() for character in taken):
            return length, Alternatives((_each(taken), _set(same)))
    return 1, _single(characters[at])


def fold_of(character: str) -> str:
    """The first of the characters that differ only in case."""
    return _class_of().get(character, character)[0]


def _each(characters: str) -> Node:
    return Sequence(tuple(map(_single, characters)))


def _single(character: str) -> Node:
    fold = _expansion_of().get(character)
    same = expansions()[fold] if fold else _class_of().get(character, character)
    return Text(character) if same == character else _set(same)


def _set(characters: str) -> Node:
    return CharacterSet(union([(ord(character), ord(character)) for character in characters]))


def fold_table() -> list[tuple[int, int]]:
    """(code point, the one that it counts as) of all characters that are the same as another but for case, sorted."""
    groups = [*classes(), *expansions().values()]
    return sorted((ord(character), ord(group[0])) for group in groups for character in group[1:])
