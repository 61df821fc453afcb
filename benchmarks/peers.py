"""One adapter a tokenizer: fastlm's and its peers' fastest public ways to do the same.

Nothing that a peer may need is imported before its adapter runs, so that a fresh process can time that too.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import OURS

if TYPE_CHECKING:
    from benchmarks.vocabulary import SharedVocabulary
    from fastlm._types import UInt32Array

SOURCES = ("native", "tokenizer.json", "tiktoken")
"""Sources of a vocabulary: a file of the library or data built into it, or a file that other libraries read."""

NEXT_TOKENIZERS = "FASTLM_NEXT_TOKENIZERS"
"""Environment variable: a folder made by `pip install --no-deps --target FOLDER tokenizers==VERSION`."""

ALL_SPECIAL: Any = {"allowed_special": "all"}


class UnsupportedError(LookupError):
    """The peer has no such vocabulary, or does not read it from such a file."""


@dataclass(frozen=True)
class Encoder:
    """The ways of one tokenizer; None for a way that it does not have. `ids_of` reads the results of the first four.

    one: a short text to a list of ints. lists: documents to a list of ints each. arrays: documents to flat arrays.
    whole: one long text to a flat array. counts: documents to the number of ids of each. decode_list, decode_array: ids
    in that form to text, as str or bytes. An int argument is the number of threads; those that heed it are named in
    `threaded`.
    """

    one: Callable[[str], object] | None = None
    lists: Callable[[list[str], int], object] | None = None
    arrays: Callable[[list[str], int], object] | None = None
    whole: Callable[[str, int], object] | None = None
    counts: Callable[[list[str], int], list[int]] | None = None
    decode_list: Callable[[list[int]], str | bytes] | None = None
    decode_array: Callable[[UInt32Array], str | bytes] | None = None
    threaded: frozenset[str] = frozenset()

    def way(self, form: str, threads: int) -> Callable[..., object] | None:
        """The way of this name, if the tokenizer has one for this number of threads."""
        return getattr(self, form) if threads == 1 or form in self.threaded else None

    def first_ids(self, text: str) -> object:
        """Ids of a text, or their number."""
        return self.one(text) if self.one else self.counts([text], 1) if self.counts else None


def ids_of(result: Any) -> list[UInt32Array]:
    """The ids of each document, or of the one text, from the result of a way of an Encoder."""
    import numpy as np

    return [np.asarray(row, np.uint32) for row in _rows(result)]


def _rows(result: Any) -> Iterable[Any]:
    import numpy as np

    if isinstance(result, bytes):
        return [np.frombuffer(result, np.uint32)]
    if isinstance(result, tuple):  # ids and offsets, as arrays or bytes
        ids, offsets = result
        if isinstance(ids, bytes):
            ids, offsets = np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64).astype(np.int64)
        return np.split(ids, offsets[1:-1])
    if isinstance(result, np.ndarray) or (isinstance(result, list) and result and isinstance(result[0], int)):
        return [result]
    return result  # type: ignore[no-any-return]


def _file(vocabulary: SharedVocabulary, source: str, *readable: str) -> Path:
    if source not in readable:
        raise UnsupportedError(f"does not read {source}")
    files = {"native": vocabulary.native, "tokenizer.json": vocabulary.tokenizer_json, "tiktoken": vocabulary.tiktoken}
    return files[source]


def fastlm(vocabulary: SharedVocabulary, source: str = "native") -> Encoder:
    from fastlm import load

    path = _file(vocabulary, source, *SOURCES)
    ranks: Any = {"pattern": vocabulary.pattern_name, "special_tokens": vocabulary.special_tokens}
    tokenizer = load(path, **(ranks if source == "tiktoken" else {}))
    return Encoder(
        one=tokenizer.encode,
        lists=tokenizer.encode_batch,
        arrays=tokenizer.encode_batch_flat,
        whole=lambda text, threads: tokenizer.encode_to_numpy(text, num_threads=threads),
        counts=lambda texts, _: [tokenizer.count(text) for text in texts],
        decode_list=tokenizer.decode_bytes,
        decode_array=tokenizer.decode_bytes,
        threaded=frozenset({"lists", "arrays", "whole"}),
    )


def tiktoken(vocabulary: SharedVocabulary, source: str = "tiktoken") -> Encoder:
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe

    os.environ["TIKTOKEN_CACHE_DIR"] = ""  # else a file is copied before it is read
    encoding = tiktoken.Encoding(
        vocabulary.name,
        pat_str=vocabulary.pattern,
        mergeable_ranks=load_tiktoken_bpe(str(_file(vocabulary, source, "tiktoken"))),
        special_tokens=vocabulary.special_tokens,
    )
    return Encoder(
        one=lambda text: encoding.encode(text, **ALL_SPECIAL),
        lists=lambda texts, threads: encoding.encode_batch(texts, num_threads=threads, **ALL_SPECIAL),
        arrays=lambda texts, _: [encoding.encode_to_numpy(text, **ALL_SPECIAL) for text in texts],
        whole=lambda text, _: encoding.encode_to_numpy(text, **ALL_SPECIAL),
        decode_list=encoding.decode_bytes,
        threaded=frozenset({"lists"}),
    )


def tokenizers(vocabulary: SharedVocabulary, source: str = "tokenizer.json") -> Encoder:
    import tokenizers

    return _of_tokenizers(tokenizers, str(_file(vocabulary, source, "tokenizer.json")))


def tokenizers_next(vocabulary: SharedVocabulary, source: str = "tokenizer.json") -> Encoder:
    """A version of tokenizers that is not the installed one, such as a release candidate; see NEXT_TOKENIZERS."""
    return _of_tokenizers(next_tokenizers(), str(_file(vocabulary, source, "tokenizer.json")))


@functools.cache
def next_tokenizers() -> Any:
    """The package in the folder NEXT_TOKENIZERS; `import tokenizers` still gives the installed one."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "tokenizers"}
    sys.path.insert(0, os.environ[NEXT_TOKENIZERS])
    try:
        return importlib.import_module("tokenizers")
    finally:
        sys.path.pop(0)
        for name in [name for name in sys.modules if name.partition(".")[0] == "tokenizers"]:
            del sys.modules[name]
        sys.modules.update(hidden)


