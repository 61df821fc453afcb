"""Templates: where special tokens stand around and between texts."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastlm.compat.tokenizers.arguments import one_of_kinds, sequence, string, unsigned
from fastlm.compat.tokenizers.component import Name, field


class Piece(NamedTuple):
    """Of a template: a sequence, "A" or "B", or a special token, with the type id of its tokens."""

    kind: str
    id: str
    type_id: int

    def content(self) -> dict[str, Any]:
        return {self.kind: {"id": self.id, "type_id": self.type_id}}

    @property
    def type_name(self) -> str:
        return self.kind

    def shown_fields(self) -> dict[str, Any]:
        return {"id": Name(self.id) if self.kind == "Sequence" else self.id, "type_id": self.type_id}


class SpecialToken(NamedTuple):
    """What a special token of a template stands for."""

    id: str
    ids: list[int]
    tokens: list[str]

    def content(self) -> dict[str, Any]:
        return {"id": self.id, "ids": self.ids, "tokens": self.tokens}

    @property
    def type_name(self) -> str:
        return "SpecialToken"

    def shown_fields(self) -> dict[str, Any]:
        return {"id": self.id, "ids": self.ids, "tokens": self.tokens}


def template(given: Any) -> list[Piece]:
    """A template given as a list or as a str. Raises TypeError or ValueError."""
    if isinstance(given, str):
        return [_piece(part) for part in one_of_kinds(given).split(" ")]
    if not isinstance(given, list | tuple) or not all(isinstance(part, str) for part in given):
        raise TypeError("Expected Union[str, List[str]]")
    return [_piece(one_of_kinds(part)) for part in given]


def _piece(spelled: str) -> Piece:
    name, *rest = spelled.split(":")
    kind, id, type_id = "SpecialToken", name, 0
    if name.startswith("$"):
        which = name[1:]
        kind, id = "Sequence", which.upper() if which in ("A", "a", "B", "b") else "A"
        if which and which not in ("A", "a", "B", "b"):
            type_id = _type_id(which, spelled)
    if len(rest) > 1:
        raise ValueError(f'Cannot build Piece from string "{spelled}"')
    return Piece(kind, id, _type_id(rest[0], spelled) if rest else type_id)


def _type_id(number: str, spelled: str) -> int:
    digits = number.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()) or int(digits) >> 32:
        raise ValueError(f'Cannot build Piece from string "{spelled}"')
    return int(digits)


def piece_of(content: Any) -> Piece:
    """A piece as tokenizer.json has it. Raises ValueError, TypeError, KeyError or AttributeError."""
    ((kind, inner),) = content.items()
    if kind not in ("Sequence", "SpecialToken") or (kind == "Sequence" and inner["id"] not in ("A", "B")):
        raise ValueError(f"{content!r:.80} is no piece of a template")
    return Piece(kind, string(inner["id"]), unsigned(inner["type_id"], 32))


def special_token(token: Any) -> SpecialToken:
    """A special token given as (token, id), (id, token) or a dict. Raises TypeError, OverflowError or ValueError."""
    if isinstance(token, tuple) and len(token) == 2:
        name, id = token if isinstance(token[0], str) else token[::-1]
        if isinstance(name, str) and isinstance(id, int):
            return SpecialToken(string(name), [unsigned(id, 32)], [name])
    if not isinstance(token, dict):
        raise TypeError("Expected Union[Tuple[str, int], Tuple[int, str], dict]")
    for name in ("id", "ids", "tokens"):
        field(token, name)
    ids = [unsigned(id, 32) for id in sequence(token["ids"])]
    tokens = [string(name) for name in sequence(token["tokens"])]
    if len(ids) != len(tokens):
        raise ValueError("SpecialToken: ids and tokens must be of the same length")
    return SpecialToken(string(token["id"]), ids, tokens)
