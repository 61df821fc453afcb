"""Vocabularies: the bytes of each token ID, the merges in order of rank, added tokens, the pattern, and the rules."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np

from fastlm._types import Int64Array, UInt8Array, UInt32Array
from fastlm.forks import cached_property, no_fork
from fastlm.pretokenize.patterns import Pattern
from fastlm.text.byte_level import OTHER_BYTES, PRINTABLE_BYTES
from fastlm.vocabulary._spelling import first_misspelled

if TYPE_CHECKING:
    from fastlm.normalizers.steps import Normalizer

# IDs need not be dense. This bounds tables indexed by ID: one huge ID in a file must not exhaust memory
SPARSE_IDS = 1 << 20

Merge = tuple[bytes, bytes]

BYTE_ORDER = PRINTABLE_BYTES + OTHER_BYTES
"""The 256 bytes in the order of their IDs in GPT-2, CS336 and Hugging Face's trainer: printable Latin-1 first."""

NO_ID = 0xFFFFFFFF
"""In byte_ids: the vocabulary has no token for this byte. FASTLM_NO_ID in native/common.h."""

ARRAYS: dict[str, np.dtype[Any]] = {
    "token_bytes": np.dtype(np.uint8),
    "token_offsets": np.dtype(np.int64),
    "merge_left": np.dtype(np.uint32),
    "merge_right": np.dtype(np.uint32),
    "merge_new": np.dtype(np.uint32),
    "byte_ids": np.dtype(np.uint32),
}
"""The arrays of a vocabulary and their dtypes."""


@dataclass(frozen=True)
class AddedToken:
    """A string that is found in a text before the text is split into pretokens, and becomes one ID.

    Attributes:
        content: The string.
        id: The ID of the token.
        special: Decoding may leave the token out.
        single_word: The token does not count next to a word character.
        lstrip: The token includes the whitespace before it.
        rstrip: The token includes the whitespace after it.
        normalized: The string is normalized, and found in the normalized text instead of the text as given.

    Raises:
        TypeError: `content` is not a str, or `id` not an int.
        ValueError: `content` is empty or has a lone surrogate.
    """

    content: str
    id: int
    special: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.content, str) or not isinstance(self.id, int) or isinstance(self.id, bool):
            raise TypeError(f"an added token must be a str with an int as ID, got {self.content!r} with {self.id!r}")
        special_bytes(self.content)


Normalization: TypeAlias = "Literal['NFC'] | tuple[Normalizer, ...] | None"
"""The steps that normalize a text: "NFC" for this one step, None for no steps."""


def _normalizer_steps() -> Any:
    """The module of the steps, which most vocabularies do not need."""
    with no_fork:
        from fastlm.normalizers import steps
    return steps


def _nfc_steps() -> tuple[Normalizer, ...]:
    return (_normalizer_steps().UnicodeForm("NFC"),)


