"""Encoding: the tokens of a text, with all that is known of each.

It is made of runs, and copying, cutting and joining encodings only rearranges these.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from fastlm.compat.tokenizers.arguments import boolean, is_instance, known_options, sequence, string, unsigned
from fastlm.compat.tokenizers.component import to_json
from fastlm.compat.tokenizers.runs import Known, Nowhere, Offsets, Run, Shift, Trim

Direction = Literal["left", "right"]
Ranges = Mapping[int, range]
"""Which tokens are of which text. Never changed, only replaced, as are the pieces that overflow."""

_NO_RANGES: Ranges = {}


class Encoding:
    """What a text was encoded to. Lists are made when asked for; changing one changes nothing here."""

    __slots__ = ("_length", "_overflowing", "_ranges", "_runs")

    def __init__(self) -> None:
        self._runs: tuple[Run, ...] = ()
        self._ranges = _NO_RANGES
        self._overflowing: tuple[Encoding, ...] = ()
        self._length = 0

    @classmethod
    def of(
        cls, runs: tuple[Run, ...], ranges: Ranges | None = None, overflowing: tuple[Encoding, ...] = ()
    ) -> Encoding:
        encoding = cls.__new__(cls)
        encoding._runs = runs
        encoding._ranges = ranges or _NO_RANGES
        encoding._overflowing = overflowing
        encoding._length = len(runs[0].ids) if len(runs) == 1 else sum([len(run.ids) for run in runs])
        return encoding

    def copy(self) -> Encoding:
        """One that changes apart from this one."""
        return Encoding.of(self._runs, self._ranges, tuple([encoding.copy() for encoding in self._overflowing]))

    def __len__(self) -> int:
        return self._length

    @property
    def ids(self) -> list[int]:
        """The id of each token."""
        runs = self._runs
        if len(runs) == 1:
            return runs[0].ids.tolist()  # type: ignore[no-any-return]
        return [id for run in runs for id in run.ids.tolist()]

    @property
    def type_ids(self) -> list[int]:
        """For each token, the number that a template gave its sequence."""
        return [value for run in self._runs for value in [run.type_id] * len(run.ids)]

    @property
    def tokens(self) -> list[str]:
        """Each token as a string."""
        return [token for run in self._runs for token in run.tokens()]

    @property
    def offsets(self) -> list[Offsets]:
        """Start and end of each token in its text, in characters."""
        return [offsets for run in self._runs for offsets in run.offsets()]

    @property
    def word_ids(self) -> list[int | None]:
        """The number of the pretoken, or with is_pretokenized of the given word, that each token is of."""
        return [word for run in self._runs for word in run.words()]

    @property
    def words(self) -> list[int | None]:
        """Deprecated, as in tokenizers: `word_ids`."""
        message = "Deprecated in 0.9.4: Encoding.words is deprecated, please use Encoding.word_ids instead."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.word_ids

    @property
    def special_tokens_mask(self) -> list[int]:
        """1 for each token that was put around a text or is padding, else 0."""
        return [value for run in self._runs for value in [run.special] * len(run.ids)]

    @property
    def attention_mask(self) -> list[int]:
        """0 for padding, else 1."""
        return [value for run in self._runs for value in [run.attention] * len(run.ids)]

    @property
    def overflowing(self) -> list[Encoding]:
        """What truncation cut off, in pieces of the same length."""
        return [encoding.copy() for encoding in self._overflowing]

    @property
    def n_sequences(self) -> int:
        """How many texts it is made of."""
        return len(self._ranges) or 1

    @property
    def sequence_ids(self) -> list[int | None]:
        """For each token, which text it is of; None for what was put around or between them."""
        ids: list[int | None] = [None] * len(self)
        for sequence_id in range(self.n_sequences):
            tokens = self._range(sequence_id)
            ids[tokens.start : tokens.stop] = [sequence_id] * len(tokens)
        return ids

    def _range(self, sequence_id: int) -> range:
        return self._ranges.get(sequence_id, range(len(self)))

    def token_to_sequence(self, token_index: int) -> int | None:
        """Which text a token is of."""
        token_index = unsigned(token_index)
        if token_index > len(self):
            return None
        if not self._ranges:
            return 0
        return next((id for id, tokens in self._ranges.items() if token_index in tokens), None)

    def token_to_chars(self, token_index: int) -> Offsets | None:
        """Start and end of a token in its text."""
        if self.token_to_sequence(token_index) is None or token_index >= len(self):
            return None
        return self.offsets[token_index]

    def token_to_word(self, token_index: int) -> int | None:
        """The number of the word that a token is of."""
        if self.token_to_sequence(token_index) is None or token_index >= len(self):
            return None
        return self.word_ids[token_index]

    def word_to_tokens(self, word_index: int, sequence_index: int = 0) -> Offsets | None:
        """The first token of a word and the one after its last."""
        word, tokens = unsigned(word_index, 32), self._range(unsigned(sequence_index))
        found: list[int] = []
        for k, other in enumerate(self.word_ids[tokens.start : tokens.stop]):
            if other is not None and other > word:
                break
            if other == word:
                found.append(tokens.start + k)
        return (found[0], found[-1] + 1) if found else None

    def word_to_chars(self, word_index: int, sequence_index: int = 0) -> Offsets | None:
        """Start and end of a word in its text."""
        tokens = self.word_to_tokens(word_index, sequence_index)
        if tokens is None:
            return None
        offsets = self.offsets
        return offsets[tokens[0]][0], offsets[tokens[1] - 1][1]

    def char_to_token(self, char_pos: int, sequence_index: int = 0) -> int | None:
        """The first token that has a character of a text."""
        char_pos, tokens = unsigned(char_pos), self._range(unsigned(sequence_index))
        for k, (start, end) in enumerate(self.offsets[tokens.start : tokens.stop]):
            if start <= char_pos < end:
                return tokens.start + k
        return None

    def char_to_word(self, char_pos: int, sequence_index: int = 0) -> int | None:
        """The word of a character of a text."""
        token = self.char_to_token(char_pos, sequence_index)
        return None if token is None else self.token_to_word(token)

    def set_sequence_id(self, sequence_id: int) -> None:
        """Says which text all tokens are of."""
        self._ranges = {**self._ranges, unsigned(sequence_id): range(self._length)}

    def set_type_ids(self, type_id: int) -> None:
        self._runs = tuple([run._replace(type_id=type_id) for run in self._runs])

    def trim(self, add_prefix_space: bool) -> None:
        """Leaves white space out of the offsets."""
        runs, at = [], 0
        for run in self._runs:
            runs.append(run._replace(steps=(*run.steps, Trim(add_prefix_space, at == 0))))
            at += len(run.ids)
        self._runs = tuple(runs)

    def own_overflowing(self) -> tuple[Encoding, ...]:
        """The pieces that were cut off, not copied."""
        return self._overflowing

    def framed(self, before: Run, after: Run, sequence_id: int) -> Encoding:
        """With tokens around it that are special, while its own are not; and so what overflowed."""
        inner = tuple([run._replace(special=0, attention=1) for run in self._runs])
        ranges = {sequence_id: range(len(before.ids), len(before.ids) + len(self))}
        overflowing = [encoding.framed(before, after, sequence_id) for encoding in self._overflowing]
        for encoding in overflowing:
            # what overflowed of them is not kept
            encoding._overflowing = ()
        runs = tuple([run for run in (before, *inner, after) if len(run.ids)])
        return Encoding.of(runs, ranges, tuple(overflowing))

    def runs_and_ranges(self) -> tuple[tuple[Run, ...], Ranges]:
        """What it is made of."""
        return self._runs, self._ranges

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
        padding = Run(np.full(missing, pad_id, np.uint32), Nowhere(pad_token), 0, pad_type_id, 1, 0)
        if direction == "left":
            self._runs = (padding, *self._runs)
            self._ranges = _moved(self._ranges, missing)
        else:
            self._runs = (*self._runs, padding)
        self._length = length

    def truncate(self, max_length: int, stride: int = 0, direction: str = "right") -> None:
        """Cuts to a length; what is cut off goes to `overflowing`, in pieces that share `stride` tokens.

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
            self._overflowing = (Encoding.of(self._runs, self._ranges, self._overflowing),)
            self._runs, self._ranges, self._length = (), _NO_RANGES, 0
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
        self._runs, self._ranges, self._length = first._runs, _NO_RANGES, max_length
        self._overflowing = tuple(rest)

    def _part(self, start: int, stop: int) -> tuple[Run, ...]:
        runs, at = [], 0
        for run in self._runs:
            low, high = max(start - at, 0), min(stop - at, len(run.ids))
            if low < high:
                runs.append(run if high - low == len(run.ids) else run.part(low, high))
            at += len(run.ids)
        return tuple(runs)

    def append(self, other: Encoding, growing_offsets: bool = False) -> None:
        """Puts another after this one; what overflowed of each goes with all there is of the other."""
        overflowing = []
        for mine in self._overflowing:
            for theirs in (other, *other._overflowing):
                overflowing.append(mine.copy())
                overflowing[-1].append(theirs, growing_offsets)
        for theirs in other._overflowing:
            overflowing.append(self.copy())
            overflowing[-1].append(theirs, growing_offsets)
        runs = other._runs
        if growing_offsets and self._runs:
            offsets = self._runs[-1].offsets() if len(self._runs[-1].ids) else self.offsets
            if offsets and offsets[-1][1]:
                shift = Shift(offsets[-1][1])
                runs = tuple([run._replace(steps=(*run.steps, shift)) for run in runs])
        if other._ranges:
            self._ranges = {**self._ranges, **_moved(other._ranges, self._length)}
        self._runs = self._runs + runs
        self._length += other._length
        self._overflowing = tuple(overflowing)

    @staticmethod
    def merge(encodings: list[Encoding], growing_offsets: bool = True) -> Encoding:
        """One after the other, as one; growing_offsets: as if their texts were one."""
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
                str(id): {"start": tokens.start, "end": tokens.stop} for id, tokens in self._ranges.items()
            },
        }

    def __setstate__(self, state: bytes) -> None:
        other = _from_content(json.loads(state))
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def __reduce__(self) -> Any:
        return Encoding, (), self.__getstate__()

    def __repr__(self) -> str:
        names = "ids, type_ids, tokens, offsets, attention_mask, special_tokens_mask, overflowing"
        return f"Encoding(num_tokens={len(self)}, attributes=[{names}])"