def _of_tokenizers(library: Any, path: str) -> Encoder:
    tokenizer = library.Tokenizer.from_file(path)
    batch = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
    return Encoder(
        one=lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        lists=lambda texts, _: [encoding.ids for encoding in batch(texts, add_special_tokens=False)],
        decode_list=lambda ids: tokenizer.decode(ids, skip_special_tokens=False),
        threaded=frozenset({"lists"}),
    )


def gigatoken(vocabulary: SharedVocabulary, source: str = "tokenizer.json") -> Encoder:
    import gigatoken

    path = _file(vocabulary, source, "tokenizer.json", "tiktoken")
    if source == "tiktoken":
        pattern = vocabulary.pattern_name.removesuffix("_base")
        tokenizer = gigatoken.Tokenizer.from_tiktoken(path, pattern, vocabulary.special_tokens)
    else:
        tokenizer = gigatoken.Tokenizer(path)
    return Encoder(
        one=lambda text: tokenizer.encode(text).tolist(),
        lists=lambda texts, threads: tokenizer.encode_batch_list(texts, parallel=threads > 1),
        arrays=lambda texts, threads: tokenizer.encode_batch(texts, parallel=threads > 1),
        whole=lambda text, _: tokenizer.encode(text),
        decode_list=tokenizer.decode,
        decode_array=tokenizer.decode,
        threaded=frozenset({"lists", "arrays"}),
    )


