"""Encoding: the tokens of a text with their strings, offsets and words.

It is a sequence of token spans. Copying, cutting and joining encodings only rearranges the spans.
"""

from __future__ import annotations

import bisect
import itertools
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastlm._types import Int64Array
from fastlm.compat.tokenizers.arguments import boolean, is_instance, known_options, sequence, string, unsigned
from fastlm.compat.tokenizers.component import to_json
from fastlm.compat.tokenizers.spans import ConstantColumns, Offsets, Shift, StoredColumns, TokenSpan, Trim
from fastlm.forks import cached_property
from fastlm.formats.tokenizer_json.lengths import Direction

Ranges = Mapping[int, range]
"""Number of a text -> its tokens. Replaced, never changed, as are the overflowing encodings."""

_NO_RANGES: Ranges = {}
_FIELDS = ("_length", "_overflowing", "_places", "_ranges", "_spans")


class Places:
    """Where the tokens of some spans are. The offsets and word numbers of all are computed when first needed."""

    def __init__(self, spans: tuple[TokenSpan, ...]) -> None:
        self.spans = spans
        self.starts = list(itertools.accumulate([len(span.ids) for span in spans[:-1]], initial=0))
        """The index of the first token of each span."""

    @cached_property
    def offsets(self) -> Int64Array:
        """int64 (n, 2): start and end of each token."""
        pairs = [offsets for span in self.spans for offsets in span.offsets()]
        return np.array(pairs, np.int64).reshape(-1, 2)

    @cached_property
    def words(self) -> Int64Array:
        """int64 (n,): the number of the word of each token, -1 where it has none."""
        words = [-1 if word is None else word for span in self.spans for word in span.words()]
        return np.array(words, np.int64)


class Fields(NamedTuple):
    """What an encoding consists of, but for what truncation cut off."""

    spans: tuple[TokenSpan, ...]
    ranges: Ranges


class Batch(Protocol):
    """Encodings that have no fields of their own yet. k is the number of an encoding."""

    def fields(self, k: int) -> Fields: ...
    def ids(self, k: int) -> list[int]: ...
    def marks(self, k: int, name: str) -> list[Any]: ...
    def tokens(self, k: int) -> list[str]: ...
    def offsets(self, k: int) -> list[Offsets]: ...
    def word_ids(self, k: int) -> list[int | None]: ...


