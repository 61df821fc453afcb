"""Encoding: a tokenizer with tiktoken's methods."""

from __future__ import annotations

import functools
import threading
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastlm.compat.tiktoken._tiktoken import CoreBPE
from fastlm.compat.tiktoken.arguments import encodable
from fastlm.compat.tiktoken.batch import mapped
from fastlm.compat.tiktoken.plugins import ENCODING_CONSTRUCTORS, available_plugins, find_plugins
from fastlm.compat.tiktoken.special import NONE, SpecialTokens, not_a_str
from fastlm.compat.tiktoken.special import raise_disallowed_special_token as raise_disallowed_special_token
from fastlm.text._token_finder import TokenFinder


class Encoding:
    """A tokenizer made of ranks, as tiktoken makes it; ids are tiktoken's.

    name: what it is called. pat_str: regular expression of the pretokens. mergeable_ranks: token -> rank, which is its
    id and the order in which it is merged. special_tokens: special token -> id. explicit_n_vocab: number of all tokens,
    which is then checked.

    Raises ValueError for no ranks, a rank given twice or an expression that is none, AssertionError for another number
    of tokens, TypeError and OverflowError for tokens and ids that are no bytes, str, or integers of 32 bits.

    >>> from fastlm.compat import tiktoken
    >>> ranks = {bytes([i]): i for i in range(256)} | {b"he": 256, b"lo": 257, b"llo": 258}
    >>> pattern = r"'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^\\s\\p{L}\\p{N}]++|\\s++$|\\s+(?!\\S)|\\s"
    >>> enc = tiktoken.Encoding("small", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 259})
    >>> enc.encode("hello")
    [256, 258]
    >>> enc.decode([256, 258])
    'hello'
    """

    def __init__(
        self,
        name: str,
        *,
        pat_str: str,
        mergeable_ranks: dict[bytes, int],
        special_tokens: dict[str, int],
        explicit_n_vocab: int | None = None,
    ) -> None:
        self.name = name
        self._pat_str = pat_str
        self._mergeable_ranks = mergeable_ranks
        self._special_tokens = special_tokens
        self.max_token_value: int = max(max(mergeable_ranks.values()), max(special_tokens.values(), default=0))
        if explicit_n_vocab:
            n = len(mergeable_ranks) + len(special_tokens)
            if explicit_n_vocab != n or explicit_n_vocab != self.max_token_value + 1:
                raise AssertionError(
                    f"explicit_n_vocab is {explicit_n_vocab}, but there are {n} tokens and the largest id is "
                    f"{self.max_token_value}"
                )
        self._special_token_values = set(special_tokens.values())
        self._core_bpe = CoreBPE(mergeable_ranks, special_tokens, pat_str)
        self._special = SpecialTokens(special_tokens)

    def __repr__(self) -> str:
        return f"<Encoding {self.name!r}>"

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of a text in which nothing is special. A lone surrogate counts as U+FFFD.

        Raises TypeError for what is no str.
        """
        if not isinstance(text, str):
            raise not_a_str(text)
        return self._core_bpe.ids(text, None)

    def encode(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[int]:
        """Ids of a text. The special tokens in `allowed_special` become their ids; where two start at one place, the
        longer. A lone surrogate counts as U+FFFD.

        Raises ValueError where the text holds one of `disallowed_special`, by default all that are not allowed; ()
        takes them for text. Raises TypeError for what is no str, or an `allowed_special` that is no set.
        """
        return self._core_bpe.ids(text, self._cuts(text, allowed_special, disallowed_special))

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> npt.NDArray[np.uint32]:
        """Ids of a text as an array that is the caller's own.

        Raises as `encode`, and UnicodeEncodeError for a lone surrogate.
        """
        allowed = self._special.checked(text, allowed_special, disallowed_special)
        return self._core_bpe.ids_array(encodable(text), self._core_bpe.finder(allowed))

    def encode_ordinary_batch(self, text: list[str], *, num_threads: int = 8) -> list[list[int]]:
        """`encode_ordinary` of each text, in so many threads. Raises ValueError for fewer than one."""
        return mapped(self.encode_ordinary, text, num_threads)

    def encode_batch(
        self,
        text: list[str],
        *,
        num_threads: int = 8,
        allowed_special: Literal["all"] | AbstractSet[str] = NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[list[int]]:
        """`encode` of each text, in so many threads. Raises ValueError for fewer than one."""
        disallowed = self._special.disallowed(allowed_special, disallowed_special)
        encode = functools.partial(self.encode, allowed_special=allowed_special, disallowed_special=disallowed)
        return mapped(encode, text, num_threads)

    def encode_with_unstable(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> tuple[list[int], list[list[int]]]:
        """(ids, completions): ids that more text cannot change, and what may follow them, in no particular order.

        The ids spell a beginning of the text; with any of the completions after them they spell at least the text.
        Raises as `encode_to_numpy`.
        """
        allowed = self._special.checked(text, allowed_special, disallowed_special)
        return self._core_bpe.encode_with_unstable(text, allowed)

    def count(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> int:
        """Number of ids that `encode` gives, without making them. tiktoken lacks this method."""
        return self._core_bpe.count(text, self._cuts(text, allowed_special, disallowed_special))

    def encode_upto(
        self,
        text: str,
        n: int,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[int]:
        """The first n ids that `encode` gives; the rest of the text is not encoded. tiktoken lacks this method.

        Raises ValueError for a negative n.
        """
        if n < 0:
            raise ValueError(f"n must not be negative, and is {n}")
        return self._core_bpe.ids_upto(text, n, self._cuts(text, allowed_special, disallowed_special))

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """The id of one token, an ordinary one before a special one. Raises KeyError where there is none."""
        return self._core_bpe.encode_single_token(_utf8(text_or_bytes))

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """The bytes of ids. Raises KeyError for an unknown id, OverflowError for one that does not fit 32 bits without
        sign, TypeError for what is no sequence of integers."""
        return self._core_bpe.decode_bytes(tokens)

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """The text of ids; `errors` says what becomes of bytes that are not UTF-8, as in `bytes.decode`."""
        return self._core_bpe.decode_bytes(tokens).decode("utf-8", errors=errors)

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The bytes of one id. Raises KeyError for an unknown one."""
        return self._core_bpe.decode_single_token_bytes(token)

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """The bytes of each id."""
        return [self.decode_single_token_bytes(token) for token in tokens]

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """(text, offsets): for each id the index of the character in which its bytes start.

        Raises UnicodeDecodeError where the bytes of all are not UTF-8.
        """
        spelled = self.decode_tokens_bytes(tokens)
        offsets: list[int] = []
        characters = 0
        for token in spelled:
            offsets.append(max(0, characters - _continues(token[0])))
            characters += sum(not _continues(byte) for byte in token)
        return b"".join(spelled).decode(), offsets

    def decode_batch(
        self, batch: Sequence[Sequence[int]], *, errors: str = "replace", num_threads: int = 8
    ) -> list[str]:
        """`decode` of each sequence of ids, in so many threads."""
        return mapped(functools.partial(self.decode, errors=errors), batch, num_threads)

    def decode_bytes_batch(self, batch: Sequence[Sequence[int]], *, num_threads: int = 8) -> list[bytes]:
        """`decode_bytes` of each sequence of ids, in so many threads."""
        return mapped(self.decode_bytes, batch, num_threads)

    def token_byte_values(self) -> list[bytes]:
        """The bytes of all ordinary tokens, sorted."""
        return self._core_bpe.token_byte_values()

    @property
    def eot_token(self) -> int:
        """The id of <|endoftext|>. Raises KeyError where that is no special token."""
        return self._special_tokens["<|endoftext|>"]

    @functools.cached_property
    def special_tokens_set(self) -> set[str]:
        """The special tokens."""
        return set(self._special_tokens)

    def is_special_token(self, token: int) -> bool:
        """Whether an id is that of a special token. Raises AssertionError for what is no int."""
        if not isinstance(token, int):
            raise AssertionError(f"token must be an int, not {type(token).__name__}")
        return token in self._special_token_values

    @property
    def n_vocab(self) -> int:
        """max_token_value + 1."""
        return self.max_token_value + 1

    def _encode_single_piece(self, text_or_bytes: str | bytes) -> list[int]:
        """Ids of what is taken for one pretoken."""
        return self._core_bpe.encode_single_piece(_utf8(text_or_bytes))

    def _encode_only_native_bpe(self, text: str) -> list[int]:
        """Ids of a text that Python's `regex` splits, by its own version of Unicode and its own meaning of $."""
        import regex

        pieces = regex.compile(self._pat_str).findall(text)
        return [token_id for piece in pieces for token_id in self._core_bpe.encode_single_piece(piece.encode())]

    def _encode_bytes(self, text: bytes) -> list[int]:
        """Ids of bytes, which need not be UTF-8."""
        return self._core_bpe._encode_bytes(text)

    def __getstate__(self) -> object:
        if self is ENCODINGS.get(self.name):
            return self.name
        return {
            "name": self.name,
            "pat_str": self._pat_str,
            "mergeable_ranks": self._mergeable_ranks,
            "special_tokens": self._special_tokens,
        }

    def __setstate__(self, value: Any) -> None:
        if isinstance(value, str):
            self.__dict__ = get_encoding(value).__dict__
        else:
            self.__init__(**value)  # type: ignore[misc]

    def _cuts(self, text: str, allowed: Any, disallowed: Any) -> TokenFinder | None:
        """What finds the allowed special tokens. Raises as `encode`."""
        allowed = self._special.checked(text, allowed, disallowed)
        return None if allowed is NONE else self._core_bpe.finder(allowed)