@dataclass(frozen=True)
class Rules:
    """What decides IDs, besides tokens, merges, added tokens and the pattern.

    Attributes:
        ignore_merges: A pretoken that is a token becomes its ID, even if no merges make it, as in tiktoken and Llama 3.
        normalization: The steps that normalize a text. Steps without effect are left out.
        add_prefix_space: Each span between added tokens that does not begin with a space gets one.
        unknown_bytes: Bytes without an ID are an error ("refuse") or left out ("drop").
        begin: IDs that `add_special_tokens` puts before the IDs of a text.
        end: IDs that `add_special_tokens` puts after them.

    Raises:
        TypeError: `begin` or `end` are not ints.
        ValueError: Another rule has an unknown value.
    """

    ignore_merges: bool = False
    normalization: Normalization = None
    add_prefix_space: bool = False
    unknown_bytes: Literal["refuse", "drop"] = "refuse"
    begin: tuple[int, ...] = ()
    end: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.normalization not in (None, "NFC"):
            if not isinstance(self.normalization, tuple):
                raise ValueError(f"normalization must be 'NFC', a tuple of steps or None, got {self.normalization!r}")
            steps = _normalizer_steps().simplified(self.normalization)
            # one form for equal rules, and for the fingerprints of vocabularies with NFC
            object.__setattr__(self, "normalization", "NFC" if steps == _nfc_steps() else steps or None)
        if self.unknown_bytes not in ("refuse", "drop"):
            raise ValueError(f"unknown_bytes must be 'refuse' or 'drop', got {self.unknown_bytes!r}")
        ids = (*self.begin, *self.end)
        if not all(isinstance(token_id, int) and not isinstance(token_id, bool) for token_id in ids):
            raise TypeError(f"begin and end must be tuples of int, got {self.begin!r} and {self.end!r}")

    @property
    def normalizers(self) -> tuple[Normalizer, ...]:
        """The steps that normalize a text."""
        if isinstance(self.normalization, tuple):
            return self.normalization
        return _nfc_steps() if self.normalization else ()

    def for_fingerprint(self) -> str:
        """The rules as text that does not depend on the names of classes."""
        steps = self.normalization
        if isinstance(steps, tuple):
            steps = json.dumps([step.content() for step in steps], sort_keys=True)  # type: ignore[assignment]
        values = {field.name: getattr(self, field.name) for field in fields(self)} | {"normalization": steps}
        return f"Rules({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    def changed(self) -> str:
        """The rules that are not the default, for messages."""
        defaults = Rules()
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if isinstance(self.normalization, tuple):
            values["normalization"] = " then ".join(step.type_name for step in self.normalization)
        return ", ".join(f"{name}={value!r}" for name, value in values.items() if value != getattr(defaults, name))


