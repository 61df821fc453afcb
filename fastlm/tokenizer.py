"""Tokenizer: text to ids and back with one vocabulary."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastlm import _scan
from fastlm._decode import Decoder
from fastlm._encode import utf8_bytes
from fastlm._types import Int64Array, UInt32Array
from fastlm.patterns import find_pattern
from fastlm.segments import Cutter, utf8_parts
from fastlm.threads import map_in_order, thread_count
from fastlm.vocabulary import Merge, Vocabulary, vocabulary_from_tokens

if TYPE_CHECKING:
    from fastlm._encode import Encoder

Ids: TypeAlias = "Iterable[int] | np.ndarray[Any, np.dtype[np.integer[Any]]]"

# text that encode_iterable gathers before it encodes: the smallest that keeps a call's cost out of sight
STREAM_BYTES = 1 << 16


class Tokenizer:
    """A byte-level BPE tokenizer: `vocab` maps ids to bytes, `merges` lists the pairs that merge, first first.

    Special tokens stand for themselves wherever they occur in a text, the longest where several start at one place; one
    that `vocab` lacks gets the next free id. `pattern` is the name or the regular expression of the pre-tokenisation.
    A tokenizer never changes: any number of threads may share it, and it survives pickle, copy, and fork, if no other
    thread is then within its first encode.

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

    def encode(self, text: str | bytes) -> list[int]:
        """Ids of a text, a str or UTF-8 bytes; a lone surrogate in a str counts as U+FFFD.

        A call runs to its end before Ctrl-C is seen; encode_iterable takes a long text in parts. Raises TypeError for a
        text of another type, ValueError naming the offset of bytes that are not UTF-8.
        """
        return self._encoder.encode(text)

    def encode_to_numpy(self, text: str | bytes) -> UInt32Array:
        """Ids of a text as a uint32 array. Raises as `encode`."""
        return self._encoder.encode_to_numpy(text)

    def encode_batch(self, texts: Sequence[str | bytes], num_threads: int | None = None) -> list[list[int]]:
        """Ids of each text, on all processors or so many threads. Raises as `encode`."""
        threads = thread_count(num_threads)
        parts = _slices(texts, threads)
        encoded = map_in_order(lambda part: [self.encode(text) for text in part], parts, threads)
        return [ids for part in encoded for ids in part]

    def encode_batch_flat(
        self, texts: Sequence[str | bytes], num_threads: int | None = None
    ) -> tuple[UInt32Array, Int64Array]:
        """(ids, offsets), uint32 and int64: the ids of text k are ids[offsets[k]:offsets[k + 1]]. Raises as `encode`.

        The fastest way to encode many texts: no Python object is made for a text or an id.
        """
        threads = thread_count(num_threads)
        parts = list(map_in_order(self._encoder.encode_batch_flat, _slices(texts, threads), threads))
        if len(parts) == 1:
            return parts[0]
        sizes = np.concatenate([np.zeros(1, np.int64), *(np.diff(offsets) for _, offsets in parts)])
        return np.concatenate([np.empty(0, np.uint32), *(ids for ids, _ in parts)]), np.cumsum(sizes)

    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        """Ids of the text that the chunks make together, one by one, as they come.

        Memory stays bounded by the longest pretoken. A pattern without a scanner can only be cut at special tokens, so
        there the longest stretch between two is held. Raises TypeError, when iterated, for chunks that are not str.
        """
        if isinstance(chunks, str):
            raise TypeError("chunks must be an iterable of str, not one str")
        parts: list[bytes] = []
        size, wanted = 0, STREAM_BYTES
        for part in utf8_parts(iter(chunks)):
            parts.append(utf8_bytes(part))
            size += len(parts[-1])
            if size < wanted:
                continue
            text = b"".join(parts)
            _, cut = self._cutter.partial_segments(text)
            if cut:
                yield from self._encoder.encode(text[:cut])
            parts, size = [text[cut:]], len(text) - cut
            wanted = max(STREAM_BYTES, 2 * size)
        yield from self._encoder.encode(b"".join(parts))

    def count(self, text: str | bytes) -> int:
        """Number of ids of a text, without making them. Raises as `encode`."""
        return self._encoder.count(text)

    def decode(self, ids: Ids, errors: str = "replace") -> str:
        """Text of ids; `errors` says what becomes of bytes that are not UTF-8, as in `bytes.decode`.

        Raises KeyError for an id that is not in the vocabulary, TypeError for what is no integer.
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_bytes(self, ids: Ids) -> bytes:
        """The bytes of ids. Raises as `decode`."""
        return self._decoder.decode_bytes(ids)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes vocab.json and merges.txt, tokenizer.json and tokenizer.fastlm; each appears whole or not at all.

        Raises OSError where they cannot be written, ValueError where a format cannot hold this vocabulary.
        """
        from fastlm import formats

        formats.save(self.vocabulary, Path(directory))

    @functools.cached_property
    def _encoder(self) -> Encoder:
        # numba takes longer to import than everything else together, so only encoding pays for it
        from fastlm._encode import Encoder
        from fastlm.kernels import bpe

        v = self.vocabulary
        return Encoder(
            v.token_bytes,
            v.token_offsets,
            v.merge_left,
            v.merge_right,
            v.merge_new,
            v.byte_ids,
            [token.encode() for token in v.special_tokens],
            list(v.special_tokens.values()),
            _scan.scanner_address(v.pattern.scanner) if v.pattern.scanner else 0,
            v.pattern.find_ends,
            bpe.compiled(),
        )

    @functools.cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self.vocabulary.token_bytes, self.vocabulary.token_offsets)

    @functools.cached_property
    def _cutter(self) -> Cutter:
        return Cutter(list(self.vocabulary.special_tokens), self.vocabulary.pattern)

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
    special_tokens: Iterable[str] | None = None,
) -> Tokenizer:
    """The tokenizer saved in a directory, or in one file of it.

    A directory is read from `tokenizer.fastlm`, else `tokenizer.json`, else `vocab.json` and `merges.txt`. The last two
    hold no pattern and mark no special tokens, so `pattern` must be given with them, and `special_tokens` may be.

    Raises OSError for what cannot be read, ValueError naming file and place for what is malformed or ambiguous.
    """
    from fastlm import formats

    return Tokenizer.from_vocabulary(formats.load(Path(path), pattern, special_tokens))


def _slices(texts: Sequence[str | bytes], threads: int) -> Iterator[list[str | bytes]]:
    """The texts in parts for threads: several for each, so that one slow part does not hold up the end."""
    if isinstance(texts, str | bytes):
        raise TypeError("texts must be a sequence of str, not one str")
    texts = list(texts)
    size = max(1, len(texts) // (4 * threads)) if threads > 1 else max(1, len(texts))
    for start in range(0, len(texts), size):
        yield texts[start : start + size]
