"""Other tokenizer libraries with the vocabulary of a tokenizer of fastlm."""

from __future__ import annotations

import base64
import functools
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fastlm.formats import tiktoken as rank_files
from fastlm.formats import tokenizer_json
from fastlm.text.byte_level import CHAR_OF_BYTE
from fastlm.tokenizer import Tokenizer
from fastlm.vocabulary.from_ranks import ranks_of
from fastlm.vocabulary.vocabulary import Vocabulary

LIBRARIES = ("tiktoken", "tokenizers")
"""The libraries to compare with."""

OnSpecial: TypeAlias = Literal["token", "text"]

_BYTE_OF_CHAR = {char: byte for byte, char in CHAR_OF_BYTE.items()}
_PARALLELISM = "TOKENIZERS_PARALLELISM"


class UnsupportedPeerError(ValueError):
    """A library cannot hold a vocabulary."""


class Peer:
    """A tokenizer of another library.

    Args:
        tokenizer: Its object: a tiktoken.Encoding or a tokenizers.Tokenizer.
        source: What it was made from.

    Attributes:
        library: The name of the library.
        version: The version of the library.
    """

    library: str

    def __init__(self, tokenizer: Any, source: str) -> None:
        self.tokenizer = tokenizer
        self.source = source
        self.version = importlib.metadata.version(self.library)

    def encode(self, texts: Sequence[str], on_special: OnSpecial) -> list[list[int]]:
        """The ids of texts, in one thread, without ids that begin and end a text."""
        raise NotImplementedError

    def pretokens(self, text: str) -> list[bytes]:
        """The pretokens of a text without added tokens."""
        raise NotImplementedError

    def rank_of(self, left: bytes, right: bytes) -> int | None:
        """The rank of the merge of two tokens, or None."""
        raise NotImplementedError

    def id_of(self, added_token: str) -> int | None:
        """The id of an added token, or None."""
        raise NotImplementedError

    def bytes_of(self, token_id: int) -> bytes:
        """The bytes of a token."""
        raise NotImplementedError

    def stored(self, folder: Path) -> dict[str, Any]:
        """Writes the tokenizer to a folder, and returns what a new process needs to load it."""
        raise NotImplementedError


class TiktokenPeer(Peer):
    """A tiktoken.Encoding."""

    library = "tiktoken"

    def encode(self, texts: Sequence[str], on_special: OnSpecial) -> list[list[int]]:
        if on_special == "text":
            return [self.tokenizer.encode_ordinary(text) for text in texts]
        return [self.tokenizer.encode(text, allowed_special="all") for text in texts]

    def pretokens(self, text: str) -> list[bytes]:
        import tiktoken

        # a pretoken that is a token is not merged, so with all parts of the text as tokens, each id is a pretoken
        content = text.encode()
        parts = {content[i:j] for i in range(len(content)) for j in range(i + 2, len(content) + 1)}
        tokens = [*(bytes([byte]) for byte in range(256)), *sorted(parts)]
        ranks = {token: rank for rank, token in enumerate(tokens)}
        pattern = self.tokenizer._pat_str
        splitter = tiktoken.Encoding("pretokens", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        return [tokens[rank] for rank in splitter.encode_ordinary(text)]

    def rank_of(self, left: bytes, right: bytes) -> int | None:
        found: int | None = self.tokenizer._mergeable_ranks.get(left + right)
        return found

    def id_of(self, added_token: str) -> int | None:
        found: int | None = self.tokenizer._special_tokens.get(added_token)
        return found

    def bytes_of(self, token_id: int) -> bytes:
        found: bytes = self.tokenizer.decode_single_token_bytes(token_id)
        return found

    def stored(self, folder: Path) -> dict[str, Any]:
        path = folder / "ranks.tiktoken"
        ranks = sorted(self.tokenizer._mergeable_ranks.items(), key=lambda item: item[1])
        path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks))
        special = self.tokenizer._special_tokens
        return {"library": self.library, "path": str(path), "pattern": self.tokenizer._pat_str, "special": special}


