"""Post-processors: what is put around encodings, and what becomes of their offsets."""

from __future__ import annotations

from typing import Any

from fastlm.compat.tokenizers.arguments import boolean, is_instance, sequence, string, unsigned
from fastlm.compat.tokenizers.component import (
    Component,
    FlatSteps,
    Option,
    component_from,
    field,
    shown,
    unsupported,
)
from fastlm.compat.tokenizers.encoding import Encoding, joined
from fastlm.compat.tokenizers.runs import special_run
from fastlm.compat.tokenizers.templates import piece_of, special_token, template


class PostProcessor(Component):
    """What makes the encodings of one or two texts one."""

    def process_encodings(self, encodings: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        """The encodings whose sequence is the result; those given may be changed."""
        raise NotImplementedError(type(self).__name__)

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        """How many tokens are added to a text, or to a pair of them."""
        boolean(is_pair)
        return 0

    def process(self, encoding: Encoding, pair: Encoding | None = None, add_special_tokens: bool = True) -> Encoding:
        """The encoding of one or two texts. Those given stay as they are."""
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
    """Leaves white space out of the offsets, with trim_offsets."""

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
        self.add_prefix_space, self.trim_offsets, self.use_regex = (True if one is None else one for one in given)

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> ByteLevel:
        return cls(*(boolean(field({"use_regex": True, **content}, option)) for option in cls.options))

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

    def __init__(self, sep: tuple[str, int], cls_token: tuple[str, int]) -> None:
        self.sep, self.cls = sep, cls_token

    sep = Option(lambda pair: _token_and_id(pair))
    cls = Option(lambda pair: _token_and_id(pair))

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "sep": list(self.sep), "cls": list(self.cls)}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> PostProcessor:
        return _of_cls_and_sep(content)

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        return 3 if boolean(is_pair) else 2

    def process_encodings(self, encodings: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        if not add_special_tokens:
            return encodings
        (cls, cls_id), (sep, sep_id) = self.cls, self.sep
        return [
            encoding.framed(special_run([cls_id][k:], [cls][k:], 0), special_run([sep_id], [sep], k), k)
            for k, encoding in enumerate(encodings)
        ]


class RobertaProcessing(PostProcessor):
    """<cls> A <sep>, or <cls> A <sep> <sep> B <sep>, all of type 0."""

    type_name = "RobertaProcessing"
    options = ("sep", "cls", "trim_offsets", "add_prefix_space")
    trim_offsets, add_prefix_space = Option(boolean), Option(boolean)

    def __init__(
        self,
        sep: tuple[str, int],
        cls_token: tuple[str, int],
        trim_offsets: bool = True,
        add_prefix_space: bool = True,
        **_: Any,
    ) -> None:
        self.sep, self.cls = sep, cls_token
        self.trim_offsets, self.add_prefix_space = trim_offsets, add_prefix_space

    sep = Option(lambda pair: _token_and_id(pair))
    cls = Option(lambda pair: _token_and_id(pair))

    def content(self) -> dict[str, Any]:
        flags = {"trim_offsets": self.trim_offsets, "add_prefix_space": self.add_prefix_space}
        return {"type": self.type_name, "sep": list(self.sep), "cls": list(self.cls), **flags}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> PostProcessor:
        return _of_cls_and_sep(content)

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
        before, after = (special_run([id], [token], 0) for token, id in ((self.sep if k else self.cls), self.sep))
        for inner in encoding.own_overflowing():
            inner.set_type_ids(0)
        return encoding.framed(before, after, min(k, 1))


class TemplateProcessing(PostProcessor):
    """Puts special tokens around and between texts, as `single` and `pair` say.

    A template is a list, or a str with blanks between, of $A, $B and special tokens, each with ":" and a type id if it
    is not 0. Raises ValueError for a template that is none, or names a token that special_tokens lacks.
    """

    type_name = "TemplateProcessing"

    def __init__(self, single: Any = None, pair: Any = None, special_tokens: Any = None) -> None:
        self._single = template("$0" if single is None else single)
        self._pair = template("$A:0 $B:1" if pair is None else pair)
        given = [special_token(token) for token in ([] if special_tokens is None else sequence(special_tokens))]
        self._special = {token.id: token for token in given}
        self._check()

    def _check(self) -> None:
        if not {"A", "B"} <= {piece.id for piece in self._pair if piece.kind == "Sequence"}:
            raise ValueError("Template for `pair` must use both sequences")
        named = dict.fromkeys(piece.id for piece in (*self._single, *self._pair) if piece.kind == "SpecialToken")
        missing = [name for name in named if name not in self._special]
        if missing:
            raise ValueError(f"Missing SpecialToken(s) with id(s) `{', '.join(missing)}`")

    @property
    def single(self) -> str:
        """The template of one text, as a description."""
        names = [piece.id if piece.kind == "Sequence" else shown(piece.id) for piece in self._single]
        pieces = zip(self._single, names, strict=True)
        listed = [f"{piece.kind} {{ id: {name}, type_id: {piece.type_id} }}" for piece, name in pieces]
        return f"Template([{', '.join(listed)}])"

    @single.setter
    def single(self, single: Any) -> None:
        self._single = template(single)

    def content(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            "single": [piece.content() for piece in self._single],
            "pair": [piece.content() for piece in self._pair],
            "special_tokens": {id: self._special[id].content() for id in sorted(self._special)},
        }

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> TemplateProcessing:
        made = cls()
        try:
            made._single, made._pair = (
                [piece_of(item) for item in field(content, name)] for name in ("single", "pair")
            )
            made._special = {
                name: special_token(token) for name, token in dict(field(content, "special_tokens")).items()
            }
        except (KeyError, AttributeError) as error:
            raise ValueError(f"TemplateProcessing is malformed: {error}") from None
        made._check()
        return made

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        pieces = self._pair if boolean(is_pair) else self._single
        return sum(len(self._special[piece.id].ids) for piece in pieces if piece.kind == "SpecialToken")

    def process_encodings(self, encodings: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        if len(encodings) > 2:
            unsupported("processors.TemplateProcessing after another that adds special tokens")
        result = []
        for kind, id, type_id in self._pair if len(encodings) == 2 else self._single:
            if kind == "SpecialToken":
                if add_special_tokens:
                    token = self._special[id]
                    result.append(Encoding.of((special_run(token.ids, token.tokens, type_id),)))
                continue
            k = 0 if id == "A" else 1
            if k >= len(encodings):
                raise ValueError("the template of one text uses $B")
            encodings[k].set_type_ids(type_id)
            encodings[k].set_sequence_id(k)
            result.append(encodings[k].copy())
        return result

    def shown_fields(self) -> dict[str, Any]:
        special = {id: self._special[id] for id in sorted(self._special)}
        return {"single": self._single, "pair": self._pair, "special_tokens": special}


class Sequence(FlatSteps, PostProcessor):
    """Post-processors, one after the other."""

    _key = "processors"

    def __init__(self, processors: list[PostProcessor]) -> None:
        self._take(processors, PostProcessor)

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Sequence:
        return cls([processor_from(item) for item in field(content, cls._key)])

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        return sum(processor.num_special_tokens_to_add(is_pair) for processor in self._parts)

    def process_encodings(self, encodings: list[Encoding], add_special_tokens: bool) -> list[Encoding]:
        for processor in self._parts:
            encodings = processor.process_encodings(encodings, add_special_tokens)
        return encodings


def default_process(encodings: list[Encoding]) -> Encoding:
    """The encodings as one where there is no post-processor."""
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


def _of_cls_and_sep(content: dict[str, Any]) -> PostProcessor:
    # whatever type it names, tokenizers tells the two apart by these options
    flags = [content[name] for name in ("trim_offsets", "add_prefix_space") if name in content]
    sep, cls = (tuple(sequence(field(content, name))) for name in ("sep", "cls"))
    return RobertaProcessing(sep, cls, *flags) if len(flags) == 2 else BertProcessing(sep, cls)


_KINDS: dict[str, type[Component]] = {
    kind.type_name: kind for kind in (ByteLevel, BertProcessing, RobertaProcessing, TemplateProcessing, Sequence)
}


def processor_from(content: Any) -> PostProcessor:
    """The post-processor that tokenizer.json describes. Raises ValueError or NotImplementedError."""
    made: PostProcessor = component_from(_KINDS, content, "post_processor")
    return made
