"""Special tokens in a text that must not be there."""

from __future__ import annotations

import contextlib
from typing import NoReturn

from fastlm._special import SpecialFinder


class SpecialSearch:
    """Finds any of some strings in a text. Raises TypeError where they are not all str."""

    def __init__(self, tokens: frozenset[str]) -> None:
        if not all(isinstance(token, str) for token in tokens):
            raise TypeError(f"special tokens must be str, not {tokens!r}")
        self._tokens = tokens
        self._finder: SpecialFinder | None = None
        if tokens:
            # without a finder where one of them has no characters, or a lone surrogate
            with contextlib.suppress(ValueError):
                self._finder = SpecialFinder([token.encode() for token in tokens])

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
    """Raises the ValueError for a text that holds it."""
    raise ValueError(
        f"Encountered text corresponding to disallowed special token {token!r}.\n"
        f"To have it encoded as that token, name it: allowed_special={{{token!r}, ...}}.\n"
        f"To have it encoded as ordinary text, do not disallow it: "
        f"disallowed_special=(enc.special_tokens_set - {{{token!r}}}), or disallowed_special=() for all."
    )


def not_a_str(text: object) -> TypeError:
    """The error for a text of another type."""
    return TypeError(f"'{type(text).__name__}' object is not an instance of 'str'")
