"""Text that comes piece by piece, up to the first stop string."""

from __future__ import annotations

from collections.abc import Iterable


class StopStrings:
    """Passes text on, but for what may be the beginning of a stop string, and ends before the first one.

    The first is the one that is complete first, and of those the longest; so it does not depend on how the text is cut
    into pieces. Raises ValueError for an empty string, TypeError for what is no string.

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
        """What may be passed on now that `piece` has come; nothing after a stop string was found."""
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
        """What was held back and is no stop string, at the end of the text."""
        return "" if self.found else self._held

    @staticmethod
    def _begun(text: str, string: str) -> int:
        """How many characters at the end of `text` are the beginning of `string`."""
        longest = min(len(string) - 1, len(text))
        return next((n for n in range(longest, 0, -1) if text.endswith(string[:n])), 0)
