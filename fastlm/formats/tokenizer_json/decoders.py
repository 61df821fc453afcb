"""Decoders of a tokenizer.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastlm.formats.tokenizer_json.components import ByteLevelOptions, Component, Parser
from fastlm.formats.tokenizer_json.json_values import Entries


@dataclass(frozen=True)
class Decoder(Component):
    """A step that makes text of tokens."""


@dataclass(frozen=True)
class ByteLevelDecoder(ByteLevelOptions, Decoder):
    """Reads the characters of tokens as the bytes that they spell. The options have no effect."""


@dataclass(frozen=True)
class DecoderSequence(Decoder):
    """Decoders, one after the other."""

    type_name = "Sequence"

    parts: tuple[Decoder, ...]

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "decoders": [part.content() for part in self.parts]}


UNSUPPORTED = ("BPEDecoder", "ByteFallback", "CTC", "Fuse", "Metaspace", "Replace", "Strip", "WordPiece")


def _byte_level(entries: Entries) -> Decoder:
    return ByteLevelDecoder(*ByteLevelDecoder.options_of(entries))


def _sequence(entries: Entries) -> Decoder:
    return DecoderSequence(tuple(parse_decoder(part) for part in entries.list("decoders")))


parse_decoder: Parser[Decoder] = Parser(
    "decoder", "decoders", {"ByteLevel": _byte_level, "Sequence": _sequence}, UNSUPPORTED
)
