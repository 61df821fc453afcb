"""The added tokens of a tokenizer.json, and the ids that they get."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from fastlm.formats.tokenizer_json.json_values import Entries

FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


class TokenWithFlags(Protocol):
    """A token with a content and a flag that says whether it is special."""

    @property
    def content(self) -> str: ...

    @property
    def special(self) -> bool: ...


Token = TypeVar("Token", bound=TokenWithFlags)


@dataclass(frozen=True)
class AddedTokenEntry:
    """An item of `added_tokens`; see fastlm's `AddedToken` for the meaning of the flags."""

    token_id: int
    content: str
    single_word: bool
    lstrip: bool
    rstrip: bool
    normalized: bool
    special: bool

    def flags(self) -> dict[str, bool]:
        """Name -> value of the flags."""
        return {name: getattr(self, name) for name in FLAGS}


def parse_added_tokens(content: Any) -> tuple[AddedTokenEntry, ...]:
    """The added tokens of a JSON value. Raises ValueError for malformed content."""
    if not isinstance(content, list):
        raise ValueError(f"added_tokens must be a list, got {content!r:.80}")
    return tuple(map(_entry, content))


def _entry(content: Any) -> AddedTokenEntry:
    entries = Entries(content, f"added token {content!r:.80}")
    token_id, text = entries.unsigned("id"), entries.string("content")
    return AddedTokenEntry(token_id, text, *(entries.boolean(name) for name in FLAGS))


@dataclass(frozen=True)
class AddedVocabulary(Generic[Token]):
    """Added tokens with their ids.

    Attributes:
        ids: Content -> id.
        tokens: Id -> token.
        special: The contents that were added as special tokens.
    """

    ids: dict[str, int] = field(default_factory=dict)
    tokens: dict[int, Token] = field(default_factory=dict)
    special: frozenset[str] = frozenset()

    def with_tokens(
        self, given: Iterable[Token], model: dict[str, int], wanted: dict[str, int] | None = None
    ) -> tuple[AddedVocabulary[Token], int]:
        """Adds tokens, with the ids that `tokenizers` gives them: a token of the model keeps its id, another gets the
        next free one. An empty token is ignored.

        Args:
            given: The tokens.
            model: Token -> id of the model.
            wanted: Content -> id for tokens that the model does not know, instead of the next free one.

        Returns:
            The added vocabulary with these tokens, and the number of tokens that changed it.

        Raises:
            ValueError: If two tokens want one id.
        """
        ids, tokens, special = dict(self.ids), dict(self.tokens), set(self.special)
        known = {token.content: token for token in tokens.values()}
        count, largest = 0, max(ids.values(), default=-1)
        for token in given:
            if not token.content:
                continue
            if token.special:
                special.add(token.content)
            if known.get(token.content) == token:
                continue
            token_id = ids.get(token.content, model.get(token.content))
            if token_id is None:
                token_id = max(largest + 1, len(model)) if wanted is None else wanted[token.content]
            largest = max(largest, token_id)
            if token_id in tokens and tokens[token_id].content != token.content:
                raise ValueError(
                    f"added tokens {tokens[token_id].content!r} and {token.content!r} have one id, {token_id}"
                )
            ids[token.content] = token_id
            tokens[token_id] = known[token.content] = token
            count += 1
        return AddedVocabulary(ids, tokens, frozenset(special)), count
