"""The steps before encoding: find added tokens, normalize the text, put a space before it.

Most vocabularies need only a search for added tokens, which the encoder does itself. The other vocabularies need the
steps of Hugging Face's `tokenizers`, in its order. Added tokens that are not normalized are found in the text as
given. Each span between them is normalized, and the other added tokens are found in the result. A space may be put
before each span that is left.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from fastlm._types import Int64Array
from fastlm.forks import no_fork
from fastlm.pretokenize import _scan
from fastlm.pretokenize.patterns import Pattern
from fastlm.text._token_finder import TokenFinder
from fastlm.text._utf8 import utf8_bytes
from fastlm.text.added_tokens import AddedTokenSplitter, Split
from fastlm.vocabulary.vocabulary import NO_ID, AddedToken, Vocabulary

if TYPE_CHECKING:
    from fastlm.pretokenize.steps.step_pattern import Pretokens, StepPattern
    from fastlm.pretokenize.text_splitter import Boundaries, CutRule

OnSpecial: TypeAlias = Literal["token", "text", "raise"]
"""Special tokens in a text become their ids; or are text; or raise ValueError. Other added tokens become their ids."""


class Span(NamedTuple):
    """A part of a text: an added token, or text to encode.

    Attributes:
        source: A text that `text` is a part of, so that spans which overlap take no memory for each.
        start: Where `text` starts in `source`.
        stop: Where it ends.
        token_id: The id of the added token, or None.
        origins: For each character of `text`, the index of the character of the given text that it comes from. Empty if
            the text was normalized and origins were not requested.
    """

    source: str
    start: int
    stop: int
    token_id: int | None
    origins: Sequence[int] | Int64Array

    @property
    def text(self) -> str:
        """The text to encode, or the text of the added token."""
        return self.source[self.start : self.stop]


def _checked_part(part: tuple[str | bytes, bool]) -> tuple[str | bytes, bool]:
    try:
        if isinstance(part, str | bytes):
            raise TypeError
        text, trusted = part
    except (TypeError, ValueError):
        raise TypeError(f"a part must be a pair of a text and a bool, got {part!r:.80}") from None
    return text, trusted


class _PendingText:
    """Text since the last added token, which is normalized as one text.

    Attributes:
        texts: The parts of the text.
        position: Where it starts in the text of all parts.
        normalized: The span of the text if it is known: if an added token in the normalized text is before it.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.position = 0
        self.normalized: Span | None = None

    def add(self, text: str, position: int) -> None:
        """Adds text that is at a position of the text of all parts."""
        if text:
            self.position = self.position if self.texts else position
            self.texts.append(text)
            self.normalized = None


