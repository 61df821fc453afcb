"""One adapter a tokenizer: fastlm's and its peers' fastest public ways to do the same."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.measure import OURS
from benchmarks.vocabulary import END_OF_TEXT, SharedVocabulary
from fastlm import Tokenizer
from fastlm._types import UInt32Array


@dataclass(frozen=True)
class Encoder:
    """What one tokenizer can do; None where it has no such way. `ids_of` reads whatever the first four return.

    one: a short text. lists: documents, in so many threads, to a list of ints each. arrays: documents to flat arrays.
    whole: one long text to a flat array. decode_list, decode_array: its own ids in that form to text, as str or bytes.
    id_of: fastlm's id of each id of this tokenizer, where they differ.
    """

    one: Callable[[str], object]
    lists: Callable[[list[str], int], object]
    arrays: Callable[[list[str]], object] | None
    whole: Callable[[str], object] | None
    decode_list: Callable[[list[int]], str | bytes]
    decode_array: Callable[[UInt32Array], str | bytes] | None
    id_of: UInt32Array | None = None

    def ids_of(self, result: Any) -> list[UInt32Array]:
        """The ids of each document, or of the one text, as fastlm's ids."""
        rows = [np.asarray(row, np.uint32) for row in _rows(result)]
        return rows if self.id_of is None else [self.id_of[row] for row in rows]

    def own_ids(self, ids: UInt32Array) -> UInt32Array:
        """This tokenizer's ids of fastlm's ids."""
        return ids if self.id_of is None else np.argsort(self.id_of)[ids].astype(np.uint32)


def _rows(result: Any) -> Iterable[Any]:
    if isinstance(result, tuple):  # bytes of ids and of offsets
        ids, offsets = np.frombuffer(result[0], np.uint32), np.frombuffer(result[1], np.uint64)
        return np.split(ids, offsets[1:-1].astype(np.int64))
    if isinstance(result, np.ndarray) or (isinstance(result, list) and result and isinstance(result[0], int)):
        return [result]
    return result  # type: ignore[no-any-return]


def fastlm(vocabulary: SharedVocabulary) -> Encoder:
    tokenizer = Tokenizer.from_vocabulary(vocabulary.tokenizer.vocabulary)
    return Encoder(
        one=tokenizer.encode,
        lists=tokenizer.encode_batch,
        arrays=lambda texts: tokenizer.encode_batch_flat(texts, num_threads=1),
        whole=tokenizer.encode_to_numpy,
        decode_list=tokenizer.decode_bytes,
        decode_array=tokenizer.decode_bytes,
    )


def tiktoken(vocabulary: SharedVocabulary) -> Encoder:
    import tiktoken

    encoding = tiktoken.Encoding(
        "shared",
        pat_str=vocabulary.tokenizer.vocabulary.pattern.regex,
        mergeable_ranks=vocabulary.ranks,
        special_tokens={END_OF_TEXT: len(vocabulary.id_of_rank) - 1},
    )
    return Encoder(
        one=lambda text: encoding.encode(text, allowed_special="all"),
        lists=lambda texts, threads: encoding.encode_batch(texts, num_threads=threads, allowed_special="all"),
        arrays=lambda texts: [encoding.encode_to_numpy(text, allowed_special="all") for text in texts],
        whole=lambda text: encoding.encode_to_numpy(text, allowed_special="all"),
        decode_list=encoding.decode_bytes,
        decode_array=None,
        id_of=vocabulary.id_of_rank,
    )


def tokenizers(vocabulary: SharedVocabulary) -> Encoder:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(vocabulary.tokenizer_json))
    return Encoder(
        one=lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        lists=lambda texts, _: [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)],
        arrays=None,
        whole=None,
        decode_list=lambda ids: tokenizer.decode(ids, skip_special_tokens=False),
        decode_array=None,
    )


def gigatoken(vocabulary: SharedVocabulary) -> Encoder:
    import gigatoken

    tokenizer = gigatoken.Tokenizer(vocabulary.tokenizer_json)
    return Encoder(
        one=tokenizer.encode,
        lists=lambda texts, threads: tokenizer.encode_batch_list(texts, parallel=threads > 1),
        arrays=lambda texts: tokenizer.encode_batch(texts, parallel=False),
        whole=tokenizer.encode,
        decode_list=tokenizer.decode,
        decode_array=tokenizer.decode,
    )


def _flat_batch(module: Any, vocabulary: SharedVocabulary) -> Encoder:
    """fastokens and snaptokens, whose interface is the same."""
    tokenizer = module.Tokenizer.from_file(str(vocabulary.tokenizer_json))
    return Encoder(
        one=lambda text: tokenizer.encode(text).ids,
        lists=lambda texts, _: [encoding.ids for encoding in tokenizer.encode_batch(texts)],
        arrays=tokenizer.encode_batch_flat,
        whole=lambda text: tokenizer.encode_batch_flat([text]),
        decode_list=tokenizer.decode,
        decode_array=None,
    )


def fastokens(vocabulary: SharedVocabulary) -> Encoder:
    import fastokens

    return _flat_batch(fastokens, vocabulary)


def snaptokens(vocabulary: SharedVocabulary) -> Encoder:
    import snaptokens

    return _flat_batch(snaptokens, vocabulary)


ADAPTERS = {adapter.__name__: adapter for adapter in (tiktoken, tokenizers, gigatoken, fastokens, snaptokens, fastlm)}


@functools.cache
def version_of(package: str) -> str | None:
    """The installed version of a package, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def fresh(name: str, vocabulary: SharedVocabulary) -> Encoder:
    """A tokenizer that has seen no text; what is set up only once, at the first call, is set up."""
    encoder = ADAPTERS[name](vocabulary)
    encoder.one(" ")
    return encoder


def installed() -> list[str]:
    """Names of fastlm and the peers that are installed."""
    return [name for name in ADAPTERS if name == OURS or version_of(name)]