class TokenizersPeer(Peer):
    """A tokenizers.Tokenizer. Truncation and padding are switched off."""

    library = "tokenizers"

    def __init__(self, tokenizer: Any, source: str) -> None:
        super().__init__(tokenizer, source)
        tokenizer.no_truncation()
        tokenizer.no_padding()

    def encode(self, texts: Sequence[str], on_special: OnSpecial) -> list[list[int]]:
        self.tokenizer.encode_special_tokens = on_special == "text"
        with _one_thread():
            found = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def pretokens(self, text: str) -> list[bytes]:
        normalizer, splitter = self.tokenizer.normalizer, self.tokenizer.pre_tokenizer
        normalized = normalizer.normalize_str(text) if normalizer is not None else text
        if splitter is None:
            return [normalized.encode()]
        return [_spelled(piece) for piece, _ in splitter.pre_tokenize_str(normalized)]

    @functools.cached_property
    def _ranks(self) -> dict[tuple[bytes, bytes], int]:
        merges = json.loads(self.tokenizer.to_str())["model"]["merges"]
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
        return {(_spelled(left), _spelled(right)): rank for rank, (left, right) in enumerate(pairs)}

    def rank_of(self, left: bytes, right: bytes) -> int | None:
        return self._ranks.get((left, right))

    def id_of(self, added_token: str) -> int | None:
        found: int | None = self.tokenizer.token_to_id(added_token)
        return found

    def bytes_of(self, token_id: int) -> bytes:
        token: str = self.tokenizer.id_to_token(token_id)
        is_added = token_id in self.tokenizer.get_added_tokens_decoder()
        return token.encode() if is_added else _spelled(token)

    def stored(self, folder: Path) -> dict[str, Any]:
        path = folder / "peer.json"
        self.tokenizer.save(str(path))
        return {"library": self.library, "path": str(path)}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Lets tokenizers use one thread; it reads the variable at each call."""
    before = os.environ.get(_PARALLELISM)
    os.environ[_PARALLELISM] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PARALLELISM]
        else:
            os.environ[_PARALLELISM] = before


def _spelled(text: str) -> bytes:
    """The bytes that characters of byte-level BPE spell; other characters spell their UTF-8."""
    return b"".join(bytes([_BYTE_OF_CHAR[char]]) if char in _BYTE_OF_CHAR else char.encode() for char in text)


def installed() -> list[str]:
    """The names of the libraries that are installed."""
    return [name for name in LIBRARIES if importlib.util.find_spec(name) is not None]


def peer_of(library: str, tokenizer: Tokenizer, path: Path | None) -> Peer:
    """A library's tokenizer with a vocabulary.

    Args:
        library: One of LIBRARIES.
        tokenizer: The tokenizer whose vocabulary it gets.
        path: The file that the tokenizer was read from, if it is known. The library reads the same file if it can.

    Raises:
        UnsupportedPeerError: The library cannot hold the vocabulary.
        ValueError: The library is unknown.
    """
    if library == "tiktoken":
        return _tiktoken_peer(tokenizer.vocabulary, path)
    if library == "tokenizers":
        return _tokenizers_peer(tokenizer.vocabulary, path)
    raise ValueError(f"library must be one of {', '.join(LIBRARIES)}, got {library!r}")


def peer_of_object(tokenizer: object) -> Peer:
    """A tiktoken.Encoding or a tokenizers.Tokenizer as a peer. Raises TypeError for another object."""
    package = type(tokenizer).__module__.partition(".")[0]
    if package == "tiktoken":
        return TiktokenPeer(tokenizer, "given")
    if package == "tokenizers":
        return TokenizersPeer(tokenizer, "given")
    found = type(tokenizer).__name__
    raise TypeError(f"a peer must be a name, a tiktoken.Encoding or a tokenizers.Tokenizer, got {found}")


def _tiktoken_peer(vocabulary: Vocabulary, path: Path | None) -> Peer:
    import tiktoken

    pattern = vocabulary.pattern
    if len(pattern.splits) != 1 or pattern.syntax != "regex" or pattern.changes_text:
        raise UnsupportedPeerError("tiktoken splits by one expression, and this pattern is more")
    if any(token.single_word or token.lstrip or token.rstrip for token in vocabulary.added_tokens):
        raise UnsupportedPeerError("tiktoken has no options of added tokens")
    if vocabulary.rules.normalizers or vocabulary.rules.add_prefix_space:
        raise UnsupportedPeerError("tiktoken does not normalize texts")
    try:
        ranks, source = ranks_of(vocabulary), "the ranks of the vocabulary"
        if path is not None and path.suffix == rank_files.SUFFIX and path.is_file():
            ranks, source = _ranks_in(path), f"the same file, {path.name}"
        special = dict(vocabulary.special_tokens)
        encoding = tiktoken.Encoding("check", pat_str=pattern.regex, mergeable_ranks=ranks, special_tokens=special)
    except ValueError as error:
        raise UnsupportedPeerError(str(error)) from None
    return TiktokenPeer(encoding, source)


def _ranks_in(path: Path) -> dict[bytes, int]:
    """The ranks of a file, read without fastlm. tiktoken's own reader keeps copies of files and may return old ones."""
    lines = map(bytes.split, path.read_bytes().splitlines())
    return {base64.b64decode(fields[0]): int(fields[1]) for fields in lines if len(fields) == 2}


def _tokenizers_peer(vocabulary: Vocabulary, path: Path | None) -> Peer:
    from tokenizers import Tokenizer as Peers

    file = _tokenizer_json(path)
    if file is not None:
        return TokenizersPeer(Peers.from_file(str(file)), f"the same file, {file.name}")
    try:
        content = tokenizer_json.write(vocabulary)[tokenizer_json.FILE].decode()
    except ValueError as error:
        raise UnsupportedPeerError(str(error)) from None
    return TokenizersPeer(Peers.from_str(content), "a tokenizer.json of the vocabulary")


def _tokenizer_json(path: Path | None) -> Path | None:
    """The tokenizer.json at a path, if the tokenizer was read from one."""
    if path is None:
        return None
    if path.is_dir():
        native, file = path / "tokenizer.fastlm", path / tokenizer_json.FILE
        return file if file.is_file() and not native.exists() else None
    return path if path.suffix == ".json" and path.name != "tekken.json" and path.is_file() else None
