"""Post-processors: the tokens around encodings, and the trimming of offsets."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from fastlm.compat.tokenizers.arguments import boolean, is_instance, sequence, string, unsigned
from fastlm.compat.tokenizers.component import Component, FlatSteps, Name, Option, shown, supported, unsupported
from fastlm.compat.tokenizers.encoding import Encoding, joined
from fastlm.compat.tokenizers.spans import special_span
from fastlm.compat.tokenizers.templates import special_token, template
from fastlm.formats.tokenizer_json import post_processors as parsed_processors


class PostProcessor(Component):
    """A step that joins the encodings of one or two texts."""

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> PostProcessor:
        return processor_of(supported(parsed_processors.parse_post_processor, content))

    def process_encodings(self, encodings: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        """Encodings that, joined, are the result. The given ones may be changed."""
        raise NotImplementedError(type(self).__name__)

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        """The number of tokens that are added to one text, or to a pair."""
        boolean(is_pair)
        return 0

    def process(self, encoding: Encoding, pair: Encoding | None = None, add_special_tokens: bool = True) -> Encoding:
        """The encoding of one or two texts. The given encodings do not change."""
        is_instance(encoding, Encoding)
        if pair is not None:
            is_instance(pair, Encoding)
        given = [encoding.copy()] if pair is None else [encoding.copy(), pair.copy()]
        return self.processed(given, boolean(add_special_tokens))

    def processed(self, encodings: list[Encoding], add_special_tokens: bool) -> Encoding:
        for k, encoding in enumerate(encodings):
            encoding.set_sequence_id(k)
            for inner in encoding.own_overflowing():
                inner.set_sequence_id(k)
            encoding.set_type_ids(k)
        return joined(self.process_encodings(encodings, add_special_tokens))


class ByteLevel(PostProcessor):
    """Leaves whitespace out of the offsets, with trim_offsets."""

    type_name = "ByteLevel"
    options = ("add_prefix_space", "trim_offsets", "use_regex")
    add_prefix_space, trim_offsets, use_regex = Option(boolean), Option(boolean), Option(boolean)

    def __init__(
        self,
        add_prefix_space: bool | None = None,
        trim_offsets: bool | None = None,
        use_regex: bool | None = None,
        **_: Any,
    ) -> None:
        given = (add_prefix_space, trim_offsets, use_regex)
        self.set_parsed(
            parsed_processors.ByteLevelProcessor(*(True if flag is None else boolean(flag) for flag in given))
        )

    def process_encodings(self, encodings: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        for k, encoding in enumerate(encodings):
            if self.trim_offsets:
                _trim(encoding, self.add_prefix_space)
            encoding.set_sequence_id(k)
        return encodings


class BertProcessing(PostProcessor):
    """<cls> A <sep>, or <cls> A <sep> B <sep>, with B and what follows it of type 1."""

    type_name = "BertProcessing"
    options = ("sep", "cls")
    sep = Option(lambda pair: _token_and_id(pair))
    cls = Option(lambda pair: _token_and_id(pair))

    def __init__(self, sep: tuple[str, int], cls_token: tuple[str, int]) -> None:
        self.set_parsed(parsed_processors.BertProcessing(_token_and_id(sep), _token_and_id(cls_token)))

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        return 3 if boolean(is_pair) else 2

    def process_encodings(self, encodings: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        if not add_special_tokens:
            return encodings
        (cls, cls_id), (sep, sep_id) = self.cls, self.sep
        return [
            encoding.framed(special_span([cls_id][k:], [cls][k:], 0), special_span([sep_id], [sep], k), k)
            for k, encoding in enumerate(encodings)
        ]


class RobertaProcessing(PostProcessor):
    """<cls> A <sep>, or <cls> A <sep> <sep> B <sep>, all of type 0."""

    type_name = "RobertaProcessing"
    options = ("sep", "cls", "trim_offsets", "add_prefix_space")
    sep = Option(lambda pair: _token_and_id(pair))
    cls = Option(lambda pair: _token_and_id(pair))
    trim_offsets, add_prefix_space = Option(boolean), Option(boolean)

    def __init__(
        self,
        sep: tuple[str, int],
        cls_token: tuple[str, int],
        trim_offsets: bool = True,
        add_prefix_space: bool = True,
        **_: Any,
    ) -> None:
        pairs = _token_and_id(sep), _token_and_id(cls_token)
        self.set_parsed(parsed_processors.RobertaProcessing(*pairs, boolean(trim_offsets), boolean(add_prefix_space)))

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        return 4 if boolean(is_pair) else 2

    def process_encodings(self, encodings: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        for encoding in encodings:
            if self.trim_offsets:
                _trim(encoding, self.add_prefix_space)
            encoding.set_type_ids(0)
        if not add_special_tokens:
            return encodings
        return [self._framed(encoding, k) for k, encoding in enumerate(encodings)]

    def _framed(self, encoding: Encoding, k: int) -> Encoding:
        before, after = (
            special_span([token_id], [token], 0) for token, token_id in ((self.sep if k else self.cls), self.sep)
        )
        for inner in encoding.own_overflowing():
            inner.set_type_ids(0)
        return encoding.framed(before, after, min(k, 1))


class TemplateProcessing(PostProcessor):
    """Puts special tokens around and between texts, as `single` and `pair` say.

    A template is a list, or a str with spaces between, of $A, $B and special tokens, each with ":" and a type id if it
    is not 0. Raises ValueError for a malformed template, or one that names a token that special_tokens lacks.
    """

    type_name = "TemplateProcessing"

    def __init__(self, single: Any = None, pair: Any = None, special_tokens: Any = None) -> None:
        templates = template("$0" if single is None else single), template("$A:0 $B:1" if pair is None else pair)
        given = [special_token(token) for token in ([] if special_tokens is None else sequence(special_tokens))]
        self.set_parsed(parsed_processors.TemplateProcessing(*templates, {token.name: token for token in given}))

    @property
    def single(self) -> str:
        """The template of one text, as a description."""
        pieces = self.parsed().single
        names = [piece.name if piece.kind == "Sequence" else shown(piece.name) for piece in pieces]
        listed = [
            f"{piece.kind} {{ id: {name}, type_id: {piece.type_id} }}"
            for piece, name in zip(pieces, names, strict=True)
        ]
        return f"Template([{', '.join(listed)}])"

    @single.setter
    def single(self, single: Any) -> None:
        self.set_parsed(dataclasses.replace(self.parsed(), single=template(single)))

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        parsed = self.parsed()
        pieces = parsed.pair if boolean(is_pair) else parsed.single
        return sum(len(parsed.tokens[piece.name].ids) for piece in pieces if piece.kind == "SpecialToken")

    def process_encodings(self, encodings: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        if len(encodings) > 2:
            unsupported("processors.TemplateProcessing after another that adds special tokens")
        parsed = self.parsed()
        result = []
        for piece in parsed.pair if len(encodings) == 2 else parsed.single:
            if piece.kind == "SpecialToken":
                if add_special_tokens:
                    token = parsed.tokens[piece.name]
                    result.append(Encoding.of((special_span(token.ids, token.tokens, piece.type_id),)))
                continue
            k = 0 if piece.name == "A" else 1
            if k >= len(encodings):
                raise ValueError("the template of one text uses $B")
            encodings[k].set_type_ids(piece.type_id)
            encodings[k].set_sequence_id(k)
            result.append(encodings[k].copy())
        return result

    def shown_fields(self) -> dict[str, Any]:
        parsed = self.parsed()
        return {
            "single": list(map(_shown_piece, parsed.single)),
            "pair": list(map(_shown_piece, parsed.pair)),
            "special_tokens": {name: _shown_token(parsed.tokens[name]) for name in sorted(parsed.tokens)},
        }


class _Shown(NamedTuple):
    """A part of a template as printing shows it."""

    type_name: str
    fields: dict[str, Any]

    def shown_fields(self) -> dict[str, Any]:
        return self.fields


def _shown_piece(piece: parsed_processors.TemplatePiece) -> _Shown:
    name = Name(piece.name) if piece.kind == "Sequence" else piece.name
    return _Shown(piece.kind, {"id": name, "type_id": piece.type_id})


def _shown_token(token: parsed_processors.TemplateToken) -> _Shown:
    return _Shown("SpecialToken", token.content())


class Sequence(FlatSteps, PostProcessor):
    """Post-processors, one after the other."""

    key = "processors"
    sequence_type = parsed_processors.ProcessorSequence

    def __init__(self, processors: list[PostProcessor]) -> None:
        self._take(processors, PostProcessor)

    @classmethod
    def of_parsed(cls, parsed: parsed_processors.ProcessorSequence) -> Sequence:
        return cls([processor_of(part) for part in parsed.parts])

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        return sum(processor.num_special_tokens_to_add(is_pair) for processor in self._parts)

    def process_encodings(self, encodings: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        for processor in self._parts:
            encodings = processor.process_encodings(encodings, add_special_tokens)
        return encodings


def default_process(encodings: list[Encoding]) -> Encoding:
    """The joined encodings without a post-processor."""
    if len(encodings) == 1:
        return encodings[0]
    for k, encoding in enumerate(encodings):
        encoding.set_sequence_id(k)
    return joined(encodings)


def _trim(encoding: Encoding, add_prefix_space: bool) -> None:
    for one in (encoding, *encoding.own_overflowing()):
        one.trim(add_prefix_space)


def _token_and_id(pair: Any) -> tuple[str, int]:
    is_instance(pair, tuple)
    if len(pair) != 2:
        raise ValueError(f"expected a token and its id, got {pair!r}")
    return string(pair[0]), unsigned(pair[1], 32)


_CLASSES: dict[type, type[PostProcessor]] = {
    parsed_processors.ByteLevelProcessor: ByteLevel,
    parsed_processors.BertProcessing: BertProcessing,
    parsed_processors.RobertaProcessing: RobertaProcessing,
    parsed_processors.TemplateProcessing: TemplateProcessing,
    parsed_processors.ProcessorSequence: Sequence,
}


def processor_of(parsed: parsed_processors.PostProcessor) -> PostProcessor:
    """The post-processor of a frozen dataclass."""
    made: PostProcessor = _CLASSES[type(parsed)].of_parsed(parsed)
    return made
