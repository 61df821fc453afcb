"""Special tokens in a text that must not be there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

from fastlm.text._token_finder import TokenFinder

NONE: frozenset[str] = frozenset()
"""What is allowed unless a call says otherwise."""

# sets of special tokens of which is kept what searches for them
MOST_SEARCHES = 128

_SETS = (set, frozenset)

Key = TypeVar("Key")
Value = TypeVar("Value")


class SpecialTokens:
    """The special tokens of an encoding, and what calls say of them by `allowed_special` and `disallowed_special`."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self.all = frozenset(tokens)
        self._any = SpecialSearch(self.all) if self.all else None
        self._others: dict[frozenset[str], SpecialSearch | None] = {}
        self._named: dict[frozenset[str], SpecialSearch] = {}

    def checked(self, text: str, allowed: Any, disallowed: Any) -> Any:
        """The allowed special tokens. Raises ValueError where a disallowed one stands in the text, TypeError for what
        is no str and for sets that are none."""
        search: SpecialSearch | None
        if allowed is NONE and disallowed == "all":
            search = self._any
        else:
            if allowed == "all":
                allowed = self.all
            if disallowed == "all":
                allowed = frozenset(allowed) if isinstance(allowed, _SETS) else allowed
                search = self._search_for_others(allowed)
            else:
                search = self._search_for(disallowed) if disallowed else None
        if search is not None:
            found = search.first(text)
            if found is not None:
                raise_disallowed_special_token(found)
        elif not isinstance(text, str):
            raise not_a_str(text)
        return allowed

    def disallowed(self, allowed: Any, disallowed: Any) -> frozenset[str]:
        """The disallowed special tokens. Raises TypeError for sets that are none."""
        allowed = self.all if allowed == "all" else allowed
        return frozenset(set(self.all) - allowed if disallowed == "all" else disallowed)

    def _search_for_others(self, allowed: Any) -> SpecialSearch | None:
        if not isinstance(allowed, frozenset):
            others = set(self.all) - allowed
            return self._search_for(others) if others else None
        return remembered(self._others, allowed, self._search_beside)

    def _search_beside(self, allowed: frozenset[str]) -> SpecialSearch | None:
        others = self.all - allowed
        return SpecialSearch(others) if others else None

    def _search_for(self, tokens: Iterable[str]) -> SpecialSearch:
        return remembered(self._named, frozenset(tokens), SpecialSearch)


def remembered(cache: dict[Key, Value], key: Key, make: Callable[[Key], Value]) -> Value:
    """cache[key], made where it is not there; what is full is emptied first."""
    try:
        return cache[key]
    except KeyError:
        pass
    if len(cache) >= MOST_SEARCHES:
        cache.clear()
    return cache.setdefault(key, make(key))


class SpecialSearch:
    """Finds any of some strings in a text. Raises TypeError where they are not all str."""

    def __init__(self, tokens: frozenset[str]) -> None:
        if not all(isinstance(token, str) for token in tokens):
            raise TypeError(f"special tokens must be str, not {tokens!r}")
        self._tokens = tokens
        self._finder: TokenFinder | None = None
        if tokens:
            # without a finder where one of them has no characters, or a lone surrogate
            with contextlib.suppress(ValueError):
                self._finder = TokenFinder([token.encode() for token in tokens])

    def first(self, text: str) -> str | None:
        """The leftmost in the text, of those the longest, or None. Raises TypeError for what is no str."""
        if self._finder is not None:
            try:
                found = self._finder.first(text)
                return found if found is None else found.decode()
            except UnicodeEncodeError:
                pass
        if not isinstance(text, str):
            raise not_a_str(text)
        if not self._tokens:
            return ""  # as the regular expression of no alternatives is found everywhere
        places = [(text.index(token), -len(token), token) for token in self._tokens if token in text]
        return min(places)[2] if places else None


def raise_disallowed_special_token(token: str) -> NoReturn:
    """Raises the ValueError for a text that holds it, with tiktoken's message, which programs look for."""
    raise ValueError(
        f"Encountered text corresponding to disallowed special token {token!r}.\n"
        f"If you want this text to be encoded as a special token, pass it to `allowed_special`, e.g. "
        f"`allowed_special={{{token!r}, ...}}`.\n"
        f"If you want this text to be encoded as normal text, disable the check for this token by passing "
        f"`disallowed_special=(enc.special_tokens_set - {{{token!r}}})`.\n"
        "To disable this check for all special tokens, pass `disallowed_special=()`.\n"
    )


def not_a_str(text: object) -> TypeError:
    """The error for a text of another type."""
    return TypeError(f"'{type(text).__name__}' object is not an instance of 'str'")
