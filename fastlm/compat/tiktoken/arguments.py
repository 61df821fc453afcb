"""Checks of arguments, with the conversions and the errors of tiktoken's native module."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

LARGEST_ID = 0xFFFFFFFF


def not_an_instance(value: object, kind: str) -> TypeError:
    """Makes the error for an argument of a wrong type, with tiktoken's message."""
    found = "'None'" if value is None else f"{type(value).__name__!r} object"
    return TypeError(f"{found} is not an instance of {kind!r}")


def encodable(text: str) -> str:
    """Checks that a text can be encoded as UTF-8.

    Args:
        text: The text.

    Returns:
        The text itself.

    Raises:
        TypeError: The text is not a str.
        UnicodeEncodeError: The text contains a lone surrogate.
    """
    if not a_str(text).isascii():
        text.encode()
    return text


def a_str(token: Any) -> str:
    """Returns the argument itself. Raises TypeError unless it is a str."""
    if not isinstance(token, str):
        raise not_an_instance(token, "str")
    return token


def checked_id(token: Any) -> int:
    """Checks a token id.

    Args:
        token: The token id, any integer type.

    Returns:
        The token id as an int.

    Raises:
        TypeError: The id is not an integer.
        OverflowError: The id does not fit an unsigned 32-bit integer.
    """
    token_id = operator.index(token)
    if not 0 <= token_id <= LARGEST_ID:
        raise OverflowError(f"id {token_id} does not fit an unsigned 32-bit integer")
    return token_id


def a_bytes(piece: Any) -> bytes:
    """Returns the argument itself. Raises TypeError unless it is bytes."""
    if not isinstance(piece, bytes):
        raise not_an_instance(piece, "bytes")
    return piece


def items_of(tokens: Any) -> Iterable[Any]:
    """Returns an iterator of a sequence. Raises TypeError for any other object, even if it is iterable."""
    is_sequence = hasattr(type(tokens), "__getitem__") and not isinstance(tokens, str | Mapping)
    if not is_sequence:
        raise not_an_instance(tokens, "Sequence")
    items: Iterable[Any] = iter(tokens)
    return items


def checked_ranks(ranks: Any) -> dict[bytes, int]:
    """Checks the ranks of tokens.

    Args:
        ranks: Token -> rank.

    Returns:
        A copy of the ranks.

    Raises:
        TypeError: `ranks` is not a dict, or a token or a rank has the wrong type.
        OverflowError: A rank does not fit an unsigned 32-bit integer, or a byte of a token does not fit 8 bits.
    """
    _check_is_dict(ranks)
    # most callers pass bytes and int only, which need no conversion of each item
    if set(map(type, ranks)) == {bytes} and set(map(type, ranks.values())) == {int}:
        if ranks and (min(ranks.values()) < 0 or max(ranks.values()) > LARGEST_ID):
            raise OverflowError("a rank does not fit an unsigned 32-bit integer")
        return dict(ranks)
    return {_token_bytes(token): checked_id(rank) for token, rank in ranks.items()}


def checked_special_ids(ids: Any) -> dict[str, int]:
    """Checks the ids of special tokens.

    Args:
        ids: Special token -> token id.

    Returns:
        A copy of the ids.

    Raises:
        TypeError: `ids` is not a dict, or a token or an id has the wrong type.
        OverflowError: An id does not fit an unsigned 32-bit integer.
        UnicodeEncodeError: A special token contains a lone surrogate.
    """
    _check_is_dict(ids)
    checked = {a_str(token): checked_id(token_id) for token, token_id in ids.items()}
    "".join(checked).encode()
    return checked


def _check_is_dict(ids: Any) -> None:
    if not isinstance(ids, dict):
        raise not_an_instance(ids, "dict")


def _token_bytes(token: Any) -> bytes:
    if isinstance(token, bytes):
        return token
    values = [operator.index(value) for value in items_of(token)]
    if not all(0 <= value < 256 for value in values):
        raise OverflowError(f"token {token!r} must hold integers from 0 to 255")
    return bytes(values)
