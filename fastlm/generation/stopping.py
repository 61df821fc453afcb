"""Streamed text up to the first stop string."""

from __future__ import annotations

from collections.abc import Iterable


class StopStrings:
    """Passes streamed text on up to the first stop string, and holds back text that may be the beginning of one.

    The first stop string is the one that is complete first; of several, the longest. So the result does not depend on
    how the text is divided into pieces.

    Args:
        strings: The stop strings.

    Attributes:
        found: Whether a stop string was found.

    Raises:
        ValueError: A stop string is empty.
        TypeError: A stop string is not a str.

    >>> stop = StopStrings(["END"])
    >>> [stop.step(piece) for piece in ("one E", "D E", "ND two")], stop.found
    (['one ', 'ED ', ''], True)
    """

    def __init__(self, strings: Iterable[str]) -> None:
        self._strings = tuple(strings)
        for string in self._strings:
            if not isinstance(string, str):
                raise TypeError(f"stop string {string!r} is of type {type(string).__name__}; expected str")
            if not string:
                raise ValueError("a stop string is empty; expected at least one character")
        self._held = ""
        self.found = False

    def step(self, piece: str) -> str:
        """Takes the next piece of text and returns the text to pass on; "" after a stop string was found."""
        if self.found or not piece:
            return ""
        text = self._held + piece
        ends = [(at + len(string), at) for string in self._strings if (at := text.find(string)) >= 0]
        if ends:
            self.found = True
            return text[: min(ends)[1]]
        held = max((self._begun(text, string) for string in self._strings), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        """Returns the text that was held back, at the end of the text."""
        return "" if self.found else self._held

    @staticmethod
    def _begun(text: str, string: str) -> int:
        """Number of characters at the end of `text` that are a proper prefix of `string`."""
        longest = min(len(string) - 1, len(text))
        return next((n for n in range(longest, 0, -1) if text.endswith(string[:n])), 0)