def joined(encodings: list[Encoding], growing_offsets: bool = False) -> Encoding:
    """Encodings one after the other. They stay as they are."""
    whole = Encoding()
    for encoding in encodings:
        whole.append(encoding, growing_offsets)
    return whole


def _moved(ranges: Ranges, by: int) -> Ranges:
    return {id: range(tokens.start + by, tokens.stop + by) for id, tokens in ranges.items()}


def padding_direction(direction: Any) -> Direction:
    """Raises TypeError or ValueError."""
    if string(direction) not in ("left", "right"):
        raise ValueError(f"Unknown `direction`: `{direction}`. Use one of `left` or `right`")
    return direction  # type: ignore[no-any-return]


def _from_content(content: dict[str, Any]) -> Encoding:
    columns = Known(content["tokens"], [(start, end) for start, end in content["offsets"]], content["words"])
    ids = np.array(content["ids"], np.uint32)
    marks = zip(content["type_ids"], content["special_tokens_mask"], content["attention_mask"], strict=True)
    runs = []
    for mark, positions in _stretches(marks):
        runs.append(Run(ids[positions.start : positions.stop], columns, positions.start, *mark))
    ranges = {int(id): range(tokens["start"], tokens["end"]) for id, tokens in content["sequence_ranges"].items()}
    return Encoding.of(tuple(runs), ranges, tuple(map(_from_content, content["overflowing"])))


def _stretches(marks: Iterable[tuple[int, int, int]]) -> Iterator[tuple[tuple[int, int, int], range]]:
    at = 0
    for mark, group in itertools.groupby(marks):
        size = sum(1 for _ in group)
        yield mark, range(at, at + size)
        at += size