class Encoding:
    """The result of encoding a text. Each list is made when it is read; changing one does not change the encoding.

    An encoding of a batch reads its lists from the batch. It makes its fields when a method needs them.
    """

    __slots__ = ("_batch", "_number", *_FIELDS)

    _batch: Batch | None
    _number: int
    _length: int
    _spans: tuple[TokenSpan, ...]
    _ranges: Ranges
    _overflowing: tuple[Encoding, ...]
    _places: Places | None

    def __init__(self) -> None:
        self._batch = None
        self._spans = ()
        self._ranges = _NO_RANGES
        self._overflowing = ()
        self._length = 0
        self._places = None

    @classmethod
    def of(
        cls, spans: tuple[TokenSpan, ...], ranges: Ranges | None = None, overflowing: tuple[Encoding, ...] = ()
    ) -> Encoding:
        encoding = cls.__new__(cls)
        encoding._batch = None
        encoding._spans = spans
        encoding._ranges = ranges or _NO_RANGES
        encoding._overflowing = overflowing
        encoding._places = None
        encoding._length = len(spans[0].ids) if len(spans) == 1 else sum([len(span.ids) for span in spans])
        return encoding

    def __getattr__(self, name: str) -> Any:
        """Called for a field that is not set: makes the fields of an encoding of a batch."""
        batch = self._batch if name in _FIELDS else None
        if batch is not None:
            self._take(Encoding.of(*batch.fields(self._number)))
        return object.__getattribute__(self, name)

    def _take(self, other: Encoding) -> None:
        """Takes the fields of another encoding."""
        for name in _FIELDS:
            setattr(self, name, getattr(other, name))
        # last, because another thread may read the encoding
        self._batch = None

    def copy(self) -> Encoding:
        """A copy. Changes to it do not change this encoding."""
        return Encoding.of(self._spans, self._ranges, tuple([encoding.copy() for encoding in self._overflowing]))

    def __len__(self) -> int:
        return self._length

    @property
    def ids(self) -> list[int]:
        """The id of each token."""
        batch = self._batch
        if batch is not None:
            return batch.ids(self._number)
        spans = self._spans
        if len(spans) == 1:
            return spans[0].ids.tolist()  # type: ignore[no-any-return]
        return [token_id for span in spans for token_id in span.ids.tolist()]

    @property
    def type_ids(self) -> list[int]:
        """For each token, the type id that the template gives its text."""
        batch = self._batch
        if batch is not None:
            return batch.marks(self._number, "type_ids")
        return [value for span in self._spans for value in [span.type_id] * len(span.ids)]

    @property
    def tokens(self) -> list[str]:
        """Each token as a string."""
        batch = self._batch
        if batch is not None:
            return batch.tokens(self._number)
        return [token for span in self._spans for token in span.tokens()]

    @property
    def offsets(self) -> list[Offsets]:
        """Start and end of each token in its text, in characters."""
        batch = self._batch
        if batch is not None:
            return batch.offsets(self._number)
        return [offsets for span in self._spans for offsets in span.offsets()]

    @property
    def word_ids(self) -> list[int | None]:
        """For each token, the number of its pretoken, or with is_pretokenized of its word; None for others."""
        batch = self._batch
        if batch is not None:
            return batch.word_ids(self._number)
        return [word for span in self._spans for word in span.words()]

    @property
    def words(self) -> list[int | None]:
        """Deprecated, as in tokenizers: `word_ids`."""
        message = "Deprecated in 0.9.4: Encoding.words is deprecated, please use Encoding.word_ids instead."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.word_ids

    @property
    def special_tokens_mask(self) -> list[int]:
        """1 for each token that a post-processor or padding added, else 0."""
        batch = self._batch
        if batch is not None:
            return batch.marks(self._number, "special_tokens_mask")
        return [value for span in self._spans for value in [span.special] * len(span.ids)]

    @property
    def attention_mask(self) -> list[int]:
        """0 for padding, else 1."""
        batch = self._batch
        if batch is not None:
            return batch.marks(self._number, "attention_mask")
        return [value for span in self._spans for value in [span.attention] * len(span.ids)]

    @property
    def overflowing(self) -> list[Encoding]:
        """The tokens that truncation cut off, in encodings of the same length."""
        return [encoding.copy() for encoding in self._overflowing]

    @property
    def n_sequences(self) -> int:
        """The number of its texts."""
        return len(self._ranges) or 1

    @property
    def sequence_ids(self) -> list[int | None]:
        """For each token, the number of its text; None for tokens around and between texts."""
        batch = self._batch
        if batch is not None:
            return batch.marks(self._number, "sequence_ids")
        numbers: list[int | None] = [None] * len(self)
        for sequence_id in range(self.n_sequences):
            tokens = self._range(sequence_id)
            numbers[tokens.start : tokens.stop] = [sequence_id] * len(tokens)
        return numbers

    def _range(self, sequence_id: int) -> range:
        return self._ranges.get(sequence_id, range(len(self)))

    def token_to_sequence(self, token_index: int) -> int | None:
        """The number of the text of a token."""
        token_index = unsigned(token_index)
        if token_index > len(self):
            return None
        if not self._ranges:
            return 0
        return next((number for number, tokens in self._ranges.items() if token_index in tokens), None)

    def token_to_chars(self, token_index: int) -> Offsets | None:
        """Start and end of a token in its text."""
        if self.token_to_sequence(token_index) is None or token_index >= len(self):
            return None
        return self._single_token(token_index).offsets()[0]

    def token_to_word(self, token_index: int) -> int | None:
        """The number of the word of a token."""
        if self.token_to_sequence(token_index) is None or token_index >= len(self):
            return None
        return self._single_token(token_index).words()[0]

    def _single_token(self, token_index: int) -> TokenSpan:
        """A token as a span."""
        places = self._all_places()
        k = bisect.bisect_right(places.starts, token_index) - 1
        at = token_index - places.starts[k]
        return self._spans[k].part(at, at + 1)

    def _all_places(self) -> Places:
        """The places of all tokens. They are kept until the encoding changes."""
        places = self._places
        if places is None or places.spans is not self._spans:
            places = self._places = Places(self._spans)
        return places

    def word_to_tokens(self, word_index: int, sequence_index: int = 0) -> Offsets | None:
        """The first token of a word and the one after its last."""
        word, tokens = unsigned(word_index, 32), self._range(unsigned(sequence_index))
        numbers = self._all_places().words[tokens.start : tokens.stop]
        later = np.flatnonzero(numbers > word)
        found = np.flatnonzero(numbers[: later[0] if len(later) else None] == word)
        return (tokens.start + int(found[0]), tokens.start + int(found[-1]) + 1) if len(found) else None

    def word_to_chars(self, word_index: int, sequence_index: int = 0) -> Offsets | None:
        """Start and end of a word in its text."""
        tokens = self.word_to_tokens(word_index, sequence_index)
        if tokens is None:
            return None
        return self._single_token(tokens[0]).offsets()[0][0], self._single_token(tokens[1] - 1).offsets()[0][1]

    def char_to_token(self, char_pos: int, sequence_index: int = 0) -> int | None:
        """The first token with a character of a text."""
        char_pos, tokens = unsigned(char_pos), self._range(unsigned(sequence_index))
        offsets = self._all_places().offsets[tokens.start : tokens.stop]
        found = np.flatnonzero((offsets[:, 0] <= char_pos) & (char_pos < offsets[:, 1]))
        return tokens.start + int(found[0]) if len(found) else None

    def char_to_word(self, char_pos: int, sequence_index: int = 0) -> int | None:
        """The word of a character of a text."""
        token = self.char_to_token(char_pos, sequence_index)
        return None if token is None else self.token_to_word(token)

    def set_sequence_id(self, sequence_id: int) -> None:
        """Sets the number of the text of all tokens."""
        self._ranges = {**self._ranges, unsigned(sequence_id): range(self._length)}

    def set_type_ids(self, type_id: int) -> None:
        self._spans = tuple([span._replace(type_id=type_id) for span in self._spans])

    def trim(self, add_prefix_space: bool) -> None:
        """Leaves whitespace out of the offsets."""
        spans, at = [], 0
        for span in self._spans:
            spans.append(span._replace(steps=(*span.steps, Trim(add_prefix_space, at == 0))))
            at += len(span.ids)
        self._spans = tuple(spans)

    def own_overflowing(self) -> tuple[Encoding, ...]:
        """The overflowing encodings themselves, not copies."""
        return self._overflowing

    def framed(self, before: TokenSpan, after: TokenSpan, sequence_id: int) -> Encoding:
        """This encoding with special tokens before and after it, and so its overflowing encodings."""
        inner = tuple([span._replace(special=0, attention=1) for span in self._spans])
        ranges = {sequence_id: range(len(before.ids), len(before.ids) + len(self))}
        overflowing = [encoding.framed(before, after, sequence_id) for encoding in self._overflowing]
        for encoding in overflowing:
            # as in tokenizers, their own overflow is dropped
            encoding._overflowing = ()
        spans = tuple([span for span in (before, *inner, after) if len(span.ids)])
        return Encoding.of(spans, ranges, tuple(overflowing))

    def fields(self) -> Fields:
        """The token spans, and number of a text -> its tokens."""
        return Fields(self._spans, self._ranges)

    def pad(self, length: int, **options: Any) -> None:
        """Pads to a length; options: direction, pad_id, pad_type_id, pad_token."""
        options = known_options(options, "direction", "pad_id", "pad_type_id", "pad_token")
        direction = padding_direction(options.get("direction", "right"))
        token = string(options.get("pad_token", "[PAD]"))
        ids = [unsigned(options.get(name, 0), 32) for name in ("pad_id", "pad_type_id")]
        self.pad_to(unsigned(length), direction, ids[0], ids[1], token)

    def pad_to(self, length: int, direction: Direction, pad_id: int, pad_type_id: int, pad_token: str) -> None:
        for encoding in self._overflowing:
            encoding.pad_to(length, direction, pad_id, pad_type_id, pad_token)
        missing = length - len(self)
        if missing <= 0:
            return
        padding = TokenSpan(np.full(missing, pad_id, np.uint32), ConstantColumns(pad_token), 0, pad_type_id, 1, 0)
        if direction == "left":
            self._spans = (padding, *self._spans)
            self._ranges = _moved(self._ranges, missing)
        else:
            self._spans = (*self._spans, padding)
        self._length = length

    def truncate(self, max_length: int, stride: int = 0, direction: str = "right") -> None:
        """Cuts to a length. The rest goes to `overflowing`, in pieces that share `stride` tokens.

        Raises ValueError where stride is not smaller than max_length.
        """
        if direction not in ("left", "right"):
            raise ValueError(f"Invalid truncation direction value : {direction}")
        self.truncate_to(unsigned(max_length), unsigned(stride), direction)  # type: ignore[arg-type]

    def truncate_to(self, max_length: int, stride: int, direction: Direction) -> None:
        size = len(self)
        if max_length >= size:
            return
        if max_length == 0:
            self._overflowing = (Encoding.of(self._spans, self._ranges, self._overflowing),)
            self._spans, self._ranges, self._length = (), _NO_RANGES, 0
            return
        if stride >= max_length:
            raise ValueError(f"stride must be less than the length, {max_length} without special tokens, not {stride}")
        step = max_length - stride
        if direction == "right":
            parts = [(start, min(start + max_length, size)) for start in range(0, size, step)]
            last = next(k for k, (_, stop) in enumerate(parts) if stop == size)
        else:
            parts = [(max(stop - max_length, 0), stop) for stop in range(size, 0, -step)]
            last = next(k for k, (start, _) in enumerate(parts) if start == 0)
        first, *rest = [Encoding.of(self._part(start, stop)) for start, stop in parts[: last + 1]]
        self._spans, self._ranges, self._length = first._spans, _NO_RANGES, max_length
        self._overflowing = tuple(rest)

    def _part(self, start: int, stop: int) -> tuple[TokenSpan, ...]:
        spans, at = [], 0
        for span in self._spans:
            low, high = max(start - at, 0), min(stop - at, len(span.ids))
            if low < high:
                spans.append(span if high - low == len(span.ids) else span.part(low, high))
            at += len(span.ids)
        return tuple(spans)

    def append(self, other: Encoding, growing_offsets: bool = False) -> None:
        """Appends another encoding. Each overflowing encoding is paired with all of the other."""
        overflowing = []
        for mine in self._overflowing:
            for theirs in (other, *other._overflowing):
                overflowing.append(mine.copy())
                overflowing[-1].append(theirs, growing_offsets)
        for theirs in other._overflowing:
            overflowing.append(self.copy())
            overflowing[-1].append(theirs, growing_offsets)
        spans = other._spans
        if growing_offsets and self._spans:
            offsets = self._spans[-1].offsets() if len(self._spans[-1].ids) else self.offsets
            if offsets and offsets[-1][1]:
                shift = Shift(offsets[-1][1])
                spans = tuple([span._replace(steps=(*span.steps, shift)) for span in spans])
        if other._ranges:
            self._ranges = {**self._ranges, **_moved(other._ranges, self._length)}
        self._spans = self._spans + spans
        self._length += other._length
        self._overflowing = tuple(overflowing)

    @staticmethod
    def merge(encodings: list[Encoding], growing_offsets: bool = True) -> Encoding:
        """Joins encodings. With growing_offsets the offsets are as if their texts were one text."""
        growing = boolean(growing_offsets)
        given = list(sequence(encodings))
        for encoding in given:
            is_instance(encoding, Encoding)
        return joined(given, growing)

    def __getstate__(self) -> bytes:
        return to_json(self._content()).encode()

    def _content(self) -> dict[str, Any]:
        return {
            "ids": self.ids,
            "type_ids": self.type_ids,
            "tokens": self.tokens,
            "words": self.word_ids,
            "offsets": self.offsets,
            "special_tokens_mask": self.special_tokens_mask,
            "attention_mask": self.attention_mask,
            "overflowing": [encoding._content() for encoding in self._overflowing],
            "sequence_ranges": {
                str(number): {"start": tokens.start, "end": tokens.stop} for number, tokens in self._ranges.items()
            },
        }

    def __setstate__(self, state: bytes) -> None:
        self._take(_from_content(json.loads(state)))

    def __reduce__(self) -> Any:
        return Encoding, (), self.__getstate__()

    def __repr__(self) -> str:
        names = "ids, type_ids, tokens, offsets, attention_mask, special_tokens_mask, overflowing"
        return f"Encoding(num_tokens={len(self)}, attributes=[{names}])"


