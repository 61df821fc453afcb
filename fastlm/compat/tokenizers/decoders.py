"""Decoders: tokens to text."""

from __future__ import annotations

from typing import Any, NoReturn, Protocol

from fastlm.compat.tokenizers.arguments import boolean, is_sequence, sequence, string, unsigned
from fastlm.compat.tokenizers.arguments import ids as id_array
from fastlm.compat.tokenizers.component import Component, Steps, refused, supported, unsupported
from fastlm.compat.tokenizers.pipeline import bytes_of
from fastlm.formats.tokenizer_json import decoders as parsed_decoders


class Decodes(Protocol):
    """A Tokenizer."""

    def decode(self, ids: Any, skip_special_tokens: bool = True) -> str: ...


class Decoder(Component):
    """A step that makes text of tokens."""

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Decoder:
        return decoder_of(supported(parsed_decoders.parse_decoder, content))

    def decode_chain(self, tokens: list[str]) -> list[str]:
        """Strings that, joined, are the text."""
        raise NotImplementedError(type(self).__name__)

    def decode(self, tokens: list[str]) -> str:
        """The text of tokens."""
        return "".join(self.decode_chain([string(token) for token in sequence(tokens)]))

    @staticmethod
    def custom(decoder: Any) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported("decoders written in Python")


class ByteLevel(Decoder):
    """Reads the characters of tokens as the bytes that they spell. A token with another character is its own UTF-8."""

    type_name = "ByteLevel"

    def __init__(self, **_: Any) -> None:
        # the options have no effect on decoding; as in tokenizers, the options of a file are kept
        self.set_parsed(parsed_decoders.ByteLevelDecoder())

    def decode_chain(self, tokens: list[str]) -> list[str]:
        return [b"".join(map(bytes_of, tokens)).decode(errors="replace")]

    def shown_fields(self) -> dict[str, Any]:
        fields = dict(self.json_value())
        del fields["type"]
        return fields


class Sequence(Steps, Decoder):
    """Decoders, one after the other."""

    key = "decoders"
    sequence_type = parsed_decoders.DecoderSequence

    def __init__(self, decoders: list[Decoder]) -> None:
        self._take(decoders, Decoder)

    @classmethod
    def of_parsed(cls, parsed: parsed_decoders.DecoderSequence) -> Sequence:
        return cls([decoder_of(part) for part in parsed.parts])

    def decode_chain(self, tokens: list[str]) -> list[str]:
        for decoder in self._parts:
            tokens = decoder.decode_chain(tokens)
        return tokens


class DecodeStream:
    """Decodes ids one by one: `step` returns text as soon as it is made of whole characters, and None before."""

    def __init__(self, ids: list[int] | None = None, skip_special_tokens: bool = False) -> None:
        self._ids: list[int] = [] if ids is None else id_array(ids).tolist()
        self._skip = boolean(skip_special_tokens)
        self._prefix = ""
        self._prefix_end = 0

    def step(self, tokenizer: Decodes, id: int | list[int]) -> str | None:  # noqa: A002 - the name in tokenizers
        """The text that becomes complete with one more id, or with several. Raises as `Tokenizer.decode`."""
        if not callable(getattr(tokenizer, "decode", None)):
            raise TypeError(f"{type(tokenizer).__name__!r} object is not an instance of 'Tokenizer'")
        try:
            new = id_array(id).tolist() if is_sequence(id) else [unsigned(id, 32)]
        except OverflowError as error:
            raise TypeError(f"{id!r} is no id: {error}") from None
        if not self._prefix and self._ids:
            self._take_prefix(tokenizer.decode(self._ids, self._skip))
        self._ids += new
        text = tokenizer.decode(self._ids, self._skip)
        if len(text.encode()) <= len(self._prefix.encode()) or text.endswith("\ufffd"):
            return None
        if not text.startswith(self._prefix):
            raise ValueError("Invalid prefix encountered while decoding stream")
        rest = text[len(self._prefix) :]
        kept = len(self._ids) - self._prefix_end
        self._ids = self._ids[self._prefix_end :]
        self._prefix, self._prefix_end = tokenizer.decode(self._ids, self._skip), kept
        return rest

    def _take_prefix(self, text: str) -> None:
        if not text.endswith("\ufffd"):
            self._prefix, self._prefix_end = text, len(self._ids)

    def __copy__(self) -> DecodeStream:
        other = DecodeStream(list(self._ids), self._skip)
        other._prefix, other._prefix_end = self._prefix, self._prefix_end
        return other

    def __deepcopy__(self, _: Any) -> DecodeStream:
        return self.__copy__()


BPEDecoder = refused("decoders.BPEDecoder", Decoder)
ByteFallback = refused("decoders.ByteFallback", Decoder)
CTC = refused("decoders.CTC", Decoder)
Fuse = refused("decoders.Fuse", Decoder)
Metaspace = refused("decoders.Metaspace", Decoder)
Replace = refused("decoders.Replace", Decoder)
Strip = refused("decoders.Strip", Decoder)
WordPiece = refused("decoders.WordPiece", Decoder)

_CLASSES: dict[type, type[Decoder]] = {
    parsed_decoders.ByteLevelDecoder: ByteLevel,
    parsed_decoders.DecoderSequence: Sequence,
}


def decoder_of(parsed: parsed_decoders.Decoder) -> Decoder:
    """The decoder of a frozen dataclass."""
    made: Decoder = _CLASSES[type(parsed)].of_parsed(parsed)
    return made
