"""Tokenizer: text to ids and back with one vocabulary."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np

from fastlm._types import Int64Array, UInt16Array, UInt32Array
from fastlm.decoding._decoder import Decoder, as_ids
from fastlm.decoding.stream import DecodeStream
from fastlm.encoding import batches
from fastlm.encoding.build import encoder_of
from fastlm.encoding.offsets import encode_with_spans
from fastlm.encoding.text_pipeline import Preparation
from fastlm.pretokenize.cutting import Cutter, parts_of, utf8_parts
from fastlm.pretokenize.patterns import find_pattern
from fastlm.text._utf8 import Utf8, utf8_bytes
from fastlm.threads import map_in_order, thread_count
from fastlm.vocabulary.truncate import truncated_vocabulary
from fastlm.vocabulary.vocabulary import Merge, Vocabulary, vocabulary_from_tokens

if TYPE_CHECKING:
    from fastlm.encoding._encoder import Encoder
    from fastlm.pretokenize.cutting import Cuts

Text: TypeAlias = str | bytes
Ids: TypeAlias = "Iterable[int] | np.ndarray[Any, np.dtype[np.integer[Any]]]"
Result = TypeVar("Result")
OnSpecial: TypeAlias = Literal["token", "text", "raise"]

# text that encode_iterable gathers before it encodes: the smallest that keeps a call's cost out of sight
STREAM_BYTES = 1 << 16
# threads that share a text get so many parts of it each, so that one slow part does not hold up the end
PARTS = 16


class Tokenizer:
    """A byte-level BPE tokenizer: `vocab` maps ids to bytes, `merges` lists the pairs that merge, first first.

    `special_tokens` that `vocab` lacks get the next free ids; where several start at one place the longest is taken.
    `pattern` is the name or the regular expression of the pre-tokenisation. A tokenizer never changes: any number of
    threads may share it, and it survives pickle, copy, and fork, if no other thread is then within its first encode.

    All that encode take a str or UTF-8 bytes, a lone surrogate in a str counting as U+FFFD, and these options.
    `on_special` says what becomes of special tokens in the text: "token", its id; "text", nothing special, as with
    text from outside; "raise", ValueError. `add_special_tokens` puts those around it that the vocabulary says begin
    and end a text. `num_threads` lets threads share a text, cut where that changes nothing, or many texts; None stands
    for all processors. They raise TypeError for a text of another type, ValueError naming the offset of bytes that are
    not UTF-8 or have no id. A call runs to its end before Ctrl-C is seen.

    Raises ValueError where vocabulary, merges and special tokens do not fit together.

    >>> from fastlm import Tokenizer
    >>> vocab = {i: bytes([i]) for i in range(256)} | {256: b"he", 257: b"llo", 258: b"lo"}
    >>> tokenizer = Tokenizer(vocab, [(b"h", b"e"), (b"l", b"o"), (b"l", b"lo")], ["<|end|>"])
    >>> tokenizer.encode("hello<|end|>")
    [256, 257, 259]
    >>> tokenizer.decode([256, 257, 259])
    'hello<|end|>'
    """

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Iterable[Merge],
        special_tokens: Iterable[str] | None = None,
        pattern: str = "gpt2",
    ) -> None:
        self.vocabulary = vocabulary_from_tokens(vocab, merges, special_tokens or (), find_pattern(pattern))

    @classmethod
    def from_vocabulary(cls, vocabulary: Vocabulary) -> Tokenizer:
        tokenizer = cls.__new__(cls)
        tokenizer.vocabulary = vocabulary
        return tokenizer

    def truncated(self, vocab_size: int) -> Tokenizer:
        """The tokenizer of the first `vocab_size` ids, which is what training to that size gives.

        Raises ValueError where the tokens beyond them are not those of the last merges.
        """
        return Tokenizer.from_vocabulary(truncated_vocabulary(self.vocabulary, vocab_size))

    @classmethod
    def from_files(
        cls,
        vocab: str | os.PathLike[str],
        merges: str | os.PathLike[str],
        special_tokens: Iterable[str] | None = None,
        pattern: str = "gpt2",
    ) -> Tokenizer:
        """A tokenizer from `vocab.json` and `merges.txt` in GPT-2's form.

        Raises OSError for files that cannot be read, ValueError naming file and place for what is malformed.
        """
        from fastlm import formats

        return cls.from_vocabulary(formats.gpt2.read(vocab, merges, special_tokens or (), find_pattern(pattern)))

    @property
    def vocab(self) -> dict[int, bytes]:
        """id -> bytes of every token, special tokens included."""
        return dict(self.vocabulary.tokens)

    @property
    def merges(self) -> list[Merge]:
        """The merges as (left bytes, right bytes), in order of merge rank."""
        return list(self.vocabulary.merges)

    @property
    def special_tokens(self) -> dict[str, int]:
        """special token -> id."""
        return dict(self.vocabulary.special_tokens)

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.vocabulary.tokens)

    @property
    def pattern(self) -> str:
        """Name of the pre-tokenisation pattern, or its regular expression where it has none."""
        return self.vocabulary.pattern.name or self.vocabulary.pattern.regex

    def encode(
        self,
        text: Text,
        *,
        on_special: OnSpecial = "token",
        add_special_tokens: bool = False,
        num_threads: int | None = 1,
    ) -> list[int]:
        """Ids of a text."""
        if num_threads != 1:
            options: Any = {"on_special": on_special, "add_special_tokens": add_special_tokens}
            ids: list[int] = self.encode_to_numpy(text, num_threads=num_threads, **options).tolist()
            return ids
        ids = self._encoder.encode(*self._prepared(text, on_special))
        if add_special_tokens:
            return [*self.vocabulary.rules.begin, *ids, *self.vocabulary.rules.end]
        return ids

    def encode_ordinary(self, text: Text, *, num_threads: int | None = 1) -> list[int]:
        """Ids of a text in which nothing is special."""
        return self.encode(text, on_special="text", num_threads=num_threads)

    def encode_to_numpy(
        self,
        text: Text,
        *,
        on_special: OnSpecial = "token",
        add_special_tokens: bool = False,
        num_threads: int | None = 1,
        dtype: type[np.unsignedinteger[Any]] = np.uint32,
        out: np.ndarray[Any, Any] | None = None,
    ) -> np.ndarray[Any, Any]:
        """Ids of a text as an array of `dtype`, uint16 or uint32, or at the start of `out`, which is then returned cut
        to their number.

        Raises ValueError where the vocabulary's ids do not fit the type, or the ids of the text `out`.
        """
        text, cuts = self._prepared(text, on_special)
        encode = self._encoder.encode_to_numpy
        ids = encode(text, cuts) if num_threads == 1 else self._shared_ids(text, cuts, num_threads)
        if add_special_tokens:
            ids = np.concatenate([self._begin, ids, self._end])
        return batches.delivered(ids, dtype, out, len(self.vocabulary))

    def encode_batch(
        self,
        texts: Sequence[Text],
        num_threads: int | None = None,
        *,
        on_special: OnSpecial = "token",
        add_special_tokens: bool = False,
    ) -> list[list[int]]:
        """Ids of each text, on all processors or so many threads."""
        ids = batches.encoded_lists(self._encoder, *self._all_prepared(texts, on_special), thread_count(num_threads))
        if add_special_tokens:
            begin, end = self.vocabulary.rules.begin, self.vocabulary.rules.end
            return [[*begin, *row, *end] for row in ids]
        return ids

    def encode_batch_flat(
        self,
        texts: Sequence[Text],
        num_threads: int | None = None,
        *,
        on_special: OnSpecial = "token",
        add_special_tokens: bool = False,
    ) -> tuple[UInt32Array, Int64Array]:
        """(ids, offsets), uint32 and int64: the ids of text k are ids[offsets[k]:offsets[k + 1]].

        The fastest way to encode many texts: no Python object is made for a text or an id.
        """

        threads = thread_count(num_threads)
        ids, offsets = batches.encoded(self._encoder, *self._all_prepared(texts, on_special), threads)
        if add_special_tokens:
            return batches.framed(ids, offsets, self.vocabulary.rules.begin, self.vocabulary.rules.end)
        return ids, offsets

    def encode_batch_padded(
        self,
        texts: Sequence[Text],
        num_threads: int | None = None,
        *,
        pad_id: int,
        length: int | None = None,
        side: Literal["right", "left"] = "right",
        on_special: OnSpecial = "token",
        add_special_tokens: bool = False,
    ) -> tuple[UInt32Array, np.ndarray[Any, np.dtype[np.bool_]]]:
        """(ids, mask), both (len(texts), length): shorter rows padded with pad_id at `side`, where the mask is False.

        The length is that of the longest row, or the one given, at which longer rows are cut at that side.
        """
        options: Any = {"on_special": on_special, "add_special_tokens": add_special_tokens}
        return batches.padded(*self.encode_batch_flat(texts, num_threads, **options), pad_id, length, side)

    def encode_parts(self, parts: Iterable[tuple[Text, bool]], *, num_threads: int | None = 1) -> list[int]:
        """Ids of the text that the parts make together, each (text, trusted).

        A special token counts only where it stands within one trusted part: what comes from outside can neither be one
        nor complete one. Where no part holds any, the ids are those of the whole text.
        """
        prepared = self._preparation.prepare_parts(parts)
        return [id for ids in self._shared(*prepared, num_threads, self._encoder.encode) for id in ids]

    def encode_between(
        self,
        text: bytes | memoryview,
        cuts: Int64Array,
        out: UInt16Array | UInt32Array,
        *,
        on_special: OnSpecial = "token",
    ) -> tuple[UInt16Array | UInt32Array, Int64Array]:
        """Ids of UTF-8 that is cut: of each stretch by itself, and between them the ids that the cuts give. And how
        many ids stand before each cut, int64 (k,).

        cuts: int64 (k, 3), start and end in bytes, perhaps the same, and an id, or a negative number where there is to
        be none; in order. out: uint16 or uint32 (m,), of which the ids returned are the beginning; where it has no room
        for them, they are that of a larger array. Special tokens in the stretches count as `on_special` says only where
        `cutter` cannot find them beforehand. Raises ValueError where out's type does not hold the vocabulary's ids.
        """
        if self._preparation.is_plain:
            return self._encoder.encode_between(Utf8(text), cuts, out)
        view, parts, places, start, count = memoryview(text), [], [], 0, 0
        for stop, after, id in [*cuts.tolist(), (len(text), len(text), -1)]:
            if start < stop:
                parts.append(self._encoder.encode_to_numpy(*self._prepared(bytes(view[start:stop]), on_special)))
                count += len(parts[-1])
            places.append(count)
            if id >= 0:
                parts.append(np.array([id], np.uint32))
                count += 1
            start = after
        ids = np.concatenate([np.empty(0, np.uint32), *parts])
        return batches.delivered(ids, out.dtype.type, None, len(self.vocabulary)), np.array(places[:-1], np.int64)

    def encode_upto(self, text: Text, limit: int, *, on_special: OnSpecial = "token") -> list[int]:
        """The first `limit` ids of a text; the rest of it is not encoded. Raises ValueError for a negative limit."""
        if limit < 0:
            raise ValueError(f"limit must not be negative, and is {limit}")
        prepared, cuts = self._prepared(text, on_special)
        return self._encoder.encode_upto(prepared, limit, cuts)

    def encode_with_offsets(
        self,
        text: Text,
        *,
        unit: Literal["character", "byte"] = "character",
        on_special: OnSpecial = "token",
        num_threads: int | None = 1,
    ) -> tuple[UInt32Array, Int64Array]:
        """(ids, spans), uint32 (n,) and int64 (n, 2): the start and end of each token in the text.

        In characters, tokens that share one, because its bytes are several tokens, all have it; in bytes each has its
        own, unless the text was normalized.
        """
        recognised = self._preparation.recognised if self._recognises(text, on_special) else frozenset[int]()

        def encoded(piece: bytes) -> UInt32Array:
            return self._shared_ids(piece, None, num_threads)

        return encode_with_spans(text, self.vocabulary, self._preparation, encoded, recognised, unit)

    def encode_iterable(self, chunks: Iterable[str], *, on_special: OnSpecial = "token") -> Iterator[int]:
        """Ids of the text that the chunks make together, one by one, as they come.

        Memory stays bounded by the longest pretoken. A pattern without a scanner can only be cut at special tokens, so
        there the longest stretch between two is held. Raises TypeError, when iterated, for chunks that are not str.
        """
        if isinstance(chunks, str):
            raise TypeError("chunks must be an iterable of str, not one str")
        cutter = self.cutter if on_special != "text" else self.text_cutter
        parts: list[bytes] = []
        size, wanted = 0, STREAM_BYTES
        for part in utf8_parts(iter(chunks)):
            parts.append(utf8_bytes(part))
            size += len(parts[-1])
            if size < wanted:
                continue
            text = b"".join(parts)
            _, cut = cutter.partial_cuts(text)
            if cut:
                yield from self.encode(text[:cut], on_special=on_special)
            parts, size = [text[cut:]], len(text) - cut
            wanted = max(STREAM_BYTES, 2 * size)
        yield from self.encode(b"".join(parts), on_special=on_special)

    def count(self, text: Text, *, on_special: OnSpecial = "token", num_threads: int | None = 1) -> int:
        """Number of ids of a text, without making them."""
        return sum(self._shared(*self._prepared(text, on_special), num_threads, self._encoder.count))

    def decode(
        self, ids: Ids, errors: str = "replace", *, skip_special_tokens: bool = False, num_threads: int | None = 1
    ) -> str:
        """Text of ids; `errors` says what becomes of bytes that are not UTF-8, as in `bytes.decode`.

        `skip_special_tokens` leaves out those added tokens that are marked as special. Raises KeyError for an id that
        is not in the vocabulary, TypeError for what is no integer.
        """
        if skip_special_tokens:
            known = as_ids(ids)
            ids = known[~np.isin(known, self._special_ids)]
        return self.decode_bytes(ids, num_threads=num_threads).decode("utf-8", errors)

    def decode_bytes(self, ids: Ids, *, num_threads: int | None = 1) -> bytes:
        """The bytes of ids. Raises as `decode`."""
        threads = thread_count(num_threads)
        if threads == 1:
            return self._decoder.decode_bytes(ids)
        known = as_ids(ids)
        parts = np.array_split(known, 4 * threads)
        return b"".join(map_in_order(self._decoder.decode_bytes, parts, threads))

    def decode_batch(self, batch: Sequence[Ids], num_threads: int | None = None, errors: str = "replace") -> list[str]:
        """Text of each sequence of ids, on all processors or so many threads. Raises as `decode`."""
        return batches.mapped(functools.partial(self.decode, errors=errors), batch, thread_count(num_threads))

    def decode_stream(self) -> DecodeStream:
        """A decoder of ids that come one by one; what it yields are whole characters."""
        return DecodeStream(self._decoder)

    def save(self, directory: str | os.PathLike[str], formats: Iterable[str] | None = None) -> list[Path]:
        """Writes the vocabulary and returns the files; each appears whole or not at all.

        formats: names among fastlm.formats.WRITERS. Without them, `tokenizer.fastlm`, and `tokenizer.json`, and
        `vocab.json` with `merges.txt`, where these can hold the vocabulary. Raises OSError where a file cannot be
        written, ValueError for a format that is unknown or cannot hold this vocabulary.
        """
        from fastlm.formats import save

        return save(self.vocabulary, Path(directory), formats)

    def _prepared(self, text: Text, on_special: OnSpecial) -> tuple[Text, Cuts]:
        """What to encode of a text, and what cuts it."""
        return self._preparation.prepare(text, self._recognises(text, on_special))

    def _all_prepared(self, texts: Sequence[Text], on_special: OnSpecial) -> tuple[list[Text], Cuts | list[Cuts]]:
        """The same of many texts; what cuts them is one for all, where that can be."""
        if isinstance(texts, str | bytes):
            raise TypeError(f"expected a sequence of texts, not one {type(texts).__name__}")
        if self._preparation.is_plain and on_special in ("token", "text"):
            return list(texts), self._preparation.all if on_special == "token" else None
        prepared = [self._prepared(text, on_special) for text in texts]
        return [text for text, _ in prepared], [cuts for _, cuts in prepared]

    def _recognises(self, text: Text, on_special: OnSpecial) -> bool:
        """Whether special tokens in a text become ids. Raises ValueError where they must not be there."""
        if on_special == "raise":
            self._preparation.refuse_added_tokens(text)
        elif on_special not in ("token", "text"):
            raise ValueError(f"on_special must be 'token', 'text' or 'raise', not {on_special!r}")
        return on_special == "token"

    def _shared(
        self, text: Text, cuts: Cuts, num_threads: int | None, function: Callable[[Text | Utf8, Cuts], Result]
    ) -> list[Result]:
        """function(text, cuts) of a prepared text, or of parts of it that threads share."""
        threads = thread_count(num_threads)
        if threads == 1:
            return [function(text, cuts)]
        parts, of_parts = parts_of(Utf8(text), cuts, self.vocabulary.pattern, PARTS * threads)
        pairs = zip(parts, of_parts if isinstance(of_parts, list) else itertools.repeat(of_parts), strict=False)
        return list(map_in_order(lambda pair: function(*pair), pairs, threads))

    def _shared_ids(self, text: Text, cuts: Cuts, num_threads: int | None) -> UInt32Array:
        """The ids of a prepared text."""
        threads = thread_count(num_threads)
        if threads > 1:
            parts, of_parts = parts_of(Utf8(text), cuts, self.vocabulary.pattern, PARTS * threads)
            # an error names a place in a part: below it is found again in the whole
            with contextlib.suppress(ValueError):
                return batches.encoded(self._encoder, parts, of_parts, threads)[0]
        return self._encoder.encode_to_numpy(text, cuts)

    @functools.cached_property
    def _special_ids(self) -> Int64Array:
        return np.array([token.id for token in self.vocabulary.added_tokens if token.special], np.int64)

    @functools.cached_property
    def _begin(self) -> UInt32Array:
        return np.array(self.vocabulary.rules.begin, np.uint32)

    @functools.cached_property
    def _end(self) -> UInt32Array:
        return np.array(self.vocabulary.rules.end, np.uint32)

    @functools.cached_property
    def _preparation(self) -> Preparation:
        return Preparation(self.vocabulary)

    @functools.cached_property
    def _encoder(self) -> Encoder:
        return encoder_of(self.vocabulary)

    @functools.cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self.vocabulary.token_bytes, self.vocabulary.token_offsets)

    @functools.cached_property
    def cutter(self) -> Cutter:
        """Where a text that goes on may be cut so that its parts have the ids of the whole."""
        whole, normalizes = self._preparation.needs_whole_text, self._preparation.normalizes
        return Cutter(list(self.vocabulary.special_tokens), self.vocabulary.pattern, whole, normalizes)

    @functools.cached_property
    def text_cutter(self) -> Cutter:
        """The same where nothing is special."""
        return Cutter([], self.vocabulary.pattern, bool(self._preparation.prefix), self._preparation.normalizes)

    def __reduce__(self) -> tuple[Callable[[Vocabulary], Tokenizer], tuple[Vocabulary]]:
        return Tokenizer.from_vocabulary, (self.vocabulary,)

    def __repr__(self) -> str:
        return (
            f"Tokenizer({self.vocab_size} tokens, {len(self.vocabulary.merge_new)} merges, "
            f"{len(self.vocabulary.special_tokens)} special tokens, pattern {self.pattern!r})"
        )


def load(
    path: str | os.PathLike[str],
    *,
    pattern: str | None = None,
    special_tokens: Iterable[str] | Mapping[str, int] | None = None,
) -> Tokenizer:
    """The tokenizer in a file, or in a directory. The content, not the name, says which format a file has.

    A directory is read from `tokenizer.fastlm`, else `tokenizer.json`, else `vocab.json` and `merges.txt`, else the one
    `.tiktoken`, `tekken.json` or `.model` file in it. A rank file (`.tiktoken`) and `vocab.json` with `merges.txt` hold
    no pattern and mark no special tokens: `pattern` must be given, and `special_tokens` may be, with their ids where
    they are not the next ones; of published rank files both are known by the content. Nothing is fetched or cached.

    Raises OSError for what cannot be read, ValueError naming file and place for what is malformed or ambiguous.
    """
    from fastlm import formats

    return Tokenizer.from_vocabulary(formats.load(Path(path), pattern, special_tokens))