def _flat_batch(tokenizer: Any) -> Encoder:
    """fastokens and snaptokens, whose interface is the same."""
    return Encoder(
        one=lambda text: tokenizer.encode(text).ids,
        lists=lambda texts, _: [encoding.ids for encoding in tokenizer.encode_batch(texts)],
        arrays=lambda texts, _: tokenizer.encode_batch_flat(texts),
        whole=lambda text, _: tokenizer.encode_batch_flat([text]),
        decode_list=tokenizer.decode,
        threaded=frozenset({"lists", "arrays"}),
    )


def fastokens(vocabulary: SharedVocabulary, source: str = "tokenizer.json") -> Encoder:
    import fastokens

    path = str(_file(vocabulary, source, "tokenizer.json", "tiktoken"))
    if source == "tiktoken":
        special = vocabulary.special_tokens
        return _flat_batch(fastokens.Tokenizer.from_tiktoken(path, pattern=vocabulary.pattern, special_tokens=special))
    return _flat_batch(fastokens.Tokenizer.from_file(path))


def snaptokens(vocabulary: SharedVocabulary, source: str = "tokenizer.json") -> Encoder:
    import snaptokens

    return _flat_batch(snaptokens.Tokenizer.from_file(str(_file(vocabulary, source, "tokenizer.json"))))


def splintr(vocabulary: SharedVocabulary, source: str = "tokenizer.json") -> Encoder:
    import splintr

    tokenizer = splintr.from_json(str(_file(vocabulary, source, "tokenizer.json")))
    return Encoder(
        one=tokenizer.encode,
        lists=lambda texts, _: tokenizer.encode_batch(texts),
        arrays=lambda texts, _: tokenizer.encode_batch_flat(texts),
        whole=lambda text, threads: tokenizer.encode_flat(text) if threads == 1 else tokenizer.encode_rayon(text),
        decode_list=tokenizer.decode_with_special,
        threaded=frozenset({"lists", "arrays", "whole"}),
    )


def toktok(vocabulary: SharedVocabulary, source: str = "native") -> Encoder:
    """Its public interface counts and gives no ids; its vocabularies are built in."""
    import toktok

    encoding = f"{vocabulary.name}_base"
    if source != "native" or vocabulary.name not in ("cl100k", "o200k"):
        raise UnsupportedError(f"has no {vocabulary.name}" if source == "native" else f"does not read {source}")
    return Encoder(
        counts=lambda texts, threads: toktok.batch_count(texts, encoding, threads=threads, with_special=True),
        threaded=frozenset({"counts"}),
    )


ADAPTERS = {
    adapter.__name__: adapter
    for adapter in (tiktoken, tokenizers, tokenizers_next, gigatoken, fastokens, snaptokens, splintr, toktok, fastlm)
}
PACKAGES = {"splintr": "splintr-rs", "toktok": "toktok-rs"}
"""What installs a peer, where it has another name."""


@functools.cache
def version_of(name: str) -> str | None:
    """The installed version of a peer, None where it is not installed."""
    if name == tokenizers_next.__name__:
        folder = os.environ.get(NEXT_TOKENIZERS)
        found = importlib.metadata.distributions(name="tokenizers", path=[folder]) if folder else ()
        return next((distribution.version for distribution in found), None)
    try:
        return importlib.metadata.version(PACKAGES.get(name, name))
    except importlib.metadata.PackageNotFoundError:
        return None


def fresh(name: str, vocabulary: SharedVocabulary) -> Encoder:
    """A tokenizer that has seen no text but a first one, which sets up everything that is set up once.

    None of the peers keeps what it learned of a text outside the tokenizer: a second one is as cold as the first.
    Raises UnsupportedError for a vocabulary that the peer has not.
    """
    encoder = ADAPTERS[name](vocabulary)
    for form in ("lists", "arrays", "counts"):
        for threads in (1, 2):
            if way := encoder.way(form, threads):
                way([" ", " "], threads)
    encoder.first_ids(" ")
    return encoder


def installed() -> list[str]:
    """Names of fastlm and the peers that are installed."""
    return [name for name in ADAPTERS if name == OURS or version_of(name)]