ENCODINGS: dict[str, Encoding] = {}
"""Name -> the encoding, of those that were asked for by name."""

_lock = threading.RLock()


def get_encoding(encoding_name: str) -> Encoding:
    """The encoding of this name, always the same object.

    Raises ValueError for a name that none has, and for a file with another content than the published one;
    FileNotFoundError saying which file to get and where to put it.
    """
    if not isinstance(encoding_name, str):
        raise ValueError(f"Expected a string in get_encoding, got {type(encoding_name)}")
    known = ENCODINGS.get(encoding_name)
    if known is not None:
        return known
    with _lock:
        if encoding_name not in ENCODINGS:
            # plugins are not looked for before they are needed: a broken one breaks no other encoding
            if encoding_name not in ENCODING_CONSTRUCTORS:
                find_plugins()
            if encoding_name not in ENCODING_CONSTRUCTORS:
                raise ValueError(
                    f"Unknown encoding {encoding_name}.\n"
                    f"There are {sorted(ENCODING_CONSTRUCTORS)}; plugins found: {available_plugins()}"
                )
            ENCODINGS[encoding_name] = Encoding(**ENCODING_CONSTRUCTORS[encoding_name]())
        return ENCODINGS[encoding_name]


def _continues(byte: int) -> bool:
    """Whether a byte goes on with a character of UTF-8."""
    return 0x80 <= byte < 0xC0


def _utf8(text_or_bytes: str | bytes) -> bytes:
    return text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes
