"""The pieces into which steps have split a text so far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlm._types import Int64Array, UInt32Array


class Pieces(NamedTuple):
    """The characters of a text and where its pieces end. No piece is empty.

    Attributes:
        chars: uint32 (n,): the code points of all pieces, one after the other.
        ends: int64 (pieces,): the end of each piece in `chars`.
        origins: int64 (n,): for each character the index of the character of the given text that it comes from; or
            None if origins were not requested.
    """

    chars: UInt32Array
    ends: Int64Array
    origins: Int64Array | None

    @classmethod
    def of_text(cls, text: str, origins: Int64Array | None) -> Pieces:
        """One piece of a whole text without lone surrogates, or none if it is empty."""
        chars = np.frombuffer(text.encode("utf-32-le"), "<u4")
        return cls(chars, np.array([len(chars)] if len(chars) else [], np.int64), origins)

    @property
    def starts(self) -> Int64Array:
        """Where each piece starts, int64 (pieces,)."""
        return np.concatenate([np.zeros(1, np.int64), self.ends])[: len(self.ends)]

    def text(self) -> str:
        """The characters as a str."""
        return self.chars.astype("<u4", copy=False).tobytes().decode("utf-32-le")

    def split(self, found: tuple[Int64Array, NDArray[np.bool_] | None]) -> Pieces:
        """Other pieces of the characters: their ends, and which characters are kept, or None for all."""
        ends, keep = found
        if keep is None:
            return Pieces(self.chars, ends, self.origins)
        return Pieces(self.chars[keep], ends, None if self.origins is None else self.origins[keep])

    def prefixed(self, char: str, where: NDArray[np.bool_]) -> Pieces:
        """The pieces with a character before some of them, which comes from the first character of the piece."""
        places = self.starts[where]
        origins = None if self.origins is None else np.insert(self.origins, places, self.origins[places])
        return Pieces(np.insert(self.chars, places, ord(char)), self.ends + np.cumsum(where), origins)
