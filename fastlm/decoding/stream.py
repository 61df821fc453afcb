"""Token IDs that arrive one by one, as text of whole characters."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from fastlm.decoding._decoder import Decoder


class DecodeStream:
    """Decodes ids as a model yields them. What `step` and `finish` return, joined, is the decoded whole.

    >>> from fastlm import Tokenizer
    >>> stream = Tokenizer({i: bytes([i]) for i in range(256)}, []).decode_stream()
    >>> [stream.step(byte) for byte in "aé".encode()]
    ['a', '', 'é']
    """

    def __init__(self, decoder: Decoder, errors: str = "replace") -> None:
        self._decoder = decoder
        self._text = codecs.getincrementaldecoder("utf-8")(errors)

    def step(self, ids: int | Iterable[int]) -> str:
        """The text that one more id, or several, complete; "" while a character lacks bytes. Raises as `decode`."""
        # an iterator does not use the length that a subclass of list reports
        return self._text.decode(self._decoder.decode_bytes(list(iter(ids)) if isinstance(ids, Iterable) else [ids]))

    def finish(self) -> str:
        """Returns the text for an unfinished character at the end. The stream is then ready for new ids."""
        rest = self._text.decode(b"", final=True)
        self._text.reset()
        return rest