def _frozen(name: str, array: Any, dtype: np.dtype[Any]) -> Any:
    """Returns an array that nobody can write to, a copy if necessary: native code reads it without checks."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
        raise ValueError(f"{name} must be a one-dimensional array of {dtype}")
    frozen = array if isinstance(array.base, bytes) else array.copy()
    frozen.flags.writeable = False
    return frozen


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """An immutable vocabulary.

    Token IDs are what models see. Merge ranks are the order in which pairs merge. The two are independent.

    Attributes:
        token_bytes: The bytes of all tokens, uint8.
        token_offsets: int64 (n + 1,): the bytes of ID k are token_bytes[token_offsets[k]:token_offsets[k + 1]]. An ID
            without bytes is not used.
        merge_left: The left ID of each merge in order of rank, uint32.
        merge_right: The right ID of each merge, uint32.
        merge_new: The ID that each merge makes, uint32.
        byte_ids: The ID of each byte, or NO_ID, uint32 (256,).
        added_tokens: The added tokens.
        pattern: How texts are split into pretokens.
        rules: What else decides IDs.
        carried: JSON of the parts of a tokenizer.json outside of the vocabulary. It decides no ID and is written back
            when the vocabulary is saved.

    Raises:
        ValueError: The parts do not fit together.
    """

    token_bytes: UInt8Array
    token_offsets: Int64Array
    merge_left: UInt32Array
    merge_right: UInt32Array
    merge_new: UInt32Array
    byte_ids: UInt32Array
    added_tokens: tuple[AddedToken, ...]
    pattern: Pattern
    rules: Rules = Rules()
    carried: str = ""

    def __post_init__(self) -> None:
        for name, dtype in ARRAYS.items():
            object.__setattr__(self, name, _frozen(name, getattr(self, name), dtype))
        offsets = self.token_offsets
        n = len(offsets) - 1
        # compared, not subtracted: the differences of hostile offsets wrap around
        if n < 1 or offsets[0] != 0 or offsets[-1] != len(self.token_bytes) or (offsets[1:] < offsets[:-1]).any():
            raise ValueError("token offsets must ascend from 0 to the number of token bytes")
        lengths = self.token_lengths
        merges = (self.merge_left, self.merge_right, self.merge_new)
        if len({len(ids) for ids in merges}) != 1 or any(len(ids) and ids.max() >= n for ids in merges):
            raise ValueError(f"merges must be three equally long arrays of ids below {n}")
        self._check_byte_ids(lengths)
        self._check_spelling(merges)
        self._check_pairs_differ()
        self._check_added_tokens()

    def _check_byte_ids(self, lengths: Int64Array) -> None:
        n = len(lengths)
        known = np.flatnonzero(self.byte_ids != NO_ID)
        ids = self.byte_ids[known]
        if len(self.byte_ids) != 256 or (len(ids) and ids.max() >= n):
            raise ValueError(f"there must be 256 byte ids below {n}")
        if (lengths[ids] != 1).any() or (self.token_bytes[self.token_offsets[ids]] != known).any():
            raise ValueError("byte ids do not name the single-byte tokens")
        if len(known) < 256 and self.rules.unknown_bytes == "drop" and self.rules.ignore_merges:
            raise ValueError("ignore_merges with bytes that are dropped is not supported")

    def _check_added_tokens(self) -> None:
        n = len(self)
        contents: set[str] = set()
        for token in self.added_tokens:
            if token.content in contents:
                raise ValueError(f"added token {token.content!r} is given twice")
            contents.add(token.content)
            if not 0 <= token.id < n or not self.bytes_of(token.id):
                raise ValueError(f"added token {token.content!r} has id {token.id}, which is not in the vocabulary")
        for token_id in (*self.rules.begin, *self.rules.end):
            if not 0 <= token_id < n or not self.bytes_of(token_id):
                raise ValueError(f"id {token_id} that begins or ends a text is not in the vocabulary")

    def _check_spelling(self, merges: tuple[UInt32Array, UInt32Array, UInt32Array]) -> None:
        """Raises ValueError unless the bytes of each merge are the bytes of its left side, then of its right side."""
        rank = first_misspelled(self.token_bytes, self.token_offsets, *merges)
        if rank >= 0:
            left, right, new = (self.bytes_of(int(ids[rank])) for ids in merges)
            raise ValueError(f"merge {rank} joins {left!r} and {right!r} but yields {new!r}")

    def _check_pairs_differ(self) -> None:
        pairs = self.merge_left.astype(np.uint64) << np.uint64(32) | self.merge_right
        in_order = np.sort(pairs)
        if (in_order[1:] != in_order[:-1]).all():
            return
        _, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
        rank = int(np.flatnonzero(first[inverse] != np.arange(len(pairs)))[0])
        left, right = self.bytes_of(int(self.merge_left[rank])), self.bytes_of(int(self.merge_right[rank]))
        raise ValueError(f"merge {rank} repeats merge {first[inverse][rank]}: {left!r}, {right!r}")

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[object, ...]]:
        # the arrays as they are: rebuilding tokens from compressed merges takes 15 times as long as reading them
        return Vocabulary, tuple(getattr(self, field.name) for field in fields(self))

    def __len__(self) -> int:
        """The number of IDs, including those that are not used: one more than the largest."""
        return len(self.token_offsets) - 1

    def bytes_of(self, token_id: int) -> bytes:
        """Returns the bytes of an ID, which must be at least 0 and less than len(self)."""
        return self.token_bytes[self.token_offsets[token_id] : self.token_offsets[token_id + 1]].tobytes()

    @cached_property
    def tokens(self) -> dict[int, bytes]:
        """ID -> bytes, in order of IDs."""
        blob, offsets = self.token_bytes.tobytes(), self.token_offsets.tolist()
        return {i: blob[a:b] for i, (a, b) in enumerate(itertools.pairwise(offsets)) if a < b}

    @cached_property
    def merges(self) -> list[Merge]:
        """The merges as (left bytes, right bytes), in order of rank."""
        tokens = self.tokens
        pairs = zip(self.merge_left.tolist(), self.merge_right.tolist(), strict=True)
        return [(tokens[left], tokens[right]) for left, right in pairs]

    @cached_property
    def token_lengths(self) -> Int64Array:
        """The number of bytes of each ID, int64 (n,); 0 for an ID that is not used."""
        return np.diff(self.token_offsets)

    @cached_property
    def ordinary_ids(self) -> Int64Array:
        """The IDs of all tokens except added tokens, int64."""
        ordinary = self.token_lengths > 0
        ordinary[[token.id for token in self.added_tokens]] = False
        return np.flatnonzero(ordinary)

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """Added token -> ID, including those that are not special."""
        return {token.content: token.id for token in self.added_tokens}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of everything that decides IDs: tokens, merges, added tokens, rules, and how the pattern splits."""
        import hashlib

        digest = hashlib.sha256()
        for name in ARRAYS:
            array = getattr(self, name)
            digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        added = sorted((token.content, token) for token in self.added_tokens)
        parts = f"({added!r}, {self.pattern.canonical_regex!r}, {self.rules.for_fingerprint()})"
        digest.update(parts.encode())
        return digest.hexdigest()


