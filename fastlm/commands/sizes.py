"""Sizes in bytes with units."""

from __future__ import annotations

import re


def parse_size(text: str, name: str = "memory") -> int:
    """Parses a size.

    Args:
        text: A size such as 80GB, 24GiB or 1000, in capital or small letters.
        name: The name of the option, for messages.

    Returns:
        The size in bytes.

    Raises:
        ValueError: for another text.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?) ?([KMGT]?)(I?)B?", text.upper(), re.ASCII)
    if found is None or (found[3] and not found[2]):
        raise ValueError(f"{name} is {text!r}; expected a size such as 80GB or 24GiB")
    step = 1024 if found[3] else 1000
    power = " KMGT".index(found[2] or " ")
    return int(float(found[1]) * step**power)
