"""Tokenizer: text to token ids and back with one vocabulary."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast, overload

import numpy as np

from fastlm._arguments import instance_of
from fastlm._types import Int64Array, UInt16Array, UInt32Array
from fastlm.decoding._decoder import Decoder, as_ids
from fastlm.decoding.stream import DecodeStream
from fastlm.encoding import batches
from fastlm.encoding.build import encoder_of
from fastlm.encoding.offsets import encode_with_spans
from fastlm.encoding.text_pipeline import OnSpecial as OnSpecial
from fastlm.encoding.text_pipeline import TextPipeline
from fastlm.forks import cached_property
from fastlm.pretokenize.patterns import Expression, PatternLike, PatternName, find_pattern
from fastlm.pretokenize.text_splitter import TextSplitter, join_surrogates, split_into_chunks
from fastlm.text._utf8 import Utf8, utf8_bytes
from fastlm.text.plural import plural
from fastlm.threads import map_in_order, thread_count
from fastlm.vocabulary.token_lookup import TokenLookup
from fastlm.vocabulary.truncate import truncated_vocabulary
from fastlm.vocabulary.vocabulary import Merge, Vocabulary, vocabulary_from_tokens

if TYPE_CHECKING:
    from fastlm.encoding._encoder import Encoder, PlainTexts
    from fastlm.files.remote import Location
    from fastlm.formats import FormatName
    from fastlm.pretokenize.text_splitter import Boundaries

Text: TypeAlias = str | bytes
Ids: TypeAlias = "Iterable[int] | np.ndarray[Any, np.dtype[np.integer[Any]]]"
Result = TypeVar("Result")
Integer = TypeVar("Integer", bound=np.integer[Any])
IdsArray = TypeVar("IdsArray", bound=UInt16Array | UInt32Array)

# bytes of text that encode_iterable collects before it encodes: the fewest for which the cost of a call does not matter
STREAM_BYTES = 1 << 16
# parts of a text for each thread, so that a slow part does not delay the end
PARTS = 16
# a short text is encoded in half a microsecond, so a look-up in a module counts
_UINT32 = np.uint32


class Tokenizer:
    """A byte-level BPE tokenizer.

    A tokenizer never changes. Any number of threads may share it. It can be pickled and copied, and it works in a
    forked process, whatever other threads did during the fork.

    Args:
        vocab: Maps each id to the bytes of its token. It must have all 256 single bytes.
        merges: The pairs of tokens that merge, the pair that merges first at the beginning.
        special_tokens: Special tokens. Those that `vocab` lacks get the next free ids. If several begin at the same
            position of a text, the longest one is found.
        pattern: The name or the regular expression of the pattern that splits text into pretokens.

    Raises:
        ValueError: The vocabulary, the merges and the special tokens do not fit together.
        TypeError: A token, a merge or a special token has the wrong type.

    Options of the encode methods:
        - `text`: A `str`, or UTF-8 `bytes`. Lone surrogates in a `str` are encoded as U+FFFD.
        - `on_special`: What becomes of special tokens in the text. "token": their ids. "text": ordinary text, as is
          right for text of strangers. "raise": ValueError. Added tokens that are not special always become their ids.
        - `add_special_tokens`: Whether to add the ids with which the vocabulary begins and ends a text.
        - `num_threads`: The largest number of threads; None means one for each processor. Threads share many texts, or
          one long text, which is split where that does not change its ids.

    Errors of the encode methods:
        - TypeError: A text or an option has the wrong type.
        - ValueError: The text is not UTF-8, or has a byte without an id; the message says at which offset. Or an option
          has an unknown value.

    A call does not react to Ctrl-C before it ends.

    Example:
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
        pattern: PatternLike = "gpt2",
    ) -> None:
        self.vocabulary = vocabulary_from_tokens(vocab, merges, special_tokens or (), find_pattern(pattern))

    @classmethod
    def from_vocabulary(cls, vocabulary: Vocabulary) -> Tokenizer:
        """Makes the tokenizer of a vocabulary. Raises TypeError for anything else."""
        tokenizer = cls.__new__(cls)
        tokenizer.vocabulary = instance_of(vocabulary, Vocabulary, "vocabulary")
        return tokenizer

    @classmethod
    def from_files(
        cls,
        vocab: str | os.PathLike[str],
        merges: str | os.PathLike[str],
        special_tokens: Iterable[str] | None = None,
        pattern: PatternLike = "gpt2",
    ) -> Tokenizer:
        """Reads a tokenizer from `vocab.json` and `merges.txt` in the format of GPT-2.

        Args:
            vocab: Path of `vocab.json`.
            merges: Path of `merges.txt`.
            special_tokens: See Tokenizer.
            pattern: See Tokenizer.

        Raises:
            OSError: A file cannot be read.
            ValueError: A file is malformed; the message says which file and where.
        """
        from fastlm import formats

        return cls.from_vocabulary(formats.gpt2.read(vocab, merges, special_tokens or (), find_pattern(pattern)))

    def truncated(self, vocab_size: int) -> Tokenizer:
        """Makes the tokenizer of the first `vocab_size` ids: the result of training to that size.

        Raises:
            ValueError: The other ids do not belong to the last merges.
            TypeError: The size is no int.
        """
        size = batches.as_int(vocab_size, "vocab_size")
        return Tokenizer.from_vocabulary(truncated_vocabulary(self.vocabulary, size))

    # --- the vocabulary ---

    @property
    def vocab(self) -> Mapping[int, bytes]:
        """The bytes of each token by its id, special tokens included: a dict that refuses changes.

        It is made once. `dict(tokenizer.vocab)` copies it.
        """
        return self._lookup.tokens

    @property
    def merges(self) -> list[Merge]:
        """The pairs of tokens that merge, in order of merge rank."""
        return list(self.vocabulary.merges)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The id of each special token."""
        return dict(self.vocabulary.special_tokens)

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return int(np.count_nonzero(self.vocabulary.token_lengths))

    @property
    def n_vocab(self) -> int:
        """One more than the largest id, as in tiktoken: the rows of an embedding. Ids below it may be unused."""
        return len(self.vocabulary)

    def __len__(self) -> int:
        """The number of tokens, as `vocab_size`."""
        return self.vocab_size

    def __contains__(self, token: object) -> bool:
        """Whether a str or bytes is a token. `token_id in tokenizer.vocab` tells whether an id is used."""
        return self._lookup.token_to_id(token) is not None  # type: ignore[arg-type]

    def token_to_id(self, token: str | bytes) -> int | None:
        """Finds the id of a token.

        Args:
            token: The text or the bytes of the token, such as " the". Unlike in `tokenizers`, a space is a space and
                not "Ġ".

        Returns:
            The id, or None if no token has these bytes. If several have them, a str means the added token first, and
            bytes mean the token with the lowest id that is no added token first.

        Raises:
            TypeError: The token is neither str nor bytes.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")], ["<|end|>"])
            >>> tokenizer.token_to_id("<|end|>"), tokenizer.token_to_id(b"ab"), tokenizer.token_to_id("abc")
            (257, 256, None)
            >>> "ab" in tokenizer
            True
        """
        return self._lookup.token_to_id(token)

    def id_to_token(self, token_id: int) -> bytes | None:
        """Finds the bytes of the token with an id, or None if no token has the id.

        Raises:
            TypeError: The id is no integer.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
            >>> tokenizer.id_to_token(256), tokenizer.id_to_token(257)
            (b'ab', None)
        """
        return self._lookup.id_to_token(batches.as_int(token_id, "token_id"))

    @property
    def eot_token(self) -> int:
        """The id of the token that ends a text.

        It is the last id that `add_special_tokens` adds; or else that of the first of `<|endoftext|>`,
        `<|end_of_text|>`, `</s>`, `<｜end▁of▁sentence｜>` and `[EOS]` that is a special token.

        Raises:
            KeyError: The vocabulary has no such token.

        Example:
            >>> Tokenizer({i: bytes([i]) for i in range(256)}, [], ["<|endoftext|>"]).eot_token
            256
        """
        found = self._lookup.end_of_text_id()
        if found is None:
            known = ", ".join(map(repr, self.vocabulary.special_tokens)) or "none"
            raise KeyError(f"the vocabulary has no token that ends a text; its special tokens: {known}")
        return found

    @property
    def pattern(self) -> PatternName | Expression:
        """The name of the pattern, or its regular expression if it has no name."""
        name = cast("PatternName | None", self.vocabulary.pattern.name)
        return name or Expression(self.vocabulary.pattern.regex)

    # --- encoding ---

    def encode(
        self,
        text: Text,
        *,
        on_special: OnSpecial = "token",
        add_special_tokens: bool = False,
        num_threads: int | None = 1,
    ) -> list[int]:
        """Encodes a text to a list of ids.

        Tokenizer describes the options and errors.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")], ["<|end|>"])
            >>> tokenizer.encode("abc<|end|>")
            [256, 99, 257]
            >>> tokenizer.encode("<|end|>", on_special="raise")
            Traceback (most recent call last):
            ValueError: the text has the special token '<|end|>' at byte 0
        """
        if num_threads != 1:
            options: Any = {"on_special": on_special, "add_special_tokens": add_special_tokens}
            ids: list[int] = self.encode_to_numpy(text, num_threads=num_threads, **options).tolist()
            return ids
        if on_special == "token" and not add_special_tokens and (plain := self._plain_texts):
            return plain.encode(text)
        text, boundaries = self._pipeline.prepare(text, on_special)
        ids = self._encoder.encode(text, boundaries)
        if add_special_tokens:
            return [*self.vocabulary.rules.begin, *ids, *self.vocabulary.rules.end]
        return ids

    def encode_ordinary(self, text: Text, *, num_threads: int | None = 1) -> list[int]:
        """Encodes a text in which special tokens are ordinary text. The same as `encode` with on_special="text"."""
        return self.encode(text, on_special="text", num_threads=num_threads)

    @overload
    def encode_to_numpy(
        self,
        text: Text,
        *,
        on_special: OnSpecial = ...,
        add_special_tokens: bool = ...,
        num_threads: int | None = ...,
        out: None = ...,
    ) -> UInt32Array: ...

    @overload
    def encode_to_numpy(
        self,
        text: Text,
        *,
        on_special: OnSpecial = ...,
        add_special_tokens: bool = ...,
        num_threads: int | None = ...,
        dtype: type[Integer] | np.dtype[Integer],
        out: None = ...,
    ) -> np.ndarray[Any, np.dtype[Integer]]: ...

    @overload
    def encode_to_numpy(
        self,
        text: Text,
        *,
        on_special: OnSpecial = ...,
        add_special_tokens: bool = ...,
        num_threads: int | None = ...,
        dtype: type[np.integer[Any]] = ...,
        out: np.ndarray[Any, np.dtype[Integer]],
    ) -> np.ndarray[Any, np.dtype[Integer]]: ...

    def encode_to_numpy(
        self,
        text: Text,
        *,
        on_special: OnSpecial = "token",
        add_special_tokens: bool = False,
        num_threads: int | None = 1,
        dtype: type[np.integer[Any]] | np.dtype[np.integer[Any]] = np.uint32,
        out: np.ndarray[Any, Any] | None = None,
    ) -> np.ndarray[Any, Any]:
        """Encodes a text to an array of ids.

        Args:
            text, on_special, add_special_tokens, num_threads: See Tokenizer.
            dtype: The dtype of the result, which must hold all ids of the vocabulary.
            out: An array (m,) of integers for the ids; its dtype takes the place of `dtype`.

        Returns:
            The ids, (n_ids,): a new array, or the beginning of `out`.

        Raises:
            TypeError, ValueError: See Tokenizer. Or the dtype does not hold all ids of the vocabulary, or `out` is too
                small.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
            >>> tokenizer.encode_to_numpy("abc", dtype=np.uint16)
            array([256,  99], dtype=uint16)
        """
        if on_special == "token" and num_threads == 1 and not add_special_tokens and out is None and dtype is _UINT32:
            plain = self._plain_texts
            if plain is not None:
                return plain.encode_to_numpy(text)
        text, boundaries = self._pipeline.prepare(text, on_special)
        if num_threads == 1:
            ids = self._encoder.encode_to_numpy(text, boundaries)
        else:
            ids = self._encode_shared(text, boundaries, num_threads)
        if add_special_tokens:
            ids = np.concatenate([self._begin, ids, self._end])
        if out is None and dtype is np.uint32:
            return ids
        return batches.converted(ids, dtype, out, len(self.vocabulary))

    def encode_batch(
        self,
        texts: Sequence[Text],
        num_threads: int | None = None,
        *,
        on_special: OnSpecial = "token",
        add_special_tokens: bool = False,
    ) -> list[list[int]]:
        """Encodes many texts to a list of ids for each.

        Tokenizer describes the options and errors. By default there is one thread for each processor. An error is
        that of the first text that has one.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
            >>> tokenizer.encode_batch(["abc", "", b"d"])
            [[256, 99], [], [100]]
        """
        prepared, boundaries = self._prepare_all(texts, on_special)
        ids = batches.encode_lists(self._encoder, prepared, boundaries, thread_count(num_threads))
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
        """Encodes many texts to one array. This is the fastest way: it creates no Python object for a text or an id.

        Tokenizer describes the options and errors. By default there is one thread for each processor.

        Returns:
            ids: uint32 (n_ids,), the ids of all texts.
            offsets: int64 (n_texts + 1,): the ids of text k are ids[offsets[k]:offsets[k + 1]].

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
            >>> ids, offsets = tokenizer.encode_batch_flat(["abc", "", "d"])
            >>> ids.tolist(), offsets.tolist()
            ([256, 99, 100], [0, 2, 2, 3])
        """
        prepared, boundaries = self._prepare_all(texts, on_special)
        ids, offsets = batches.encode_flat(self._encoder, prepared, boundaries, thread_count(num_threads))
        if add_special_tokens:
            return batches.surround(ids, offsets, self.vocabulary.rules.begin, self.vocabulary.rules.end)
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
        """Encodes many texts to rows of equal length.

        Args:
            texts, num_threads, on_special, add_special_tokens: See Tokenizer.
            pad_id: The id that fills short rows.
            length: The length of the rows; by default that of the longest text. Longer texts are cut at `side`.
            side: The side of a row that is filled or cut.

        Returns:
            ids: uint32 (n_texts, length).
            mask: bool (n_texts, length), False for padding.

        Raises:
            TypeError, ValueError: See Tokenizer. Or `pad_id` or `length` is no int, or is out of range.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
            >>> ids, mask = tokenizer.encode_batch_padded(["abc", "d"], pad_id=0)
            >>> ids.tolist(), mask.tolist()
            ([[256, 99], [100, 0]], [[True, True], [True, False]])
        """
        options: Any = {"on_special": on_special, "add_special_tokens": add_special_tokens}
        return batches.pad(*self.encode_batch_flat(texts, num_threads, **options), pad_id, length, side)

    def encode_parts(self, parts: Iterable[tuple[Text, bool]], *, num_threads: int | None = 1) -> list[int]:
        """Encodes a text that is made of trusted and other parts.

        A special token counts only if it is inside one trusted part. So text of strangers can neither contain a special
        token nor complete one. Added tokens that are not special count inside any one part. If no part has added
        tokens, the ids are the ids of the whole text.

        Args:
            parts: (text, trusted) of each part, in order.
            num_threads: See Tokenizer.

        Raises:
            TypeError, ValueError: See Tokenizer.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")], ["<|end|>"])
            >>> tokenizer.encode_parts([("ab", False), ("<|end|>", True)])
            [256, 257]
            >>> 257 in tokenizer.encode_parts([("ab<|end|>", False)])
            False
        """
        text, boundaries = self._pipeline.prepare_parts(parts)
        lists = self._map_parts(text, boundaries, num_threads, self._encoder.encode)
        return [token_id for ids in lists for token_id in ids]

    def encode_between(
        self,
        text: bytes | memoryview,
        boundaries: Int64Array,
        out: IdsArray,
        *,
        on_special: OnSpecial = "token",
    ) -> tuple[IdsArray, Int64Array]:
        """Encodes UTF-8 whose boundaries are known, into an array that is used again. `encode_corpus` does so.

        The text between two boundaries is encoded alone.

        Args:
            text: UTF-8. A memoryview must not change during the call.
            boundaries: int64 (k, 3): start and end in bytes, which may be the same, and the id to put there, or -1 for
                none; in order.
            out: uint16 or uint32 (m,), contiguous, for the ids.
            on_special: See Tokenizer. It counts only if the vocabulary needs a text pipeline; otherwise no special
                tokens are searched.

        Returns:
            ids: (n_ids,): a view of the beginning of `out`, or of a larger array if `out` is too small.
            ids_before: int64 (k,): the number of ids before each boundary.

        Raises:
            TypeError: An argument has another type.
            ValueError: See Tokenizer. Or a boundary is out of order, outside of the text, or without an id of the
                vocabulary; or the dtype of `out` does not hold all ids.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")], ["<|end|>"])
            >>> ids, ids_before = tokenizer.encode_between(b"ab-ab", np.array([[2, 3, 257]]), np.empty(8, np.uint16))
            >>> ids.tolist(), ids_before.tolist()
            ([256, 257, 256], [1])
        """
        if self._pipeline.is_plain and not (on_special == "text" and self.text_splitter.whole_text):
            return cast("tuple[IdsArray, Int64Array]", self._encoder.encode_between(Utf8(text), boundaries, out))
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out must be an array, got {type(out).__name__}")
        view, parts, ids_before, start, count = memoryview(Utf8(text)), [], [], 0, 0
        rows = self._encoder.checked_boundaries(boundaries, len(view)).tolist()
        for stop, after, token_id in [*rows, (len(view), len(view), -1)]:
            if start < stop:
                part, inner = self._pipeline.prepare(bytes(view[start:stop]), on_special)
                parts.append(self._encoder.encode_to_numpy(part, inner))
                count += len(parts[-1])
            ids_before.append(count)
            if token_id >= 0:
                parts.append(np.array([token_id], np.uint32))
                count += 1
            start = after
        ids = np.concatenate([np.empty(0, np.uint32), *parts])
        ids = batches.converted(ids, out.dtype.type, None, len(self.vocabulary))
        return cast("IdsArray", ids), np.array(ids_before[:-1], np.int64)

    def encode_upto(self, text: Text, limit: int, *, on_special: OnSpecial = "token") -> list[int]:
        """Encodes the beginning of a text, up to `limit` ids. The rest is not encoded.

        Args:
            text, on_special: See Tokenizer.
            limit: The largest number of ids.

        Raises:
            TypeError, ValueError: See Tokenizer. Or the limit is no int, or negative.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
            >>> tokenizer.encode_upto("abc" * 1000, 3)
            [256, 99, 256]
        """
        limit = batches.as_int(limit, "limit")
        if limit < 0:
            raise ValueError(f"limit must not be negative, got {limit}")
        text, boundaries = self._pipeline.prepare(text, on_special)
        return self._encoder.encode_upto(text, min(limit, sys.maxsize), boundaries)

    def encode_with_offsets(
        self,
        text: Text,
        *,
        unit: Literal["character", "byte"] = "character",
        on_special: OnSpecial = "token",
        num_threads: int | None = 1,
    ) -> tuple[UInt32Array, Int64Array]:
        """Encodes a text and finds where each token is.

        Args:
            text, on_special, num_threads: See Tokenizer.
            unit: The unit of the spans. In characters, tokens that are parts of one character all have its span. In
                bytes each has its own span, unless the text was normalized.

        Returns:
            ids: uint32 (n_ids,).
            spans: int64 (n_ids, 2): start and end of each token in the text.

        Raises:
            TypeError, ValueError: See Tokenizer. Or the unit is unknown.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
            >>> ids, spans = tokenizer.encode_with_offsets("abc")
            >>> spans.tolist()
            [[0, 2], [2, 3]]
        """

        def encode(part: bytes, boundaries: Boundaries) -> UInt32Array:
            return self._encode_shared(part, boundaries, num_threads)

        return encode_with_spans(text, self.vocabulary, self._pipeline, encode, on_special, unit)

    def encode_iterable(self, chunks: Iterable[str], *, on_special: OnSpecial = "token") -> Iterator[int]:
        """Encodes a text that comes in chunks; yields one id after the other.

        Memory is bounded by the longest pretoken. Text of a pattern without a scanner can only be split at special
        tokens, so there the longest text between two of them is kept. The whole text is kept if a normalizer such as
        Strip, Prepend or Replace looks at all of it.

        Args:
            chunks: The chunks of the text. A chunk may end anywhere.
            on_special: See Tokenizer.

        Raises:
            TypeError, ValueError: See Tokenizer. TypeError is raised when the iterator reaches a chunk that is no str.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
            >>> list(tokenizer.encode_iterable(["a", "b", "c"]))
            [256, 99]
        """
        if isinstance(chunks, str):
            raise TypeError("chunks must be an iterable of str, got one str")
        splitter = self.splitter if on_special != "text" else self.text_splitter
        parts: list[bytes] = []
        size, wanted = 0, STREAM_BYTES
        for part in join_surrogates(iter(chunks)):
            parts.append(utf8_bytes(part))
            size += len(parts[-1])
            if size < wanted:
                continue
            text = b"".join(parts)
            _, cut = splitter.partial_boundaries(text)
            if cut:
                yield from self.encode(text[:cut], on_special=on_special)
            parts, size = [text[cut:]], len(text) - cut
            wanted = max(STREAM_BYTES, 2 * size)
        yield from self.encode(b"".join(parts), on_special=on_special)

    def count(self, text: Text, *, on_special: OnSpecial = "token", num_threads: int | None = 1) -> int:
        """Counts the ids of a text, in memory that does not depend on the text.

        Tokenizer describes the options and errors.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
            >>> tokenizer.count("abc")
            2
        """
        text, boundaries = self._pipeline.prepare(text, on_special)
        return sum(self._map_parts(text, boundaries, num_threads, self._encoder.count))

    # --- decoding ---

    def decode(
        self, ids: Ids, errors: str = "replace", *, skip_special_tokens: bool = False, num_threads: int | None = 1
    ) -> str:
        """Decodes ids to text.

        Args:
            ids: Integers, or an array of them.
            errors: What becomes of bytes that are not UTF-8, as in `bytes.decode`.
            skip_special_tokens: Whether to leave out added tokens that are marked as special.
            num_threads: The largest number of threads; None means one for each processor.

        Raises:
            KeyError: No token has one of the ids.
            TypeError: An id is no integer.

        Example:
            >>> tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")], ["<|end|>"])
            >>> tokenizer.decode([256, 99, 257]), tokenizer.decode([256, 257], skip_special_tokens=True)
            ('abc<|end|>', 'ab')
        """
        if skip_special_tokens:
            array = as_ids(ids)
            ids = array[~np.isin(array, self._special_ids)]
        return self.decode_bytes(ids, num_threads=num_threads).decode("utf-8", errors)

    def decode_bytes(self, ids: Ids, *, num_threads: int | None = 1) -> bytes:
        """Decodes ids to the bytes of their tokens. Raises as `decode`."""
        threads = thread_count(num_threads)
        if threads == 1:
            return self._decoder.decode_bytes(ids)
        parts = np.array_split(as_ids(ids), 4 * threads)
        return b"".join(map_in_order(self._decoder.decode_bytes, parts, threads))

    def decode_batch(self, batch: Sequence[Ids], num_threads: int | None = None, errors: str = "replace") -> list[str]:
        """Decodes many sequences of ids to texts, by default with one thread for each processor. Raises as `decode`."""
        return batches.map_items(functools.partial(self.decode, errors=errors), batch, thread_count(num_threads))

    def decode_stream(self) -> DecodeStream:
        """Makes a decoder for ids that come one after the other. It yields whole characters."""
        return DecodeStream(self._decoder)

    # --- files ---

    def save(self, directory: str | os.PathLike[str], formats: Iterable[FormatName] | None = None) -> list[Location]:
        """Writes the vocabulary to files. Each file appears complete or not at all.

        Args:
            directory: The folder, which is created if necessary, or an address such as s3://bucket/name.
            formats: Names of formats: "fastlm" for `tokenizer.fastlm`, "tokenizer.json", "gpt2" for `vocab.json` with
                `merges.txt`, "tiktoken", "minbpe", and "transformers" for `tokenizer_config.json`, which tells
                AutoTokenizer the special tokens of a tokenizer.json. By default "fastlm"; and "tokenizer.json" and
                "gpt2" if these formats can hold the vocabulary.

        Returns:
            The paths of the files.

        Raises:
            OSError: A file cannot be written.
            ValueError: A format is unknown or cannot hold the vocabulary.
        """
        from fastlm.files.remote import location
        from fastlm.formats import save

        return save(self.vocabulary, location(directory), formats)

    # --- private ---

    def _prepare_all(
        self, texts: Sequence[Text], on_special: OnSpecial
    ) -> tuple[list[Text], Boundaries | list[Boundaries]]:
        """Prepares texts for the encoder; the boundaries are one object for all texts, or a list."""
        items = batches.as_list(texts)
        if self._pipeline.is_plain and (
            on_special == "token" or (on_special == "text" and not self._pipeline.ordinary_ids)
        ):
            return items, self._pipeline.added_tokens if on_special == "token" else None
        prepared = [self._pipeline.prepare(text, on_special) for text in items]
        return [text for text, _ in prepared], [boundaries for _, boundaries in prepared]

    def _map_parts(
        self,
        text: Text,
        boundaries: Boundaries,
        num_threads: int | None,
        function: Callable[[Text | Utf8, Boundaries], Result],
    ) -> list[Result]:
        """function(text, boundaries) of a prepared text, or of its parts, which threads share."""
        threads = thread_count(num_threads)
        if threads == 1:
            return [function(text, boundaries)]
        parts, of_parts = split_into_chunks(Utf8(text), boundaries, self.vocabulary.pattern, PARTS * threads)
        pairs = zip(parts, of_parts if isinstance(of_parts, list) else itertools.repeat(of_parts), strict=False)
        return list(map_in_order(lambda pair: function(*pair), pairs, threads))

    def _encode_shared(self, text: Text, boundaries: Boundaries, num_threads: int | None) -> UInt32Array:
        """The ids of a prepared text, whose parts threads share."""
        threads = thread_count(num_threads)
        if threads > 1:
            parts, of_parts = split_into_chunks(Utf8(text), boundaries, self.vocabulary.pattern, PARTS * threads)
            # an error names an offset in a part: the call below raises it again with the offset in the text
            with contextlib.suppress(ValueError):
                return batches.encode_flat(self._encoder, parts, of_parts, threads)[0]
        return self._encoder.encode_to_numpy(text, boundaries)

    @cached_property
    def _lookup(self) -> TokenLookup:
        return TokenLookup(self.vocabulary)

    @cached_property
    def _special_ids(self) -> Int64Array:
        return np.array([token.id for token in self.vocabulary.added_tokens if token.special], np.int64)

    @cached_property
    def _begin(self) -> UInt32Array:
        return np.array(self.vocabulary.rules.begin, np.uint32)

    @cached_property
    def _end(self) -> UInt32Array:
        return np.array(self.vocabulary.rules.end, np.uint32)

    @cached_property
    def _pipeline(self) -> TextPipeline:
        return TextPipeline(self.vocabulary)

    @cached_property
    def _encoder(self) -> Encoder:
        return encoder_of(self.vocabulary)

    @cached_property
    def _plain_texts(self) -> PlainTexts | None:
        """Encodes texts with the default options; None if texts change before they are encoded."""
        from fastlm.encoding._encoder import PlainTexts

        return PlainTexts(self._encoder, self._pipeline.added_tokens) if self._pipeline.is_plain else None

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self.vocabulary.token_bytes, self.vocabulary.token_offsets)

    @cached_property
    def splitter(self) -> TextSplitter:
        """Finds where a text may be split so that its parts have the ids of the whole text."""
        whole, cuts = self._pipeline.needs_whole_text, self._pipeline.cuts
        return TextSplitter(list(self.vocabulary.special_tokens), self.vocabulary.pattern, whole, cuts)

    @cached_property
    def text_splitter(self) -> TextSplitter:
        """The same for text in which special tokens are ordinary text."""
        pipeline = self._pipeline
        whole = pipeline.needs_whole_text if pipeline.ordinary_ids else not pipeline.spans_are_local
        ordinary = [token.content for token in self.vocabulary.added_tokens if not token.special]
        whole = whole or not pipeline.ordinary_are_apart
        return TextSplitter(ordinary, self.vocabulary.pattern, whole, pipeline.cuts)

    def __reduce__(self) -> tuple[Callable[[Vocabulary], Tokenizer], tuple[Vocabulary]]:
        return Tokenizer.from_vocabulary, (self.vocabulary,)

    def __repr__(self) -> str:
        return (
            f"Tokenizer({plural(self.vocab_size, 'token')}, {plural(len(self.vocabulary.merge_new), 'merge')}, "
            f"{plural(len(self.vocabulary.special_tokens), 'special token')}, pattern {self.pattern!r})"
        )

    def _repr_html_(self) -> str:
        """The summary that notebooks show."""
        from fastlm.vocabulary.summary import SAMPLE, summary_html

        try:
            ids = self.encode(SAMPLE)
        except ValueError:  # the vocabulary lacks a byte of the sample
            ids = []
        return summary_html(self.vocabulary, ids)
