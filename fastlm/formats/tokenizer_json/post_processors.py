"""Post-processors of a tokenizer.json: which tokens go around and between encoded texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fastlm.formats.tokenizer_json.components import ByteLevelOptions, Component, Parser, UnsupportedComponentError
from fastlm.formats.tokenizer_json.json_values import Entries, is_unsigned

Ids = tuple[int, ...]


@dataclass(frozen=True)
class PostProcessor(Component):
    """A step that joins the encodings of one or two texts."""


@dataclass(frozen=True)
class ByteLevelProcessor(ByteLevelOptions, PostProcessor):
    """Leaves whitespace out of the offsets, with trim_offsets."""


@dataclass(frozen=True)
class BertProcessing(PostProcessor):
    """<cls> A <sep>, or <cls> A <sep> B <sep>."""

    type_name = "BertProcessing"

    sep: tuple[str, int]
    cls: tuple[str, int]

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "sep": list(self.sep), "cls": list(self.cls)}


@dataclass(frozen=True)
class RobertaProcessing(PostProcessor):
    """<cls> A <sep>, or <cls> A <sep> <sep> B <sep>."""

    type_name = "RobertaProcessing"

    sep: tuple[str, int]
    cls: tuple[str, int]
    trim_offsets: bool = True
    add_prefix_space: bool = True

    def content(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            "sep": list(self.sep),
            "cls": list(self.cls),
            "trim_offsets": self.trim_offsets,
            "add_prefix_space": self.add_prefix_space,
        }


@dataclass(frozen=True)
class TemplatePiece:
    """An item of a template: a sequence "A" or "B", or a special token, with the type id of its tokens."""

    kind: Literal["Sequence", "SpecialToken"]
    name: str
    type_id: int = 0

    def content(self) -> dict[str, Any]:
        return {self.kind: {"id": self.name, "type_id": self.type_id}}


@dataclass(frozen=True)
class TemplateToken:
    """The ids and tokens of a special token of a template."""

    name: str
    ids: Ids
    tokens: tuple[str, ...]

    def content(self) -> dict[str, Any]:
        return {"id": self.name, "ids": list(self.ids), "tokens": list(self.tokens)}


@dataclass(frozen=True)
class TemplateProcessing(PostProcessor):
    """Puts special tokens around and between texts. `tokens` has the special tokens by name.

    Raises ValueError if `pair` does not use both sequences, or a special token is not among `tokens`.
    """

    type_name = "TemplateProcessing"

    single: tuple[TemplatePiece, ...]
    pair: tuple[TemplatePiece, ...]
    tokens: Mapping[str, TemplateToken] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not {"A", "B"} <= {piece.name for piece in self.pair if piece.kind == "Sequence"}:
            raise ValueError("Template for `pair` must use both sequences")
        named = dict.fromkeys(piece.name for piece in (*self.single, *self.pair) if piece.kind == "SpecialToken")
        missing = [name for name in named if name not in self.tokens]
        if missing:
            raise ValueError(f"Missing SpecialToken(s) with id(s) `{', '.join(missing)}`")

    def content(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            "single": [piece.content() for piece in self.single],
            "pair": [piece.content() for piece in self.pair],
            "special_tokens": {name: self.tokens[name].content() for name in sorted(self.tokens)},
        }


@dataclass(frozen=True)
class ProcessorSequence(PostProcessor):
    """Post-processors, one after the other."""

    type_name = "Sequence"

    parts: tuple[PostProcessor, ...]

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "processors": [part.content() for part in self.parts]}


def _token_and_id(entries: Entries, key: str) -> tuple[str, int]:
    pair = entries.list(key)
    if len(pair) != 2 or not isinstance(pair[0], str) or not is_unsigned(pair[1]):
        raise ValueError(f"{entries.name}: {key} must be a token and its id, got {pair!r:.80}")
    return pair[0], pair[1]


def _cls_and_sep(entries: Entries) -> PostProcessor:
    # tokenizers distinguishes the two by these options, and ignores the type
    sep, cls = _token_and_id(entries, "sep"), _token_and_id(entries, "cls")
    flags = [entries.content.get(name) for name in ("trim_offsets", "add_prefix_space")]
    if all(isinstance(flag, bool) for flag in flags):
        return RobertaProcessing(sep, cls, *map(bool, flags))
    return BertProcessing(sep, cls)


def _piece(content: Any, name: str) -> TemplatePiece:
    if not isinstance(content, dict) or len(content) != 1:
        raise ValueError(f"{name}: {content!r:.80} is not a piece of a template")
    ((kind, inner),) = content.items()
    entries = Entries(inner, name)
    piece = TemplatePiece(kind, entries.string("id"), entries.unsigned("type_id"))
    if kind not in ("Sequence", "SpecialToken") or (kind == "Sequence" and piece.name not in ("A", "B")):
        raise ValueError(f"{name}: {content!r:.80} is not a piece of a template")
    return piece


def _template_token(content: Any, name: str) -> TemplateToken:
    entries = Entries(content, f"{name}, special token")
    ids, tokens = entries.list("ids"), entries.list("tokens")
    if not all(map(is_unsigned, ids)) or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"{entries.name} {content!r:.80} is malformed")
    if len(ids) != len(tokens):
        raise ValueError("SpecialToken: ids and tokens must be of the same length")
    return TemplateToken(entries.string("id"), tuple(ids), tuple(tokens))


def _template(entries: Entries) -> PostProcessor:
    special = Entries(entries.value("special_tokens"), f"{entries.name}, special_tokens").content
    single, pair = (
        tuple(_piece(item, f"{entries.name}, {key}") for item in entries.list(key)) for key in ("single", "pair")
    )
    return TemplateProcessing(
        single, pair, {name: _template_token(token, entries.name) for name, token in special.items()}
    )


def _byte_level(entries: Entries) -> PostProcessor:
    return ByteLevelProcessor(*ByteLevelProcessor.options_of(entries))


def _sequence(entries: Entries) -> PostProcessor:
    return ProcessorSequence(tuple(parse_post_processor(part) for part in entries.list("processors")))


_PARSERS: dict[str, Callable[[Entries], PostProcessor]] = {
    "ByteLevel": _byte_level,
    "BertProcessing": _cls_and_sep,
    "RobertaProcessing": _cls_and_sep,
    "TemplateProcessing": _template,
    "Sequence": _sequence,
}
parse_post_processor: Parser[PostProcessor] = Parser(
    "post_processor",
    "processors",
    _PARSERS,
    (),
    {
        "RobertaProcessing": frozenset({"sep", "cls"}),
        "TemplateProcessing": frozenset({"single", "pair", "special_tokens"}),
    },
)


def added_ids(processor: PostProcessor | None) -> tuple[Ids, Ids]:
    """The ids that a post-processor puts before and after one text.

    Raises:
        UnsupportedComponentError: If the result is not the text with ids before and after it.
    """
    begin: Ids = ()
    end: Ids = ()
    is_one_piece = True
    for step in _steps(processor):
        if isinstance(step, ByteLevelProcessor):
            continue
        if not is_one_piece:
            raise UnsupportedComponentError(f"post_processor {step.type_name} after a TemplateProcessing")
        if isinstance(step, TemplateProcessing):
            before, after = _around_single(step)
            is_one_piece = len(step.single) == 1
        else:
            assert isinstance(step, BertProcessing | RobertaProcessing)
            before, after = (step.cls[1],), (step.sep[1],)
        begin, end = (*before, *begin), (*end, *after)
    return begin, end


def _steps(processor: PostProcessor | None) -> list[PostProcessor]:
    if processor is None:
        return []
    if isinstance(processor, ProcessorSequence):
        return [step for part in processor.parts for step in _steps(part)]
    return [processor]


def _around_single(step: TemplateProcessing) -> tuple[Ids, Ids]:
    names = [piece.name if piece.kind == "Sequence" else None for piece in step.single]
    if [name for name in names if name is not None] != ["A"]:
        raise UnsupportedComponentError("processors.TemplateProcessing without the sequence A exactly once in single")
    at = names.index("A")
    before, after = (
        tuple(id_ for piece in pieces for id_ in step.tokens[piece.name].ids)
        for pieces in (step.single[:at], step.single[at + 1 :])
    )
    return before, after
