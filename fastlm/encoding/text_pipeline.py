"""From a text as given to what is encoded: added tokens found, the rest normalized, blanks put before it.

Most vocabularies need nothing but a search for added tokens, which the native core does itself. The others go through
here, in the order of Hugging Face's `tokenizers`: added tokens that are not normalized are found in the text as given;
each stretch between them is normalized; in what results the other added tokens are found; and what is left may get a
blank before it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import numpy as np

from fastlm.pretokenize import _scan
from fastlm.text._added_tokens import SpecialFinder
from fastlm.text._utf8 import utf8_bytes
from fastlm.text.normalization import aligned_nfc, is_nfc, nfc
from fastlm.vocabulary.vocabulary import AddedToken, Vocabulary

if TYPE_CHECKING:
    import regex

    from fastlm.pretokenize.cutting import Cuts

# what tokenizers' regular expressions take for white space
_WHITESPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


Split: TypeAlias = tuple[int, int, int | None]
"""Start and end in a text, and the id of the added token that stands there, or None."""


class Piece(NamedTuple):
    """A stretch of a text: an added token with its id, or what is to be encoded of it.

    text: what the stretch became. origins: for each character of `text`, which one of the given text it comes from.
    """

    text: str
    id: int | None
    origins: Sequence[int]


class _Search:
    """Where added tokens stand in a text, with what they say of words and white space about them."""

    def __init__(self, tokens: Mapping[str, AddedToken]) -> None:
        self.tokens = list(tokens.values())
        self.finder = SpecialFinder([content.encode() for content in tokens])

    def split(self, text: str, recognised: frozenset[int]) -> Iterator[Split]:
        """Each added token and each stretch between them."""
        done = 0
        for start, end, token in self._found(text):
            if token.id not in recognised or (token.single_word and _is_within_word(text, start, end)):
                continue
            if token.lstrip:
                start = max(done, len(text[:start].rstrip(_WHITESPACE)))
            if token.rstrip:
                end = len(text) - len(text[end:].lstrip(_WHITESPACE))
            if done < start:
                yield done, start, None
            yield start, end, token.id
            done = end
        if done < len(text):
            yield done, len(text), None

    def _found(self, text: str) -> Iterator[tuple[int, int, AddedToken]]:
        if not self.tokens:
            return
        encoded = text.encode()
        at = characters = 0
        for start, end, index in self.finder.find(encoded).tolist():
            characters += len(encoded[at:start].decode())
            token = self.tokens[index]
            length = len(encoded[start:end].decode())
            yield characters, characters + length, token
            characters += length
            at = end


class Preparation:
    """How the texts of one vocabulary are prepared. Immutable."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        rules, tokens = vocabulary.rules, vocabulary.added_tokens
        self.normalizes = rules.normalization is not None
        self.prefix = " " if rules.add_prefix_space else ""
        self.all = SpecialFinder([token.content.encode() for token in tokens], [token.id for token in tokens])
        self.recognised = frozenset(token.id for token in tokens)
        as_given = [token for token in tokens if not token.normalized]
        normalized = [token for token in tokens if token.normalized]
        self._as_given = _Search({token.content: token for token in as_given})
        self._any = _Search({token.content: token for token in tokens})
        spell = nfc if self.normalizes else str
        self._normalized = _Search({spell(token.content): token for token in normalized})
        stripping = any(token.single_word or token.lstrip or token.rstrip for token in tokens)
        # one search for all tokens finds what two do where none of one kind can overlap one of the other
        one_search = not normalized or (not self.normalizes and not _overlap(as_given, normalized))
        self.needs_whole_text = stripping or bool(self.prefix) or not one_search
        """Whether what becomes of a part of a text depends on more of it than pretokens do."""
        self.is_plain = not self.normalizes and not self.needs_whole_text
        """Whether a text is encoded as it is, cut only where added tokens stand."""

    def prepare(self, text: str | bytes, added_tokens: bool = True) -> tuple[str | bytes, Cuts]:
        """The text to encode and what cuts it; without `added_tokens` none of these is recognised.

        Raises TypeError for what is neither str nor bytes, ValueError for bytes that are not UTF-8.
        """
        cuts = self.all if added_tokens else None
        if self.is_plain:
            return text, cuts
        decoded = text_of(text)
        if not self.needs_whole_text and is_nfc(decoded):
            return text, cuts
        return _joined(self.pieces(decoded, self.recognised if added_tokens else frozenset()))

    def prepare_recognised(self, text: str | bytes, recognised: frozenset[int]) -> tuple[bytes, Cuts]:
        """The same, with only those added tokens recognised that have these ids."""
        return _joined(self.pieces(text_of(text), recognised))

    def prepare_parts(self, parts: Iterable[tuple[str | bytes, bool]]) -> tuple[bytes, Cuts]:
        """The text that parts make together and what cuts it; added tokens count only within one trusted part."""
        texts: list[str] = []
        splits: list[Split] = []
        size = 0
        for text, trusted in parts:
            decoded = text_of(text)
            for start, end, id in self._any.split(decoded, self.recognised if trusted else frozenset()):
                if id is None and splits and splits[-1][2] is None:
                    splits[-1] = splits[-1][0], size + end, None
                else:
                    splits.append((size + start, size + end, id))
            texts.append(decoded)
            size += len(decoded)
        return _joined(self._pieces("".join(texts), splits, frozenset()))

    def refuse_added_tokens(self, text: str | bytes) -> None:
        """Raises ValueError where an added token stands in a text."""
        encoded = utf8_bytes(text)
        for start, end, _ in self.all.find(encoded)[:1].tolist():
            raise ValueError(f"the text holds the special token {encoded[start:end].decode()!r} at byte {start}")

    def pieces(self, text: str, recognised: frozenset[int]) -> Iterator[Piece]:
        """The pieces of a text without lone surrogates, in order; only added tokens with a `recognised` id are taken.

        As tokenizers does it, others still hide what they overlap.
        """
        return self._pieces(text, self._as_given.split(text, recognised), recognised)

    def _pieces(self, text: str, splits: Iterable[Split], recognised: frozenset[int]) -> Iterator[Piece]:
        for start, end, id in splits:
            stretch = text[start:end]
            if id is not None:
                yield Piece(stretch, id, range(start, end))
                continue
            normalized, origins = stretch, cast(Sequence[int], range(start, end))
            if self.normalizes and not is_nfc(stretch):
                normalized, relative = aligned_nfc(stretch)
                origins = [start + k for k in relative]
            for a, b, inner_id in self._normalized.split(normalized, recognised):
                piece = Piece(normalized[a:b], inner_id, origins[a:b])
                if inner_id is None and self.prefix and not piece.text.startswith(self.prefix):
                    piece = Piece(self.prefix + piece.text, None, [piece.origins[0], *piece.origins])
                yield piece


