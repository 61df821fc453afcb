"""Encoding: a tokenizer with tiktoken's methods."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastlm.compat.tiktoken._tiktoken import CoreBPE
from fastlm.compat.tiktoken.arguments import encodable, not_an_instance
from fastlm.compat.tiktoken.batch import mapped
from fastlm.compat.tiktoken.plugins import ENCODING_CONSTRUCTORS, available_plugins, find_plugins
from fastlm.compat.tiktoken.special import NONE, SpecialTokens
from fastlm.compat.tiktoken.special import raise_disallowed_special_token as raise_disallowed_special_token
from fastlm.forks import ForkSafeLock, cached_property, no_fork
from fastlm.pretokenize.regex_module import regex_module
from fastlm.text._token_finder import TokenFinder


class Encoding:
    """A tokenizer made from ranks. Its token ids equal tiktoken's.

    Args:
        name: Name of the encoding.
        pat_str: Regular expression of the pretokens.
        mergeable_ranks: Token -> rank. The rank is the token id and the order of the merges.
        special_tokens: Special token -> token id.
        explicit_n_vocab: Expected number of all tokens; None for no check.

    Raises:
        ValueError: There are no ranks, a rank occurs twice, or `pat_str` is not a regular expression.
        AssertionError: The number of tokens is not `explicit_n_vocab`.
        TypeError: A token or an id has the wrong type.
        OverflowError: An id does not fit an unsigned 32-bit integer.

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
        """Encodes a text without special tokens. A lone surrogate is encoded as U+FFFD.

        Args:
            text: The text.

        Returns:
            The token ids.

        Raises:
            TypeError: The text is not a str.
        """
        if not isinstance(text, str):
            raise not_an_instance(text, "str")
        return self._core_bpe.ids(text, None)

    def encode(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[int]:
        """Encodes a text. A lone surrogate is encoded as U+FFFD.

        Args:
            text: The text.
            allowed_special: Special tokens that are encoded as their ids. If two start at the same position, the longer
                one is found.
            disallowed_special: Special tokens that raise an error. "all" means every special token that is not allowed.
                With (), special tokens that are not allowed are encoded as text.

        Returns:
            The token ids.

        Raises:
            ValueError: The text contains a disallowed special token.
            TypeError: The text is not a str, or `allowed_special` is not a set.
        """
        return self._core_bpe.ids(text, self._cuts(text, allowed_special, disallowed_special))

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> npt.NDArray[np.uint32]:
        """Encodes a text into a new array. Arguments are the same as for `encode`.

        Returns:
            The token ids, uint32.

        Raises:
            ValueError: The text contains a disallowed special token.
            TypeError: The text is not a str, or `allowed_special` is not a set.
            UnicodeEncodeError: The text contains a lone surrogate.
        """
        allowed = self._special.checked(text, allowed_special, disallowed_special)
        return self._core_bpe.ids_array(encodable(text), self._core_bpe.finder(allowed))

    def encode_ordinary_batch(self, text: list[str], *, num_threads: int = 8) -> list[list[int]]:
        """Encodes each text as `encode_ordinary`.

        Args:
            text: The texts.
            num_threads: Largest number of threads.

        Returns:
            The token ids of each text.

        Raises:
            ValueError: `num_threads` is less than 1.
            TypeError: A text is not a str.
        """
        return mapped(self.encode_ordinary, text, num_threads)

    def encode_batch(
        self,
        text: list[str],
        *,
        num_threads: int = 8,
        allowed_special: Literal["all"] | AbstractSet[str] = NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[list[int]]:
        """Encodes each text as `encode`.

        Args:
            text: The texts.
            num_threads: Largest number of threads.
            allowed_special: Special tokens that are encoded as their ids.
            disallowed_special: Special tokens that raise an error.

        Returns:
            The token ids of each text.

        Raises:
            ValueError: `num_threads` is less than 1, or a text contains a disallowed special token.
            TypeError: A text is not a str, or `allowed_special` is not a set.
        """
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
        """Encodes a text to which more text may be appended.

        Arguments and errors are the same as for `encode_to_numpy`.

        Returns:
            The stable ids, which more text cannot change, and the completions, lists of ids that may follow the stable
            ids, in no particular order. The stable ids decode to a prefix of the text. With any completion appended,
            they decode to a string that starts with the text.
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
        """Counts the token ids of a text without making a list. Arguments and errors are the same as for `encode`.

        tiktoken lacks this method.
        """
        return self._core_bpe.count(text, self._cuts(text, allowed_special, disallowed_special))

    def encode_upto(
        self,
        text: str,
        n: int,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[int]:
        """Encodes the start of a text, and not the rest. tiktoken lacks this method.

        Args:
            text: The text.
            n: Largest number of token ids.
            allowed_special: Special tokens that are encoded as their ids.
            disallowed_special: Special tokens that raise an error.

        Returns:
            The first n ids that `encode` returns.

        Raises:
            ValueError: n is negative, or the text contains a disallowed special token.
            TypeError: The text is not a str, or `allowed_special` is not a set.
        """
        if n < 0:
            raise ValueError(f"n must not be negative, got {n}")
        return self._core_bpe.ids_upto(text, n, self._cuts(text, allowed_special, disallowed_special))

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """Looks up the id of a token. An ordinary token precedes a special one.

        Args:
            text_or_bytes: The token.

        Returns:
            The token id.

        Raises:
            KeyError: No token has this text.
        """
        return self._core_bpe.encode_single_token(_utf8(text_or_bytes))

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """Decodes token ids to bytes.

        Args:
            tokens: The token ids.

        Returns:
            The bytes of the tokens, joined.

        Raises:
            KeyError: An id has no token.
            OverflowError: An id does not fit an unsigned 32-bit integer.
            TypeError: `tokens` is not a sequence of integers.
        """
        return self._core_bpe.decode_bytes(tokens)

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """Decodes token ids to text.

        Args:
            tokens: The token ids.
            errors: How to handle bytes that are not UTF-8, as in `bytes.decode`.

        Returns:
            The text.

        Raises:
            KeyError: An id has no token.
            OverflowError: An id does not fit an unsigned 32-bit integer.
            TypeError: `tokens` is not a sequence of integers.
            UnicodeDecodeError: The bytes are not UTF-8, and `errors` is "strict".
        """
        return self._core_bpe.decode_bytes(tokens).decode("utf-8", errors=errors)

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Decodes one token id to bytes. Raises KeyError for an unknown id."""
        return self._core_bpe.decode_single_token_bytes(token)

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """Decodes each token id to bytes. Raises KeyError for an unknown id."""
        return [self.decode_single_token_bytes(token) for token in tokens]

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """Decodes token ids to text, with the offset of each token.

        Args:
            tokens: The token ids.

        Returns:
            The text, and for each id the index of the character in which its bytes start.

        Raises:
            KeyError: An id has no token.
            UnicodeDecodeError: The joined bytes are not UTF-8.
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
        """Decodes each sequence of ids as `decode`.

        Args:
            batch: The sequences of token ids.
            errors: How to handle bytes that are not UTF-8, as in `bytes.decode`.
            num_threads: Largest number of threads.

        Returns:
            The text of each sequence.

        Raises:
            ValueError: `num_threads` is less than 1.
            KeyError: An id has no token.
        """
        return mapped(functools.partial(self.decode, errors=errors), batch, num_threads)

    def decode_bytes_batch(self, batch: Sequence[Sequence[int]], *, num_threads: int = 8) -> list[bytes]:
        """Decodes each sequence of ids as `decode_bytes`.

        Args:
            batch: The sequences of token ids.
            num_threads: Largest number of threads.

        Returns:
            The bytes of each sequence.

        Raises:
            ValueError: `num_threads` is less than 1.
            KeyError: An id has no token.
        """
        return mapped(self.decode_bytes, batch, num_threads)

    def token_byte_values(self) -> list[bytes]:
        """Lists the bytes of all ordinary tokens, sorted."""
        return self._core_bpe.token_byte_values()

    @property
    def eot_token(self) -> int:
        """The id of <|endoftext|>. Raises KeyError if the encoding has no such special token."""
        return self._special_tokens["<|endoftext|>"]

    @cached_property
    def special_tokens_set(self) -> set[str]:
        """The special tokens."""
        return set(self._special_tokens)

    def is_special_token(self, token: int) -> bool:
        """Whether a special token has this id. Raises AssertionError unless the id is an int."""
        if not isinstance(token, int):
            raise AssertionError(f"token must be an int, not {type(token).__name__}")
        return token in self._special_token_values

    @property
    def n_vocab(self) -> int:
        """max_token_value + 1."""
        return self.max_token_value + 1

    def _encode_single_piece(self, text_or_bytes: str | bytes) -> list[int]:
        """Encodes a text or bytes as one pretoken."""
        return self._core_bpe.encode_single_piece(_utf8(text_or_bytes))

    def _encode_only_native_bpe(self, text: str) -> list[int]:
        """Encodes a text that Python's `regex` splits, with its Unicode version and its meaning of $."""
        regex = regex_module()
        with no_fork:
            pattern = regex.compile(self._pat_str)
        pieces = pattern.findall(text)
        return [token_id for piece in pieces for token_id in self._core_bpe.encode_single_piece(piece.encode())]

    def _encode_bytes(self, text: bytes) -> list[int]:
        """Encodes bytes, which need not be UTF-8."""
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
        """The finder of the allowed special tokens. The errors are the same as for `encode`."""
        allowed = self._special.checked(text, allowed, disallowed)
        return None if allowed is NONE else self._core_bpe.finder(allowed)


ENCODINGS: dict[str, Encoding] = {}
"""Name -> encoding, for the encodings that `get_encoding` has returned."""

_lock = ForkSafeLock()


def get_encoding(encoding_name: str) -> Encoding:
    """Returns the encoding with a name. The same name always returns the same object.

    Args:
        encoding_name: The name of the encoding.

    Returns:
        The encoding.

    Raises:
        ValueError: No encoding has this name, or the content of a rank file differs from the published file.
        FileNotFoundError: A rank file is missing. The message says which file to download and where to put it.
    """
    if not isinstance(encoding_name, str):
        raise ValueError(f"Expected a string in get_encoding, got {type(encoding_name)}")
    known = ENCODINGS.get(encoding_name)
    if known is not None:
        return known
    with _lock:
        if encoding_name not in ENCODINGS:
            # Plugins are imported only if needed, so that a broken plugin breaks no other encoding.
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
    """Whether a byte is a continuation byte of UTF-8."""
    return 0x80 <= byte < 0xC0


def _utf8(text_or_bytes: str | bytes) -> bytes:
    return text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes
