"""What a tokenizer knows: the bytes of each id, the merges in order of rank, special tokens, the pattern."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fastlm._types import Int64Array, UInt8Array, UInt32Array
from fastlm.patterns import Pattern

# ids need not be dense, but tables by id must not grow without bound from one huge id
SPARSE_IDS = 1 << 20

Merge = tuple[bytes, bytes]

PRINTABLE_BYTES = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
OTHER_BYTES = [byte for byte in range(256) if byte not in PRINTABLE_BYTES]
BYTE_ORDER = PRINTABLE_BYTES + OTHER_BYTES
"""The 256 bytes in the order of their ids in GPT-2, CS336 and Hugging Face's trainer: what Latin-1 prints first."""


ARRAYS: dict[str, np.dtype[Any]] = {
    "token_bytes": np.dtype(np.uint8),
    "token_offsets": np.dtype(np.int64),
    "merge_left": np.dtype(np.uint32),
    "merge_right": np.dtype(np.uint32),
    "merge_new": np.dtype(np.uint32),
    "byte_ids": np.dtype(np.uint32),
}
"""The arrays of a vocabulary and their types."""


def _frozen(name: str, array: Any, dtype: np.dtype[Any]) -> Any:
    """The array where nothing can write to it, else a copy: the native code reads it unchecked."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
        raise ValueError(f"{name} must be a one-dimensional array of {dtype}")
    frozen = array if isinstance(array.base, bytes) else array.copy()
    frozen.flags.writeable = False
    return frozen


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """An immutable vocabulary; ids are what models see, merge ranks are the order in which pairs merge.

    token_bytes (uint8) and token_offsets (int64, n + 1): the bytes of id i are
    token_bytes[token_offsets[i]:token_offsets[i + 1]], none for an id that is not used. merge_left, merge_right,
    merge_new (uint32, in order of rank): the two ids of a merge and the id it yields. byte_ids (uint32, 256): the id of
    each single byte. Raises ValueError where these do not fit together.
    """

    token_bytes: UInt8Array
    token_offsets: Int64Array
    merge_left: UInt32Array
    merge_right: UInt32Array
    merge_new: UInt32Array
    byte_ids: UInt32Array
    special_tokens: Mapping[str, int]
    pattern: Pattern

    def __post_init__(self) -> None:
        for name, dtype in ARRAYS.items():
            object.__setattr__(self, name, _frozen(name, getattr(self, name), dtype))
        offsets = self.token_offsets
        n = len(offsets) - 1
        # compared, not subtracted: differences of hostile offsets wrap around
        if n < 1 or offsets[0] != 0 or offsets[-1] != len(self.token_bytes) or (offsets[1:] < offsets[:-1]).any():
            raise ValueError("token offsets must ascend from 0 to the number of token bytes")
        lengths = np.diff(offsets)
        merges = (self.merge_left, self.merge_right, self.merge_new)
        if len({len(ids) for ids in merges}) != 1 or any(len(ids) and ids.max() >= n for ids in merges):
            raise ValueError(f"merges must be three equally long arrays of ids below {n}")
        if len(self.byte_ids) != 256 or self.byte_ids.max() >= n:
            raise ValueError(f"there must be 256 byte ids below {n}")
        starts = self.token_offsets[self.byte_ids]
        if (lengths[self.byte_ids] != 1).any() or (self.token_bytes[starts] != np.arange(256)).any():
            raise ValueError("byte ids do not name the 256 single-byte tokens")
        self._check_spelling(merges, lengths)
        self._check_pairs_differ()
        for token, id in self.special_tokens.items():
            if not token or not 0 <= id < n or self.bytes_of(id) != token.encode():
                raise ValueError(f"id {id} does not hold the special token {token!r}")

    def _check_spelling(self, merges: tuple[UInt32Array, UInt32Array, UInt32Array], lengths: Int64Array) -> None:
        """Raises ValueError unless each merge yields the bytes of its two sides, one after the other."""
        sides = np.stack([self.merge_left, self.merge_right], axis=1).ravel()
        joined = lengths[self.merge_left] + lengths[self.merge_right]
        used = (lengths[self.merge_left] > 0) & (lengths[self.merge_right] > 0)
        wrong = np.flatnonzero(~used | (joined != lengths[self.merge_new]))
        if not len(wrong):
            spelled = self._concatenated(sides)
            expected = self._concatenated(self.merge_new)
            differing = np.flatnonzero(spelled != expected)
            wrong = np.searchsorted(np.cumsum(joined), differing[:1], side="right")
        if len(wrong):
            rank = int(wrong[0])
            left, right, new = (self.bytes_of(int(ids[rank])) for ids in merges)
            raise ValueError(f"merge {rank} joins {left!r} and {right!r} but yields {new!r}")

    def _check_pairs_differ(self) -> None:
        pairs = self.merge_left.astype(np.uint64) << np.uint64(32) | self.merge_right
        _, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
        repeated = np.flatnonzero(first[inverse] != np.arange(len(pairs)))
        if len(repeated):
            rank = int(repeated[0])
            left, right = self.bytes_of(int(self.merge_left[rank])), self.bytes_of(int(self.merge_right[rank]))
            raise ValueError(f"merge {rank} repeats merge {first[inverse][rank]}: {left!r}, {right!r}")

    def _concatenated(self, ids: UInt32Array) -> UInt8Array:
        starts = self.token_offsets[ids]
        lengths = self.token_offsets[ids.astype(np.int64) + 1] - starts
        total = int(lengths.sum())
        skipped = np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths) if total else 0
        return self.token_bytes[np.arange(total) + skipped]

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[object, ...]]:
        return Vocabulary, tuple(getattr(self, field.name) for field in fields(self))

    def __len__(self) -> int:
        """Number of ids, or one more than the largest where some are not used."""
        return len(self.token_offsets) - 1

    def bytes_of(self, id: int) -> bytes:
        return self.token_bytes[self.token_offsets[id] : self.token_offsets[id + 1]].tobytes()

    @functools.cached_property
    def tokens(self) -> dict[int, bytes]:
        """id -> bytes, in order of ids."""
        blob, offsets = self.token_bytes.tobytes(), self.token_offsets.tolist()
        return {i: blob[a:b] for i, (a, b) in enumerate(itertools.pairwise(offsets)) if a < b}

    @functools.cached_property
    def merges(self) -> list[Merge]:
        """(left bytes, right bytes) in order of rank."""
        tokens = self.tokens
        pairs = zip(self.merge_left.tolist(), self.merge_right.tolist(), strict=True)
        return [(tokens[left], tokens[right]) for left, right in pairs]

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 of all that decides ids: tokens, merges, special tokens and pattern."""
        import hashlib

        digest = hashlib.sha256()
        for array in (self.token_bytes, self.token_offsets, self.merge_left, self.merge_right, self.merge_new):
            digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        digest.update(repr((sorted(self.special_tokens.items()), self.pattern.regex)).encode())
        return digest.hexdigest()


