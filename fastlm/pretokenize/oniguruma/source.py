"""The text of an expression, read from left to right, and the options in force."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from fastlm.pretokenize.oniguruma import errors


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a group. The ascii options limit classes to ASCII: \\w, \\d, \\s and the POSIX classes."""

    folds: bool = False
    dot_matches_newline: bool = False
    is_extended: bool = False
    ascii_words: bool = False
    ascii_digits: bool = False
    ascii_spaces: bool = False
    ascii_posix: bool = False

    def limits(self, name: str) -> bool:
        """Whether the class of this lower-case POSIX name holds only ASCII characters."""
        by_name = {"word": self.ascii_words, "digit": self.ascii_digits, "space": self.ascii_spaces}
        return self.ascii_posix or by_name.get(name, False)


class Source:
    """An expression and the position up to which it has been read."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.position = 0

    @property
    def is_at_end(self) -> bool:
        """Whether all of the expression has been read."""
        return self.position >= len(self.expression)

    def peek(self, text: str) -> bool:
        """Whether this text follows."""
        return self.expression.startswith(text, self.position)

    def take(self, text: str) -> bool:
        """Reads this text if it follows."""
        found = self.peek(text)
        if found:
            self.position += len(text)
        return found

    def take_character(self) -> str:
        """Reads one character; there must be one."""
        self.position += 1
        return self.expression[self.position - 1]

    def take_match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Reads what a pattern matches here, if it does."""
        found = pattern.match(self.expression, self.position)
        if found:
            self.position = found.end()
        return found

    def fail(self, reason: str, position: int | None = None) -> NoReturn:
        """Raises ValueError: Oniguruma refuses the expression too."""
        raise errors.invalid(self.expression, reason, self.position if position is None else position)

    def refuse(self, feature: str, position: int) -> NoReturn:
        """Raises ValueError: fastlm does not support this feature."""
        raise errors.unsupported(self.expression, feature, position)
