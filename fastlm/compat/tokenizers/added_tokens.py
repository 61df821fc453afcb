"""Added tokens, and the ids that they get: those in a file count for nothing, as in tokenizers 0.23."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fastlm.compat.tokenizers.arguments import boolean, is_instance, known_options, one_of_kinds, string, unsigned
from fastlm.text.normalization import nfc

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


class AddedToken:
    """A token that is found in a text before it is split. See fastlm's `AddedToken` for what the options mean.

    `normalized` is True unless given, or unless the token is special.
    """

    def __init__(self, content: str | None = None, **options: Any) -> None:
        self._content = "" if content is None else string(content)
        flags = {name: boolean(value) for name, value in known_options(options, *_FLAGS).items()}
        self._single_word = flags.get("single_word", False)
        self._lstrip = flags.get("lstrip", False)
        self._rstrip = flags.get("rstrip", False)
        self._normalized = flags.get("normalized")
        self._special = flags.get("special", False)

    @property
    def content(self) -> str:
        return self._content

    @content.setter
    def content(self, content: str) -> None:
        self._content = string(content)

    @property
    def single_word(self) -> bool:
        return self._single_word

    @property
    def lstrip(self) -> bool:
        return self._lstrip

    @property
    def rstrip(self) -> bool:
        return self._rstrip

    @property
    def normalized(self) -> bool:
        return not self._special if self._normalized is None else self._normalized

    @property
    def special(self) -> bool:
        return self._special

    @special.setter
    def special(self, special: bool) -> None:
        self._special = boolean(special)

    def copy(self, **changes: bool) -> AddedToken:
        options = {"normalized": self._normalized} if self._normalized is not None else {}
        for name in ("single_word", "lstrip", "rstrip", "special"):
            options[name] = getattr(self, name)
        return AddedToken(self._content, **{**options, **changes})

    def __getstate__(self) -> dict[str, Any]:
        return {"content": self._content, **{name: getattr(self, name) for name in _FLAGS}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AddedToken) and self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        return hash(self._content)

    def __str__(self) -> str:
        return self._content

    def __repr__(self) -> str:
        flags = ("rstrip", "lstrip", "single_word", "normalized", "special")
        return f'AddedToken("{self._content}", {", ".join(f"{name}={getattr(self, name)}" for name in flags)})'


def added_token(content: dict[str, Any]) -> AddedToken:
    """An added token as tokenizer.json describes it. Raises ValueError where an entry lacks or has another type."""
    missing = [name for name in ("id", "content", *_FLAGS) if name not in content]
    if missing:
        raise ValueError(f"added token {content!r:.80}: missing field `{missing[0]}`")
    try:
        # of another id than it says, but not of none
        unsigned(content["id"], 32)
        return AddedToken(content["content"], **{name: content[name] for name in _FLAGS})
    except (TypeError, OverflowError) as error:
        raise ValueError(f"added token {content!r:.80}: {error}") from None


def given_tokens(tokens: Any, special: bool) -> list[AddedToken]:
    """The tokens of a list of str and AddedToken, copied. Raises TypeError."""
    is_instance(tokens, list)
    found = []
    for token in tokens:
        if isinstance(token, str):
            found.append(AddedToken(one_of_kinds(token), special=special))
        elif isinstance(token, AddedToken):
            found.append(token.copy(special=True) if special else token.copy())
        else:
            raise TypeError("Input must be a List[Union[str, AddedToken]]")
    return found


@dataclass(frozen=True)
class AddedVocabulary:
    """The added tokens of a tokenizer. ids: content -> id; tokens: id -> token; special: contents added as such."""

    ids: dict[str, int] = field(default_factory=dict)
    tokens: dict[int, AddedToken] = field(default_factory=dict)
    special: frozenset[str] = frozenset()

    def with_tokens(self, given: Iterable[AddedToken], model: dict[str, int]) -> tuple[AddedVocabulary, int]:
        """With these too, and how many of them say anything new. A token of the model keeps its id."""
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
            id = ids.get(token.content, model.get(token.content))
            if id is None:
                id = max(largest + 1, len(model))
            largest = max(largest, id)
            ids[token.content] = id
            tokens[id] = known[token.content] = token
            count += 1
        return AddedVocabulary(ids, tokens, frozenset(special)), count

    def names(self, normalizes: bool) -> dict[int, str]:
        """id -> the string that stands for it where ids become tokens; where texts are normalized, in form C."""
        return {
            id: nfc(token.content) if normalizes and token.normalized else token.content
            for id, token in self.tokens.items()
        }

    def content(self) -> list[dict[str, Any]]:
        """What tokenizer.json says of them."""
        return [{"id": id, **token.__getstate__()} for id, token in sorted(self.tokens.items())]
