"""Griffe extension that shows the examples of docstrings as code; mkdocs.yml names it.

Griffe's parser of Google style knows the section "Examples:" only. It takes "Example:" for an admonition, and a bare
doctest for a quotation.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_HEADING = re.compile(r"^( *)Example:$", re.MULTILINE)
_BARE = re.compile(r"(?:^|\n\n)(?=>>> )")


def with_examples(docstring: str) -> str:
    """The docstring with each of its examples in a section "Examples:".

    >>> with_examples("Adds.\\n\\n>>> 1 + 1\\n2")
    'Adds.\\n\\nExamples:\\n    >>> 1 + 1\\n    2'
    """
    docstring = _HEADING.sub(r"\1Examples:", docstring)
    found = _BARE.search(docstring)
    if not found:
        return docstring
    text, example = docstring[: found.start()], docstring[found.end() :]
    indented = "".join(f"    {line}" if line.strip() else line for line in example.splitlines(keepends=True))
    return f"{text}\n\nExamples:\n{indented}".lstrip("\n")


class DocstringExamples(griffe.Extension):
    """Rewrites each docstring when Griffe has read it."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = with_examples(obj.docstring.value)
