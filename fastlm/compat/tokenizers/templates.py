"""Templates as TemplateProcessing takes them: special tokens around and between texts."""

from __future__ import annotations

from typing import Any, Literal

from fastlm._arguments import items_of
from fastlm.compat.tokenizers.arguments import is_sequence, one_of_kinds, sequence, string, unsigned
from fastlm.formats.tokenizer_json.post_processors import TemplatePiece, TemplateToken


def template(given: Any) -> tuple[TemplatePiece, ...]:
    """A template given as a list or as a str. Raises TypeError or ValueError."""
    if isinstance(given, str):
        return tuple(_piece(part) for part in one_of_kinds(given).split(" "))
    parts = items_of(given) if is_sequence(given) else [None]
    if not all(isinstance(part, str) for part in parts):
        raise TypeError("Expected Union[str, List[str]]")
    return tuple(_piece(one_of_kinds(part)) for part in parts)


def _piece(spelled: str) -> TemplatePiece:
    name, *rest = spelled.split(":")
    kind: Literal["Sequence", "SpecialToken"] = "SpecialToken"
    type_id = 0
    if name.startswith("$"):
        which = name[1:]
        kind, name = "Sequence", which.upper() if which in ("A", "a", "B", "b") else "A"
        if which and which not in ("A", "a", "B", "b"):
            type_id = _type_id(which, spelled)
    if len(rest) > 1:
        raise ValueError(f'Cannot build Piece from string "{spelled}"')
    return TemplatePiece(kind, name, _type_id(rest[0], spelled) if rest else type_id)


def _type_id(number: str, spelled: str) -> int:
    digits = number.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()) or int(digits) >> 32:
        raise ValueError(f'Cannot build Piece from string "{spelled}"')
    return int(digits)


def special_token(token: Any) -> TemplateToken:
    """A special token given as (token, id), (id, token) or a dict. Raises TypeError, OverflowError or ValueError."""
    if isinstance(token, tuple) and len(token) == 2:
        name, token_id = token if isinstance(token[0], str) else token[::-1]
        if isinstance(name, str) and isinstance(token_id, int):
            return TemplateToken(string(name), (unsigned(token_id, 32),), (name,))
    if not isinstance(token, dict):
        raise TypeError("Expected Union[Tuple[str, int], Tuple[int, str], dict]")
    for key in ("id", "ids", "tokens"):
        if key not in token:
            raise ValueError(f"missing field `{key}`")
    ids = [unsigned(token_id, 32) for token_id in sequence(token["ids"])]
    tokens = [string(name) for name in sequence(token["tokens"])]
    if len(ids) != len(tokens):
        raise ValueError("SpecialToken: ids and tokens must be of the same length")
    return TemplateToken(string(token["id"]), tuple(ids), tuple(tokens))
