"""Arguments as tiktoken's native module takes them: what it converts, and what it refuses with which error."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

LARGEST_ID = 0xFFFFFFFF


def encodable(text: str) -> str:
    """The text itself. Raises TypeError where it is no str, UnicodeEncodeError for a lone surrogate."""
    if not a_str(text).isascii():
        text.encode()
    return text


def a_str(token: Any) -> str:
    """The str itself. Raises TypeError where it is none."""
    if not isinstance(token, str):
        raise TypeError(f"'{type(token).__name__}' object is not an instance of 'str'")
    return token


def checked_id(token: Any) -> int:
    """The id as an int. Raises TypeError for what is no integer, OverflowError for one that does not fit."""
    token_id = operator.index(token)
    if not 0 <= token_id <= LARGEST_ID:
        raise OverflowError(f"id {token_id} does not fit 32 bits without sign")
    return token_id


def a_bytes(piece: Any) -> bytes:
    """The bytes themselves. Raises TypeError where they are none."""
    if not isinstance(piece, bytes):
        raise TypeError(f"'{type(piece).__name__}' object is not an instance of 'bytes'")
    return piece


def items_of(tokens: Any) -> Iterable[Any]:
    """The items of a sequence. Raises TypeError for what is iterable at most."""
    is_sequence = hasattr(type(tokens), "__getitem__") and not isinstance(tokens, str | Mapping)
    if not is_sequence:
        raise TypeError(f"'{type(tokens).__name__}' object is not an instance of 'Sequence'")
    items: Iterable[Any] = iter(tokens)
    return items


def checked_ranks(ranks: Any) -> dict[bytes, int]:
    """A copy of token -> rank. Raises TypeError or OverflowError for what is none."""
    _check_is_dict(ranks)
    # all of the usual types, as mostly, need no look at each
    if set(map(type, ranks)) == {bytes} and set(map(type, ranks.values())) == {int}:
        if ranks and (min(ranks.values()) < 0 or max(ranks.values()) > LARGEST_ID):
            raise OverflowError("a rank does not fit 32 bits without sign")
        return dict(ranks)
    return {_token_bytes(token): checked_id(rank) for token, rank in ranks.items()}


def checked_special_ids(ids: Any) -> dict[str, int]:
    """A copy of special token -> id. Raises TypeError, OverflowError, or UnicodeEncodeError for what is none."""
    _check_is_dict(ids)
    checked = {a_str(token): checked_id(token_id) for token, token_id in ids.items()}
    "".join(checked).encode()
    return checked


def _check_is_dict(ids: Any) -> None:
    if not isinstance(ids, dict):
        raise TypeError(f"'{type(ids).__name__}' object is not an instance of 'dict'")


def _token_bytes(token: Any) -> bytes:
    if isinstance(token, bytes):
        return token
    values = [operator.index(value) for value in items_of(token)]
    if not all(0 <= value < 256 for value in values):
        raise OverflowError(f"token {token!r} holds what is no byte")
    return bytes(values)