def encodings_of(batch: Batch, count: int) -> list[Encoding]:
    """The encodings of a batch."""
    encodings, new = [], Encoding.__new__
    for k in range(count):
        encoding = new(Encoding)
        encoding._batch, encoding._number = batch, k
        encodings.append(encoding)
    return encodings


def joined(encodings: list[Encoding], growing_offsets: bool = False) -> Encoding:
    """Encodings one after the other, as one. The given ones do not change."""
    whole = Encoding()
    for encoding in encodings:
        whole.append(encoding, growing_offsets)
    return whole


def _moved(ranges: Ranges, by: int) -> Ranges:
    return {number: range(tokens.start + by, tokens.stop + by) for number, tokens in ranges.items()}


def padding_direction(direction: Any) -> Direction:
    """Raises TypeError or ValueError."""
    if string(direction) not in ("left", "right"):
        raise ValueError(f"Unknown `direction`: `{direction}`. Use one of `left` or `right`")
    return direction  # type: ignore[no-any-return]


def _from_content(content: dict[str, Any]) -> Encoding:
    columns = StoredColumns(content["tokens"], [(start, end) for start, end in content["offsets"]], content["words"])
    ids = np.array(content["ids"], np.uint32)
    marks = zip(content["type_ids"], content["special_tokens_mask"], content["attention_mask"], strict=True)
    spans = []
    for mark, positions in _stretches(marks):
        spans.append(TokenSpan(ids[positions.start : positions.stop], columns, positions.start, *mark))
    ranges = {
        int(number): range(tokens["start"], tokens["end"]) for number, tokens in content["sequence_ranges"].items()
    }
    return Encoding.of(tuple(spans), ranges, tuple(map(_from_content, content["overflowing"])))


def _stretches(marks: Iterable[tuple[int, int, int]]) -> Iterator[tuple[tuple[int, int, int], range]]:
    at = 0
    for mark, group in itertools.groupby(marks):
        size = sum(1 for _ in group)
        yield mark, range(at, at + size)
        at += size
