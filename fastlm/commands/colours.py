"""Coloured text for terminals."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import cycle
from typing import TextIO

# pale backgrounds of the 256 colours of terminals, under black text
_BACKGROUNDS = (153, 157, 222, 218, 159, 183)


def has_colours(file: TextIO) -> bool:
    """Whether colours may be written to a file: it is a terminal, and NO_COLOR is not set."""
    return file.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(parts: Iterable[str]) -> str:
    """Parts of a text on backgrounds that differ from one part to the next."""
    return "".join(
        f"\x1b[30;48;5;{colour}m{part}\x1b[0m" for part, colour in zip(parts, cycle(_BACKGROUNDS), strict=False)
    )