def _joined(pieces: Iterable[Piece]) -> tuple[bytes, Cuts]:
    parts: list[bytes] = []
    rows: list[tuple[int, int, int]] = []
    size = 0
    for piece in pieces:
        part = piece.text.encode()
        parts.append(part)
        if piece.id is not None:
            rows.append((size, size + len(part), piece.id))
        size += len(part)
    return b"".join(parts), np.array(rows, np.int64).reshape(-1, 3)


def text_of(text: str | bytes) -> str:
    """The text that is encoded: lone surrogates as U+FFFD. Raises as `Preparation.prepare`."""
    if type(text) is str and text.isascii():
        return text
    encoded = utf8_bytes(text)
    try:
        return encoded.decode()
    except UnicodeDecodeError as error:
        raise _scan.invalid_utf8(encoded, error.start) from None


def _is_within_word(text: str, start: int, end: int) -> bool:
    is_word = _word_character().match
    return bool((start and is_word(text[start - 1])) or (end < len(text) and is_word(text[end])))


@functools.cache
def _word_character() -> regex.Pattern[str]:
    import regex

    return regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]")


def _overlap(first: list[AddedToken], second: list[AddedToken]) -> bool:
    """Whether a token of one list can share a character of a text with one of the other."""
    one, other = [token.content for token in first], [token.content for token in second]
    return any(_ends_as_begins(a, b) or _contains(a, b) for a, b in ((one, other), (other, one)))


def _ends_as_begins(first: list[str], second: list[str]) -> bool:
    beginnings = {content[:k] for content in second for k in range(1, len(content) + 1)}
    return any(content[k:] in beginnings for content in first for k in range(len(content)))


def _contains(first: list[str], second: list[str]) -> bool:
    finder = SpecialFinder([content.encode() for content in second])
    return any(len(finder.find(content.encode())) for content in first) if second else False