def vocabulary_from_tokens(
    tokens: Mapping[int, bytes], merges: Iterable[Merge], special_tokens: Iterable[str], pattern: Pattern
) -> Vocabulary:
    """A vocabulary from id -> bytes and the merges in order of rank.

    A special token whose bytes no id has gets the next id after the largest. Raises ValueError naming the id, the merge
    or the special token that does not fit, TypeError for one of the wrong type.
    """
    table = dict(tokens)
    for id, token in table.items():
        if not isinstance(id, int) or isinstance(id, bool) or not isinstance(token, bytes):
            raise TypeError(f"the vocabulary must map int to bytes, not {id!r} to {token!r}")
        if id < 0 or not token:
            raise ValueError(f"id {id} with bytes {token!r}: ids must not be negative nor tokens empty")
    id_of = {token: id for id, token in sorted(table.items(), reverse=True)}
    next_id = max(table, default=-1) + 1
    if next_id > 2 * len(table) + SPARSE_IDS:
        raise ValueError(f"id {next_id - 1} is far above the number of tokens, {len(table)}")

    special_ids: dict[str, int] = {}
    for special in checked_special_tokens(special_tokens):
        spelled = special_bytes(special)
        if spelled not in id_of:
            table[next_id] = spelled
            id_of[spelled] = next_id
            next_id += 1
        special_ids[special] = id_of[spelled]
    # bytes that stand twice are a special token and an ordinary one: merges mean the latter
    reserved = set(special_ids.values())
    id_of.update({token: id for id, token in sorted(table.items(), reverse=True) if id not in reserved})

    missing = [b for b in range(256) if bytes([b]) not in id_of]
    if missing:
        raise ValueError(f"the vocabulary lacks {len(missing)} of the 256 bytes, the first is 0x{missing[0]:02x}")
    ranked: list[tuple[int, int, int]] = []
    for rank, merge in enumerate(merges):
        if not isinstance(merge, tuple | list) or len(merge) != 2:
            raise ValueError(f"merge {rank} is {merge!r}, not two tokens")
        left, right = merge
        if not isinstance(left, bytes) or not isinstance(right, bytes):
            raise TypeError(f"merge {rank} must join bytes, not {left!r} and {right!r}")
        for token in (left, right, left + right):
            if token not in id_of:
                raise ValueError(f"merge {rank} of {left!r} and {right!r}: {token!r} is not in the vocabulary")
        ranked.append((id_of[left], id_of[right], id_of[left + right]))
    left_ids, right_ids, new_ids = np.array(ranked, np.uint32).reshape(-1, 3).T
    spelled_by_id = [table.get(id, b"") for id in range(next_id)]
    return Vocabulary(
        np.frombuffer(b"".join(spelled_by_id), np.uint8),
        np.cumsum([0, *map(len, spelled_by_id)], dtype=np.int64),
        np.ascontiguousarray(left_ids),
        np.ascontiguousarray(right_ids),
        np.ascontiguousarray(new_ids),
        np.array([id_of[bytes([b])] for b in range(256)], np.uint32),
        special_ids,
        pattern,
    )


def checked_special_tokens(special_tokens: Iterable[str]) -> list[str]:
    """The special tokens as a list. Raises TypeError for what is no list of str, ValueError for a token that cannot be
    one or is given twice."""
    if isinstance(special_tokens, str):
        raise TypeError("special_tokens must be a list of str, not one str")
    special: dict[str, None] = {}
    for token in special_tokens:
        if not isinstance(token, str):
            raise TypeError(f"special tokens must be str, not {type(token).__name__}")
        special_bytes(token)
        if token in special:
            raise ValueError(f"special token {token!r} is given twice")
        special[token] = None
    return list(special)


def special_bytes(special: str) -> bytes:
    """UTF-8 of a special token. Raises ValueError where it is empty or holds a lone surrogate."""
    if not special:
        raise ValueError("a special token must not be empty")
    try:
        return special.encode()
    except UnicodeEncodeError:
        raise ValueError(f"special token {special!r} holds a lone surrogate, which UTF-8 cannot spell") from None