def vocabulary_from_tokens(
    tokens: Mapping[int, bytes],
    merges: Iterable[Merge],
    special_tokens: Iterable[str | AddedToken],
    pattern: Pattern,
    rules: Rules = Rules(),
) -> Vocabulary:
    """Makes a vocabulary from tokens and merges as bytes.

    Args:
        tokens: ID -> bytes.
        merges: Pairs of tokens, in order of rank.
        special_tokens: Added tokens. One given as AddedToken has its own ID. One given as str has the ID of its bytes,
            or else the next ID after the largest.
        pattern: How texts are split into pretokens.
        rules: What else decides IDs.

    Raises:
        TypeError: A token, a merge or an ID has the wrong type.
        ValueError: An ID, a merge or a special token does not fit the others.
    """
    table = checked_tokens(tokens)
    id_of = {token: token_id for token_id, token in sorted(table.items(), reverse=True)}
    next_id = max(table, default=-1) + 1
    added: list[AddedToken] = []
    for special in checked_special_tokens(special_tokens):
        if isinstance(special, AddedToken):
            added.append(special)
            continue
        spelled = special_bytes(special)
        if spelled not in id_of:
            table[next_id] = spelled
            id_of[spelled] = next_id
            next_id += 1
        added.append(AddedToken(special, id_of[spelled]))
    # an added token may have the bytes of an ordinary one: merges mean the ordinary one
    reserved = {token.id for token in added}
    id_of |= {token: token_id for token_id, token in sorted(table.items(), reverse=True) if token_id not in reserved}

    missing = [b for b in range(256) if bytes([b]) not in id_of]
    if missing and rules.unknown_bytes == "refuse":
        raise ValueError(f"the vocabulary lacks {len(missing)} of the 256 bytes, the first is 0x{missing[0]:02x}")
    left, right, new = _merge_ids(merges, id_of)
    return vocabulary_from_ids(table, left, right, new, added, pattern, rules)


def _merge_ids(merges: Iterable[Merge], id_of: Mapping[bytes, int]) -> UInt32Array:
    """Returns the left, right and new ID of each merge, uint32 (3, merges). Raises as vocabulary_from_tokens."""
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
    return np.array(ranked, np.uint32).reshape(-1, 3).T


