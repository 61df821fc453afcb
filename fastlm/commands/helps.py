"""Help texts from docstrings."""

from __future__ import annotations

import inspect
import re
from typing import TypeVar

T = TypeVar("T")

_CONTINUATION = re.compile(r"\n {8,}(?=\S)")


def one_line_helps(documented: T) -> T:
    """Joins the lines of each argument in the docstring of a function or class, because tyro keeps line breaks.

    The docstring is changed in place.
    """
    head, marker, arguments = inspect.cleandoc(documented.__doc__ or "").partition("\nArgs:\n")
    documented.__doc__ = head + marker + _CONTINUATION.sub(" ", arguments)
    return documented
