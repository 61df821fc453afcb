"""Added tokens. Their ids in a file are ignored, as in tokenizers 0.23."""

from __future__ import annotations

from typing import Any

from fastlm.compat.tokenizers.arguments import boolean, is_instance, known_options, one_of_kinds, string
from fastlm.formats.tokenizer_json import added_tokens as tokenizer_json
from fastlm.formats.tokenizer_json.added_tokens import FLAGS, AddedTokenEntry
from fastlm.normalizers import Normalizer, normalize_str


class AddedToken:
    """A token that is found in a text before it is split. See fastlm's `AddedToken` for the meaning of the options.

    `normalized` is True unless given, or unless the token is special.
    """

    def __init__(self, content: str | None = None, **options: Any) -> None:
        self._content = "" if content is None else string(content)
        flags = {name: boolean(value) for name, value in known_options(options, *FLAGS).items()}
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
        return {"content": self._content, **{name: getattr(self, name) for name in FLAGS}}

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


def added_token(entry: AddedTokenEntry) -> AddedToken:
    """The added token of an item of tokenizer.json."""
    return AddedToken(entry.content, **entry.flags())


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


AddedVocabulary = tokenizer_json.AddedVocabulary[AddedToken]


def name_of(token: AddedToken, normalizers: tuple[Normalizer, ...]) -> str:
    """The string of a token when its id becomes a token. It is normalized where texts are."""
    return normalize_str(normalizers, token.content) if token.normalized else token.content


def names_by_id(added: AddedVocabulary, normalizers: tuple[Normalizer, ...]) -> dict[int, str]:
    """Id -> the string of the token when ids become tokens."""
    return {token_id: name_of(token, normalizers) for token_id, token in added.tokens.items()}


def content_of(added: AddedVocabulary) -> list[dict[str, Any]]:
    """The added tokens as tokenizer.json lists them."""
    return [{"id": token_id, **token.__getstate__()} for token_id, token in sorted(added.tokens.items())]
