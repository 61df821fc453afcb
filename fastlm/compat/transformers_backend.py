"""The backend of FastLMTokenizer, in place of a `tokenizers.Tokenizer`.

transformers sets the padding and the truncation of a call on this object before it encodes. So each thread has its own
settings here, and copies and files do not keep them.
"""

from __future__ import annotations

import copy
import json
import os
import threading
from collections.abc import Callable
from typing import Any

import tokenizers

from fastlm.compat.tokenizers.added_tokens import AddedToken
from fastlm.compat.tokenizers.lengths import Padding, Truncation
from fastlm.compat.tokenizers.processors import PostProcessor
from fastlm.compat.tokenizers.tokenizer import Tokenizer
from fastlm.forks import ForkSafeLock
from fastlm.formats import tokenizer_json
from fastlm.tokenizer import Tokenizer as FastLMTokenizer


class _Settings(threading.local):
    """The settings of a call. Each thread starts with the settings of the original tokenizer."""

    def __init__(self, truncation: Truncation | None, padding: Padding | None) -> None:
        self.truncation, self.padding = truncation, padding
        self.encode_special_tokens = False


class Backend(Tokenizer):
    """A tokenizer whose truncation, padding and encode_special_tokens each thread sets for itself.

    It accepts AddedTokens and post-processors of `tokenizers`, which transformers uses, and returns such AddedTokens.

    Args:
        tokenizer: The tokenizer to copy.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._made_with = tokenizer._truncation, tokenizer._padding
        self._per_thread = _Settings(*self._made_with)
        own = {"_truncation", "_padding", "_encode_special_tokens", "_lock", "_per_thread", "_made_with"}
        self.__dict__.update({name: value for name, value in tokenizer.__dict__.items() if name not in own})
        self._lock = ForkSafeLock()

    @classmethod
    def of(cls, source: Any) -> Backend:
        """Makes the backend of a tokenizer.

        Args:
            source: A tokenizer, or the path of a tokenizer.json.

        Returns:
            The backend.

        Raises:
            TypeError: The source has another type.
        """
        if isinstance(source, Tokenizer):
            return copy.deepcopy(source) if isinstance(source, Backend) else cls(source)
        if isinstance(source, FastLMTokenizer):
            return cls(Tokenizer.from_str(json.dumps(tokenizer_json.content_of(source.vocabulary))))
        if isinstance(source, tokenizers.Tokenizer):
            return cls(Tokenizer.from_str(source.to_str()))
        if isinstance(source, str | os.PathLike):
            return cls(Tokenizer.from_file(os.fspath(source)))
        raise TypeError(f"expected a tokenizer or the path of a tokenizer.json, got {type(source).__name__}")

    @property
    def _truncation(self) -> Truncation | None:
        return self._per_thread.truncation

    @_truncation.setter
    def _truncation(self, truncation: Truncation | None) -> None:
        self._per_thread.truncation = truncation

    @property
    def _padding(self) -> Padding | None:
        return self._per_thread.padding

    @_padding.setter
    def _padding(self, padding: Padding | None) -> None:
        self._per_thread.padding = padding

    @property
    def _encode_special_tokens(self) -> bool:
        return self._per_thread.encode_special_tokens

    @_encode_special_tokens.setter
    def _encode_special_tokens(self, value: bool) -> None:
        self._per_thread.encode_special_tokens = value

    def _content(self) -> dict[str, Any]:
        truncation, padding = (part and part.content() for part in self._made_with)
        return super()._content() | {"truncation": truncation, "padding": padding}

    def __deepcopy__(self, memo: dict[int, Any]) -> Backend:
        copied = Backend(self)
        copied._made_with = self._made_with
        copied._per_thread = _Settings(*self._made_with)
        # the tables of a model are replaced, never changed
        copied._model = object.__new__(type(self._model))
        copied._model.__dict__.update(self._model.__dict__)
        for name in ("_normalizer", "_pre_tokenizer", "_post_processor", "_decoder"):
            setattr(copied, name, copy.deepcopy(getattr(self, name), memo))
        copied._built = copied._decoding = None
        return copied

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:  # type: ignore[override]
        return _from_str, (self.to_str(),)

    @property
    def post_processor(self) -> Any:
        """The post-processor, or None. It may be set to a post-processor of `tokenizers`."""
        return self._post_processor

    @post_processor.setter
    def post_processor(self, processor: Any) -> None:
        if isinstance(processor, tokenizers.processors.PostProcessor):
            processor = PostProcessor.from_content(json.loads(processor.__getstate__()))
        Tokenizer.post_processor.fset(self, processor)  # type: ignore[attr-defined]

    def add_tokens(self, tokens: Any) -> int:
        """Adds tokens, and returns the number of new or changed tokens."""
        return super().add_tokens(_own(tokens))

    def add_special_tokens(self, tokens: Any) -> int:
        """Adds tokens that decoding may skip, and returns the number of new or changed tokens."""
        return super().add_special_tokens(_own(tokens))

    def get_added_tokens_decoder(self) -> dict[int, Any]:
        """Returns token id -> added token, an AddedToken of `tokenizers`."""
        added = super().get_added_tokens_decoder()
        return {token_id: tokenizers.AddedToken(**token.__getstate__()) for token_id, token in added.items()}

    def encode_text(self, text: str) -> list[int]:
        """Encodes a text without added tokens. Returns the token ids."""
        (ids,) = self._pipeline().encode([text], frozenset())
        found: list[int] = ids.tolist()
        return found


def _from_str(content: str) -> Backend:
    return Backend(Tokenizer.from_str(content))


def _own(tokens: Any) -> Any:
    """A list of tokens, with each AddedToken of `tokenizers` converted."""
    if not isinstance(tokens, list):
        return tokens
    return [_converted(token) if isinstance(token, tokenizers.AddedToken) else token for token in tokens]


def _converted(token: Any) -> AddedToken:
    options = token.__getstate__()
    # Without an explicit `normalized`, its value is always the opposite of `special`, even if `special` is set later.
    # Only a change of `special` shows whether `normalized` was explicit.
    token.special = not options["special"]
    if token.normalized != options["normalized"]:
        del options["normalized"]
    token.special = options["special"]
    return AddedToken(**options)