class TextPipeline:
    """The steps before encoding of one vocabulary. Immutable.

    Attributes:
        added_tokens: Finds all added tokens.
        added_ids: The ids of all added tokens.
        ordinary_ids: The ids of added tokens that are not special. They are found in every text.
        normalizers: The steps that normalize a text.
        prefix: The text put before each span of text that does not begin with it: a space, or nothing.
        cuts: Where a text may be cut if its normalized parts must be the parts of the normalized text.
        spans_are_local: Whether a text without added tokens can be cut where the splitter allows it.
        needs_whole_text: Whether the result for a part of a text may depend on text outside of its pretokens.
        is_plain: Whether texts are encoded as they are, between added tokens.
        ordinary_are_apart: Whether no special token can overlap an added token that is not special.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        rules, tokens = vocabulary.rules, vocabulary.added_tokens
        self.normalizers = rules.normalizers
        self._functions: Any = _functions_of_normalizers() if self.normalizers else None
        pattern = vocabulary.pattern
        self._step_pattern = _changing_steps(pattern)
        self._known_bytes = vocabulary.byte_ids != NO_ID
        self.prefix = " " if rules.add_prefix_space else ""
        self.added_tokens = TokenFinder([token.content.encode() for token in tokens], [token.id for token in tokens])
        self.added_ids = frozenset(token.id for token in tokens)
        self.ordinary_ids = frozenset(token.id for token in tokens if not token.special)
        special = [token for token in tokens if token.special]
        self._special = TokenFinder([token.content.encode() for token in special])
        as_given = [token for token in tokens if not token.normalized]
        normalized = [token for token in tokens if token.normalized]
        self._as_given = AddedTokenSplitter({token.content: token for token in as_given})
        self._finds_normalized = bool(normalized)
        self._normalized = AddedTokenSplitter({self._normalized_str(token.content): token for token in normalized})
        strips = any(token.single_word or token.lstrip or token.rstrip for token in tokens)
        # one search gives the result of both if no token of one kind can overlap one of the other kind
        are_apart = not normalized or not _can_overlap(as_given, normalized)
        one_search = are_apart and (not normalized or not self.normalizers)
        self._needs_position = pattern.needs_position
        self._is_local = all(step.is_local for step in self.normalizers)
        self.spans_are_local = self._is_local and not self.prefix and not self._needs_position
        self.cuts: CutRule = "anywhere"
        if self.normalizers:
            self.cuts = "before_whitespace" if rules.normalization == "NFC" else "between_words"
        self.needs_whole_text = strips or not one_search or not self.spans_are_local
        # in a text that normalization keeps, one search also finds normalized tokens that it keeps
        keeps_tokens = all(self._normalized_str(token.content) == token.content for token in normalized)
        self._may_keep = self.spans_are_local and are_apart and keeps_tokens and not strips
        self._may_keep &= self._step_pattern is None
        # without other steps, one splitter finds all tokens with their options
        self._only_splitter = None
        if not self.normalizers and not self.prefix and self._step_pattern is None and not self._needs_position:
            self._only_splitter = self._as_given if not normalized else None if as_given else self._normalized
        self.is_plain = not self.normalizers and self._step_pattern is None and not self.needs_whole_text
        ordinary = [token for token in tokens if not token.special]
        self.ordinary_are_apart = not ordinary or not special or not _can_overlap(ordinary, special)

    def prepare(self, text: str | bytes, on_special: OnSpecial = "token") -> tuple[str | bytes, Boundaries]:
        """Prepares a text for the encoder.

        Args:
            text: A str or UTF-8 bytes.
            on_special: How added tokens in the text are handled.

        Returns:
            The text to encode, and its boundaries as Encoder takes them.

        Raises:
            TypeError: The text is neither str nor bytes.
            ValueError: The text is not UTF-8; or has an added token, and `on_special` is "raise"; or `on_special` is
                unknown.
        """
        if on_special == "token" and self.is_plain:
            return text, self.added_tokens
        self.check(text, on_special)
        if self.is_plain:
            return text, self.boundaries(text, on_special)
        if self._may_keep:
            # bytes may not be UTF-8
            is_checked = isinstance(text, str) or (isinstance(text, bytes) and bytes.isascii(text))
            if self.encodes_as_given(text if is_checked else decoded_text(text)):
                return text, self.boundaries(text, on_special)
        return self.prepare_recognised(text, self.recognised(on_special))

    def recognised(self, on_special: OnSpecial) -> frozenset[int]:
        """The ids of the added tokens that become ids."""
        return self.ordinary_ids if on_special == "text" else self.added_ids

    @cached_property
    def tokens_spell_text(self) -> bool:
        """Whether the bytes of the tokens of a text that is encoded as it is are the text."""
        if self._vocabulary.rules.unknown_bytes == "drop":
            return False
        # a tokenizer.json may give an added token the id of a token with other bytes
        bytes_of = self._vocabulary.bytes_of
        return all(bytes_of(token.id) == token.content.encode() for token in self._vocabulary.added_tokens)

    def encodes_as_given(self, text: str | bytes) -> bool:
        """Whether a text of UTF-8 is encoded as it is, between added tokens that one search finds."""
        return self.is_plain or (self._may_keep and self._keeps(text))

    def boundaries(self, text: str | bytes, on_special: OnSpecial) -> Boundaries:
        """The added tokens of a text that is encoded as it is."""
        if on_special == "token":
            return self.added_tokens
        if not self.ordinary_ids:
            return None
        if on_special == "raise":
            return self.added_tokens
        # a special token still hides the tokens that it overlaps
        rows = self.added_tokens.find(utf8_bytes(text))
        return rows[np.isin(rows[:, 2], list(self.ordinary_ids))]

    def prepare_recognised(self, text: str | bytes, recognised: frozenset[int]) -> tuple[bytes, Boundaries]:
        """Like `prepare`, but only added tokens with these ids become ids."""
        decoded = decoded_text(text)
        if self._only_splitter is not None:
            encoded = decoded.encode()
            rows = self._only_splitter.rows(encoded, recognised)
            # a token that reaches over others does not fit the order of boundaries
            if (rows[1:, 0] >= rows[:-1, 1]).all():
                return encoded, rows
        return self._joined(self.spans(decoded, recognised))

    def prepare_parts(self, parts: Iterable[tuple[str | bytes, bool]]) -> tuple[bytes, Boundaries]:
        """Like `prepare`, for the text of all parts together. An added token counts only inside one part, and a special
        one only inside a trusted part."""
        return self._joined(self._spans_of_parts(parts))

    def _spans_of_parts(self, parts: Iterable[tuple[str | bytes, bool]]) -> Iterator[Span]:
        pending, position = _PendingText(), 0
        for text, trusted in map(_checked_part, parts):
            decoded = decoded_text(text)
            recognised = self.added_ids if trusted else self.ordinary_ids
            splits = self._as_given.split(decoded, recognised) if recognised else [(0, len(decoded), None)]
            for start, end, token_id in splits:
                if token_id is None:
                    yield from self._spans_of_untokenized(pending, decoded, start, end, recognised, position)
                else:
                    yield from self._text_spans(pending)
                    yield Span(decoded, start, end, token_id, range(start, end))
            position += len(decoded)
        yield from self._text_spans(pending)

    def _spans_of_untokenized(
        self, pending: _PendingText, text: str, start: int, end: int, recognised: frozenset[int], position: int
    ) -> Iterator[Span]:
        """The spans up to the last added token in the normalized text of a span. The rest becomes pending."""
        found: list[Span] = []
        if recognised and self._finds_normalized:
            found = list(self._unprefixed(text, [(start, end, None)], recognised, with_origins=True))
        tokens = [k for k, span in enumerate(found) if span.token_id is not None]
        if not tokens:
            pending.add(text[start:end], position + start)
            return
        found = [self._moved(span, position) for span in found]
        first, last = tokens[0], tokens[-1]
        if pending.texts:
            pending.add(text[start : found[first].origins[0] - position], position + start)
        else:
            yield from map(self._prefixed, found[:first])
        yield from self._text_spans(pending)
        yield from map(self._prefixed, found[first : last + 1])
        if last + 1 < len(found):
            rest = found[last + 1]
            pending.add(text[rest.origins[0] - position : end], int(rest.origins[0]))
            pending.normalized = self._prefixed(rest)

    def _text_spans(self, pending: _PendingText) -> Iterator[Span]:
        """The span of the pending text, which is not pending any more."""
        text, normalized = "".join(pending.texts), pending.normalized
        pending.texts, pending.normalized = [], None
        if normalized is not None:
            yield normalized
        elif text:
            spans = self._spans(text, [(0, len(text), None)], frozenset(), self._needs_position)
            yield from (self._moved(span, pending.position) for span in spans)

    @staticmethod
    def _moved(span: Span, by: int) -> Span:
        """The span of a text that starts later."""
        if not by or not len(span.origins):
            return span
        return span._replace(origins=np.asarray(span.origins, np.int64) + by)

    def _keeps(self, text: str | bytes) -> bool:
        return not self.normalizers or self._functions.keeps(self.normalizers, text)

    def _normalized_str(self, text: str) -> str:
        normalized: str = self._functions.normalize_str(self.normalizers, text) if self.normalizers else text
        return normalized

    def _normalize(self, text: str, start: int, end: int, with_origins: bool) -> tuple[str, Sequence[int] | Int64Array]:
        """The normalized text of a span, and for each character of it the index of the character that it comes from."""
        given = text[start:end]
        # the other steps look for changes as long as they take to make them
        if not self.normalizers or (self._is_local and self._keeps(given)):
            return given, range(start, end)
        if not with_origins:
            return self._normalized_str(given), ()
        normalized, origins = self._functions.normalize_with_origins(self.normalizers, given.encode())
        origins += start
        return normalized.decode(), origins

    def spans(self, text: str, recognised: frozenset[int], with_origins: bool = False) -> Iterator[Span]:
        """Yields the spans of a text without lone surrogates, in order, and their origins on request.

        Only added tokens with a `recognised` id become ids. Other added tokens still hide the added tokens that they
        overlap, as in tokenizers.
        """
        splits = self._as_given.split(text, recognised)
        return self._spans(text, splits, recognised, with_origins or self._needs_position)

    def _spans(
        self, text: str, splits: Iterable[Split], recognised: frozenset[int], with_origins: bool = False
    ) -> Iterator[Span]:
        return map(self._prefixed, self._unprefixed(text, splits, recognised, with_origins))

    def _prefixed(self, span: Span) -> Span:
        """The span with the prefix, if it is text that does not begin with it."""
        if span.token_id is not None or not self.prefix or span.text.startswith(self.prefix):
            return span
        prefixed = self.prefix + span.text
        return Span(prefixed, 0, len(prefixed), None, [*span.origins[:1], *span.origins])

    def _unprefixed(
        self, text: str, splits: Iterable[Split], recognised: frozenset[int], with_origins: bool = False
    ) -> Iterator[Span]:
        """The spans of a text without the prefix."""
        for start, end, token_id in splits:
            if token_id is not None:
                yield Span(text, start, end, token_id, range(start, end))
                continue
            normalized, origins = self._normalize(text, start, end, with_origins)
            for first, last, inner_id in self._normalized.split(normalized, recognised):
                yield Span(normalized, first, last, inner_id, origins[first:last])

    @property
    def has_steps(self) -> bool:
        """Whether the pattern consists of steps that may change texts, so that `pretokens` finds the pretokens."""
        return self._step_pattern is not None

    def pretokens(self, span: Span, with_origins: bool = False) -> Pretokens | None:
        """The pretokens of a span without an added token, if the pattern changes texts, else None.

        Their origins are indices of characters of the text that the span is part of.
        """
        if self._step_pattern is None:
            return None
        needs_origins = with_origins or self._needs_position
        origins = np.asarray(span.origins, np.int64) if needs_origins else None
        return self._step_pattern.pretokens(span.text, origins, self._known_bytes)

    def _joined(self, spans: Iterable[Span]) -> tuple[bytes, Boundaries]:
        """The text to encode without the text of the added tokens, and the boundaries at their places.

        If the pattern changes texts, there is a boundary after each pretoken, too.
        """
        parts: list[bytes] = []
        # as a text may have an added token every few bytes, each one takes no array
        places, token_ids = array("q"), array("q")
        size = 0
        for span in spans:
            if span.token_id is not None:
                places.append(size)
                token_ids.append(span.token_id)
                continue
            pretokens = self.pretokens(span)
            if pretokens is None:
                parts.append(span.text.encode())
            else:
                parts.append(pretokens.text)
                places.frombytes((size + pretokens.ends).tobytes())
                token_ids.frombytes(np.full(len(pretokens.ends), -1).tobytes())
            size += len(parts[-1])
        rows = np.empty((len(places), 3), np.int64)
        rows[:, 0] = rows[:, 1] = np.frombuffer(places, np.int64)
        rows[:, 2] = np.frombuffer(token_ids, np.int64)
        return b"".join(parts), rows

    def check(self, text: str | bytes, on_special: OnSpecial) -> None:
        """Raises ValueError if `on_special` is unknown, or is "raise" and the text has a special token."""
        if on_special in ("token", "text"):
            return
        if on_special != "raise":
            raise ValueError(f"on_special must be 'token', 'text' or 'raise', got {on_special!r}")
        encoded = utf8_bytes(text)
        for start, end, _ in self._special.find(encoded)[:1].tolist():
            raise ValueError(f"the text has the special token {encoded[start:end].decode()!r} at byte {start}")


def decoded_text(text: str | bytes) -> str:
    """The text as a str in which U+FFFD replaces lone surrogates. Raises TypeError, or ValueError if not UTF-8."""
    if type(text) is str and text.isascii():
        return text
    encoded = utf8_bytes(text)
    try:
        return encoded.decode()
    except UnicodeDecodeError as error:
        raise _scan.invalid_utf8(encoded, error.start) from None


def _can_overlap(first: list[AddedToken], second: list[AddedToken]) -> bool:
    """Whether a token of one list can share a character of a text with a token of the other list."""
    contents = [token.content for token in first], [token.content for token in second]
    return any(_ends_as_begins(a, b) or _contains(a, b) for a, b in (contents, contents[::-1]))


def _ends_as_begins(first: list[str], second: list[str]) -> bool:
    beginnings = {content[:k] for content in second for k in range(1, len(content) + 1)}
    return any(content[k:] in beginnings for content in first for k in range(len(content)))


def _contains(first: list[str], second: list[str]) -> bool:
    finder = TokenFinder([content.encode() for content in second])
    return any(len(finder.find(content.encode())) for content in first) if second else False


def _changing_steps(pattern: Pattern) -> StepPattern | None:
    """A pattern that is a sequence of steps and changes the text, or None for others."""
    if type(pattern) is Pattern:
        return None
    with no_fork:
        from fastlm.pretokenize.steps.step_pattern import StepPattern
    return pattern if isinstance(pattern, StepPattern) and pattern.changes_text else None


def _functions_of_normalizers() -> Any:
    """The package that runs normalizers, which most vocabularies do not need."""
    with no_fork:
        from fastlm import normalizers
    return normalizers
