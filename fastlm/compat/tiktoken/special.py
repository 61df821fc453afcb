"""Search for disallowed special tokens in a text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

from fastlm.compat.tiktoken.arguments import not_an_instance
from fastlm.text._token_finder import TokenFinder

NONE: frozenset[str] = frozenset()
"""Default of `allowed_special`: no special token is allowed."""

# largest number of sets of special tokens whose searches are cached
MOST_SEARCHES = 128

_SETS = (set, frozenset)

Key = TypeVar("Key")
Value = TypeVar("Value")


class SpecialTokens:
    """The special tokens of an encoding, with the checks for `allowed_special` and `disallowed_special`.

    Args:
        tokens: The special tokens.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self.all = frozenset(tokens)
        self._any = SpecialSearch(self.all) if self.all else None
        self._others: dict[frozenset[str], SpecialSearch | None] = {}
        self._named: dict[frozenset[str], SpecialSearch] = {}

    def checked(self, text: str, allowed: Any, disallowed: Any) -> Any:
        """Checks that a text contains no disallowed special token.

        Args:
            text: The text.
            allowed: A set of special tokens, or "all".
            disallowed: A collection of special tokens, or "all" for every special token that is not allowed.

        Returns:
            The allowed special tokens.

        Raises:
            ValueError: The text contains a disallowed special token.
            TypeError: The text is not a str, or a set of tokens has the wrong type.
        """
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
            raise not_an_instance(text, "str")
        return allowed

    def disallowed(self, allowed: Any, disallowed: Any) -> frozenset[str]:
        """Resolves "all" in the arguments of `checked`.

        Returns:
            The disallowed special tokens.

        Raises:
            TypeError: `allowed` is not a set, or `disallowed` is not a collection.
        """
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
    """Returns cache[key], and adds make(key) first if the key is missing. A full cache is cleared before that."""
    try:
        return cache[key]
    except KeyError:
        pass
    if len(cache) >= MOST_SEARCHES:
        cache.clear()
    return cache.setdefault(key, make(key))


class SpecialSearch:
    """Finds the first of several strings in a text.

    Args:
        tokens: The strings to find.

    Raises:
        TypeError: A token is not a str.
    """

    def __init__(self, tokens: frozenset[str]) -> None:
        if not all(isinstance(token, str) for token in tokens):
            raise TypeError(f"special tokens must be str, got {tokens!r}")
        self._tokens = tokens
        self._finder: TokenFinder | None = None
        if tokens:
            # An empty token or a lone surrogate raises ValueError. `first` then searches without a finder.
            with contextlib.suppress(ValueError):
                self._finder = TokenFinder([token.encode() for token in tokens])

    def first(self, text: str) -> str | None:
        """Finds the leftmost token in a text.

        Args:
            text: The text.

        Returns:
            The longest token at the leftmost position; None if the text contains no token.

        Raises:
            TypeError: The text is not a str.
        """
        if self._finder is not None:
            try:
                found = self._finder.first(text)
                return found if found is None else found.decode()
            except UnicodeEncodeError:
                pass
            except TypeError:
                raise not_an_instance(text, "str") from None
        if not isinstance(text, str):
            raise not_an_instance(text, "str")
        if not self._tokens:
            return ""  # as a regular expression without alternatives, which matches at every position
        places = [(text.index(token), -len(token), token) for token in self._tokens if token in text]
        return min(places)[2] if places else None


def raise_disallowed_special_token(token: str) -> NoReturn:
    """Raises the ValueError for a text that contains this token. Programs match tiktoken's message."""
    raise ValueError(
        f"Encountered text corresponding to disallowed special token {token!r}.\n"
        f"If you want this text to be encoded as a special token, pass it to `allowed_special`, e.g. "
        f"`allowed_special={{{token!r}, ...}}`.\n"
        f"If you want this text to be encoded as normal text, disable the check for this token by passing "
        f"`disallowed_special=(enc.special_tokens_set - {{{token!r}}})`.\n"
        "To disable this check for all special tokens, pass `disallowed_special=()`.\n"
    )
