"""Encoding: a tokenizer with tiktoken's methods."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from operator import length_hint
from typing import Any, Literal, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from fastlm._special import SpecialFinder
from fastlm.compat.tiktoken._tiktoken import CoreBPE, encodable
from fastlm.threads import map_in_order, thread_count

Item = TypeVar("Item")
Result = TypeVar("Result")

NONE: frozenset[str] = frozenset()
# sets of disallowed special tokens whose searches are kept
MOST_SEARCHES = 128
# a batch of fewer characters or ids in all is done before threads have started
SMALLEST_THREADED = 1 << 16


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
        self._all_special = frozenset(special_tokens)
        self._any_special = _Search(self._all_special)
        self._searches: dict[frozenset[str], _Search] = {}

    def __repr__(self) -> str:
        return f"<Encoding {self.name!r}>"

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of a text in which nothing is special. A lone surrogate counts as U+FFFD.

        Raises TypeError for what is no str.
        """
        if not isinstance(text, str):
            raise _not_a_str(text)
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
        """Ids of a text as an array, in memory of its own. Raises as `encode`, UnicodeEncodeError for a lone surrogate."""
        allowed = self._allowed(text, allowed_special, disallowed_special)
        return self._core_bpe.ids_array(encodable(text), self._core_bpe.finder(allowed))

    def encode_ordinary_batch(self, text: list[str], *, num_threads: int = 8) -> list[list[int]]:
        """`encode_ordinary` of each text, in so many threads. Raises ValueError for fewer than one."""
        return _mapped(self.encode_ordinary, text, num_threads)

    def encode_batch(
        self,
        text: list[str],
        *,
        num_threads: int = 8,
        allowed_special: Literal["all"] | AbstractSet[str] = NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[list[int]]:
        """`encode` of each text, in so many threads. Raises ValueError for fewer than one."""
        if allowed_special == "all":
            allowed_special = self._all_special
        disallowed = frozenset(self._disallowed(allowed_special, disallowed_special))
        encode = functools.partial(self.encode, allowed_special=allowed_special, disallowed_special=disallowed)
        return _mapped(encode, text, num_threads)

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
        allowed = self._allowed(text, allowed_special, disallowed_special)
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
        return _mapped(functools.partial(self.decode, errors=errors), batch, num_threads)

    def decode_bytes_batch(self, batch: Sequence[Sequence[int]], *, num_threads: int = 8) -> list[bytes]:
        """`decode_bytes` of each sequence of ids, in so many threads."""
        return _mapped(self.decode_bytes, batch, num_threads)

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
        return [id for piece in pieces for id in self._core_bpe.encode_single_piece(piece.encode())]

    def _encode_bytes(self, text: bytes) -> list[int]:
        """Ids of bytes, which need not be UTF-8."""
        return self._core_bpe._encode_bytes(text)

    def __getstate__(self) -> object:
        from fastlm.compat.tiktoken import registry

        if self is registry.ENCODINGS.get(self.name):
            return self.name
        return {
            "name": self.name,
            "pat_str": self._pat_str,
            "mergeable_ranks": self._mergeable_ranks,
            "special_tokens": self._special_tokens,
        }

    def __setstate__(self, value: Any) -> None:
        from fastlm.compat.tiktoken import registry

        if isinstance(value, str):
            self.__dict__ = registry.get_encoding(value).__dict__
        else:
            self.__init__(**value)  # type: ignore[misc]

    def _cuts(self, text: str, allowed: Any, disallowed: Any) -> SpecialFinder | None:
        """What finds the allowed special tokens. Raises as `_allowed`."""
        allowed = self._allowed(text, allowed, disallowed)
        return None if allowed is NONE else self._core_bpe.finder(allowed)

    def _allowed(self, text: str, allowed: Any, disallowed: Any) -> Any:
        """The allowed special tokens. Raises ValueError where a disallowed one stands in the text."""
        # asked for with no options, the least that does the same as what follows
        if allowed is NONE and disallowed == "all":
            if self._all_special:
                found = self._any_special.first(text)
                if found is not None:
                    raise_disallowed_special_token(found)
            elif not isinstance(text, str):
                raise _not_a_str(text)
            return NONE
        if allowed == "all":
            allowed = self._all_special
        disallowed = self._disallowed(allowed, disallowed)
        if disallowed:
            found = self._search(disallowed).first(text)
            if found is not None:
                raise_disallowed_special_token(found)
        elif not isinstance(text, str):
            raise _not_a_str(text)
        return allowed

    def _disallowed(self, allowed: Any, disallowed: Any) -> Any:
        if disallowed != "all":
            return disallowed
        if isinstance(allowed, set | frozenset) and not allowed:
            return self._all_special
        return self.special_tokens_set - allowed

    def _search(self, tokens: Collection[str]) -> _Search:
        key = tokens if isinstance(tokens, frozenset) else frozenset(tokens)
        search = self._searches.get(key)
        if search is None:
            if len(self._searches) >= MOST_SEARCHES:
                self._searches.clear()
            search = self._searches[key] = _Search(key)
        return search


class _Search:
    """Finds any of some strings in a text. Raises TypeError where they are not all str."""

    def __init__(self, tokens: frozenset[str]) -> None:
        if not all(isinstance(token, str) for token in tokens):
            raise TypeError(f"special tokens must be str, not {tokens!r}")
        self._tokens = tokens
        self._finder: SpecialFinder | None = None
        if tokens:
            # without a finder where one of them has no characters, or a lone surrogate
            with contextlib.suppress(ValueError):
                self._finder = SpecialFinder([token.encode() for token in tokens])

    def first(self, text: str) -> str | None:
        """The leftmost in the text, of those the longest, or None. Raises TypeError for what is no str."""
        if self._finder is not None:
            try:
                found = self._finder.first(text)
                return found if found is None else found.decode()
            except UnicodeEncodeError:
                pass
        if not isinstance(text, str):
            raise _not_a_str(text)
        if not self._tokens:
            return ""  # as the regular expression of no alternatives is found everywhere
        places = [(text.index(token), -len(token), token) for token in self._tokens if token in text]
        return min(places)[2] if places else None


def raise_disallowed_special_token(token: str) -> NoReturn:
    """Raises the ValueError for a text that holds it."""
    raise ValueError(
        f"Encountered text corresponding to disallowed special token {token!r}.\n"
        f"To have it encoded as that token, name it: allowed_special={{{token!r}, ...}}.\n"
        f"To have it encoded as ordinary text, do not disallow it: "
        f"disallowed_special=(enc.special_tokens_set - {{{token!r}}}), or disallowed_special=() for all."
    )


def _mapped(function: Callable[[Item], Result], items: Iterable[Item], num_threads: Any) -> list[Result]:
    """function(item) of each item, in order. Raises ValueError for fewer threads than one."""
    if num_threads is not None and num_threads <= 0:
        raise ValueError("num_threads must be greater than 0")
    items = list(items)
    processors = thread_count(None)
    threads = processors if num_threads is None else min(int(num_threads), processors)
    if threads == 1 or len(items) < 2 or sum(map(length_hint, items)) < SMALLEST_THREADED:
        return list(map(function, items))
    size = max(1, len(items) // (4 * threads))
    parts = (items[start : start + size] for start in range(0, len(items), size))
    done = map_in_order(lambda part: list(map(function, part)), parts, threads)
    return [result for part in done for result in part]


def _continues(byte: int) -> bool:
    """Whether a byte goes on with a character of UTF-8."""
    return 0x80 <= byte < 0xC0


def _utf8(text_or_bytes: str | bytes) -> bytes:
    return text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes


def _not_a_str(text: object) -> TypeError:
    return TypeError(f"'{type(text).__name__}' object is not an instance of 'str'")
