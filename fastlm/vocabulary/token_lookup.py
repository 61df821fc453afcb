"""Look-ups in a vocabulary: the id of a token, the bytes of an id, the id that ends a text."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from fastlm.forks import cached_property
from fastlm.vocabulary.vocabulary import Vocabulary

Key = TypeVar("Key")
Value = TypeVar("Value")

END_OF_TEXT_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<｜end▁of▁sentence｜>", "[EOS]")
"""Contents of the token that ends a text: of GPT-2 and Qwen, Llama 3, Mistral, DeepSeek, and Kimi."""


class ReadOnlyDict(dict[Key, Value]):
    """A dict that refuses changes, so that many callers can share it.

    Pickling, copying and `|` give an ordinary dict.
    """

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("this dict is read-only; dict(...) copies it")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = _refuse

    def __ior__(self, other: dict[Key, Value]) -> dict[Key, Value]:  # type: ignore[override, misc]
        return dict(self) | other

    def __reduce__(self) -> tuple[type[dict[Any, Any]], tuple[dict[Key, Value]]]:
        return dict, (dict(self),)


class TokenLookup:
    """Finds tokens of a vocabulary.

    Args:
        vocabulary: The vocabulary.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    @cached_property
    def tokens(self) -> Mapping[int, bytes]:
        """The bytes of each token by its id."""
        return ReadOnlyDict(self._vocabulary.tokens)

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        """The id of each token: the lowest that is no added token, if several have the same bytes."""
        tokens = self._vocabulary.tokens
        found = {token: token_id for token_id, token in reversed(tokens.items())}
        ordinary = reversed(self._vocabulary.ordinary_ids.tolist())
        return found | {tokens[token_id]: token_id for token_id in ordinary}

    def token_to_id(self, token: str | bytes) -> int | None:
        """Finds the id of a token; see Tokenizer.token_to_id."""
        if isinstance(token, str):
            if (added := self._vocabulary.special_tokens.get(token)) is not None:
                return added
            try:
                token = token.encode()
            except UnicodeEncodeError:
                return None
        if not isinstance(token, bytes):
            raise TypeError(f"token must be a str or bytes, got {type(token).__name__}; ids are the keys of `vocab`")
        return self._ids.get(token)

    def id_to_token(self, token_id: int) -> bytes | None:
        """Finds the bytes of an id; see Tokenizer.id_to_token."""
        if not 0 <= token_id < min(len(self._vocabulary), sys.maxsize):
            return None
        return self._vocabulary.bytes_of(token_id) or None

    def end_of_text_id(self) -> int | None:
        """The id that ends a text.

        Returns:
            The last id that the vocabulary adds to a text, or else the first of END_OF_TEXT_NAMES that is an added
            token; None if there is none.
        """
        if self._vocabulary.rules.end:
            return self._vocabulary.rules.end[-1]
        added = self._vocabulary.special_tokens
        return next((added[name] for name in END_OF_TEXT_NAMES if name in added), None)