def checked_tokens(tokens: Mapping[int, bytes]) -> dict[int, bytes]:
    """Returns a copy of ID -> bytes. Raises TypeError or ValueError that names an ID or a token that cannot be one."""
    if not isinstance(tokens, Mapping):
        raise TypeError(f"the vocabulary must map int to bytes, got {type(tokens).__name__}")
    table = dict(tokens)
    # checked all at once: mostly all are valid
    is_plain = set(map(type, table)) == {int} and set(map(type, table.values())) == {bytes}
    if not (is_plain and min(table) >= 0 and all(table.values())):
        for token_id, token in table.items():
            if not isinstance(token_id, int) or isinstance(token_id, bool) or not isinstance(token, bytes):
                raise TypeError(f"the vocabulary must map int to bytes, not {token_id!r} to {token!r}")
            if token_id < 0 or not token:
                raise ValueError(f"id {token_id} with bytes {token!r}: ids must not be negative nor tokens empty")
    largest = max(table, default=-1)
    if largest >= 2 * len(table) + SPARSE_IDS:
        raise ValueError(f"id {largest} is far above the number of tokens, {len(table)}")
    return table


def vocabulary_from_ids(
    tokens: Mapping[int, bytes],
    left: Any,
    right: Any,
    new: Any,
    added_tokens: Iterable[AddedToken],
    pattern: Pattern,
    rules: Rules,
    byte_ids: UInt32Array | None = None,
) -> Vocabulary:
    """Makes a vocabulary from tokens as bytes and merges as arrays of IDs: lays out the arrays of Vocabulary.

    Args:
        tokens: ID -> bytes.
        left: The left ID of each merge, in order of rank.
        right: The right ID of each merge.
        new: The ID that each merge makes.
        added_tokens: The added tokens.
        pattern: How texts are split into pretokens.
        rules: What else decides IDs.
        byte_ids: The ID of each byte; by default the lowest that has it, and an added token only if no other has.

    Raises:
        ValueError: The parts do not fit together.
    """
    added = tuple(added_tokens)
    reserved = {token.id for token in added}
    in_order = sorted(tokens.items(), reverse=True)
    if byte_ids is None:
        single = {token: token_id for token_id, token in in_order if len(token) == 1}
        single |= {token: token_id for token_id, token in in_order if len(token) == 1 and token_id not in reserved}
        byte_ids = np.array([single.get(bytes([b]), NO_ID) for b in range(256)], np.uint32)
    spelled_by_id = [tokens.get(token_id, b"") for token_id in range(in_order[0][0] + 1 if in_order else 0)]
    return Vocabulary(
        np.frombuffer(b"".join(spelled_by_id), np.uint8),
        np.cumsum([0, *map(len, spelled_by_id)], dtype=np.int64),
        np.ascontiguousarray(left, np.uint32),
        np.ascontiguousarray(right, np.uint32),
        np.ascontiguousarray(new, np.uint32),
        byte_ids,
        added,
        pattern,
        rules,
    )


Special = TypeVar("Special", str, AddedToken, str | AddedToken)


def checked_special_tokens(special_tokens: Iterable[Special]) -> list[Special]:
    """Returns special tokens as a list.

    Raises:
        TypeError: They are not strings or AddedToken.
        ValueError: A token is empty, has a lone surrogate, or is given twice.
    """
    if isinstance(special_tokens, str):
        raise TypeError("special_tokens must be a list of str, not one str")
    if not isinstance(special_tokens, Iterable):
        raise TypeError(f"special_tokens must be a list of str, got {type(special_tokens).__name__}")
    special: dict[str, Special] = {}
    for token in special_tokens:
        content = token.content if isinstance(token, AddedToken) else token
        if not isinstance(content, str):
            raise TypeError(f"special tokens must be str, not {type(content).__name__}")
        special_bytes(content)
        if content in special:
            raise ValueError(f"special token {content!r} is given twice")
        special[content] = token
    return list(special.values())


def special_bytes(special: str) -> bytes:
    """Returns the UTF-8 of a special token. Raises ValueError if it is empty or has a lone surrogate."""
    if not special:
        raise ValueError("a special token must not be empty")
    try:
        return special.encode()
    except UnicodeEncodeError:
        raise ValueError(f"special token {special!r} has a lone surrogate, which UTF-8 cannot encode") from None
