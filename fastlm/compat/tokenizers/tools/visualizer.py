"""Names of the module that draws encodings as HTML. Annotations are data; drawing is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from fastlm.compat.tokenizers.component import refused, unsupported


class Annotation:
    """A label of the characters from `start` to `end`."""

    def __init__(self, start: int, end: int, label: str) -> None:
        self.start = start
        self.end = end
        self.label = label


AnnotationList = list[Annotation]
PartialIntList = list[int | None]


class CharStateKey(NamedTuple):
    """The first token of a character, and its annotation."""

    token_ix: int | None
    anno_ix: int | None


class CharState:
    """The tokens and the annotation of a character."""

    def __init__(self, char_ix: int | None) -> None:
        self.char_ix = char_ix
        self.anno_ix: int | None = None
        self.tokens: list[int] = []

    @property
    def token_ix(self) -> int | None:
        """The first token, or None."""
        return self.tokens[0] if self.tokens else None

    @property
    def is_multitoken(self) -> bool:
        """True for a character that several tokens spell."""
        return len(self.tokens) > 1

    def partition_key(self) -> CharStateKey:
        """What characters that are drawn together have in common."""
        return CharStateKey(self.token_ix, self.anno_ix)


class Aligned:
    """A name of the library without content."""


def HTMLBody(children: Sequence[str], css_styles: Any = None) -> NoReturn:  # noqa: N802 - the name in tokenizers
    """Not supported: raises NotImplementedError."""
    unsupported("tools.visualizer.HTMLBody")


EncodingVisualizer = refused("tools.EncodingVisualizer", object)
