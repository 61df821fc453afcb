"""CoreBPE: what tiktoken's native module has, on fastlm's core."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastlm._types import UInt32Array
from fastlm.compat.tiktoken import unstable
from fastlm.compat.tiktoken.arguments import (
    a_bytes,
    a_str,
    checked_id,
    checked_ranks,
    checked_special_ids,
    encodable,
    items_of,
)
from fastlm.compat.tiktoken.special import remembered
from fastlm.compat.tiktoken.splitting import OnePretoken, RegexPattern, UncoveredTextError, splitting_pattern
from fastlm.decoding._decoder import Decoder
from fastlm.encoding.build import encoder_of
from fastlm.text._token_finder import TokenFinder
from fastlm.text._utf8 import utf8_bytes
from fastlm.vocabulary.from_ranks import vocabulary_from_ranks
from fastlm.vocabulary.vocabulary import SPARSE_IDS, Rules

if TYPE_CHECKING:
    from fastlm.encoding._encoder import Encoder


class CoreBPE:
    """Encodes and decodes by ranks: `encoder` is token -> rank, `special_tokens_encoder` special token -> id.

    Raises ValueError for a rank given twice or a pattern that is no regular expression, TypeError for tokens or ids of
    another type, OverflowError for ids that do not fit 32 bits without sign. What it gives never changes.
    """

    def __init__(self, encoder: dict[bytes, int], special_tokens_encoder: dict[str, int], pattern: str) -> None:
        self._ranks = checked_ranks(encoder)
        self._special_ids = checked_special_ids(special_tokens_encoder)
        self._pattern = splitting_pattern(a_str(pattern))
        missing = [bytes([byte]) for byte in range(256) if bytes([byte]) not in self._ranks]
        largest = max([*self._ranks.values(), *self._special_ids.values()], default=0)
        # ids are their own indices in the core unless that would take tables of mostly nothing, or a byte has no id
        self._external: list[int] | None = None
        ranks, specials = self._ranks, self._special_ids
        if missing or b"" in ranks or largest >= 2 * len(ranks) + SPARSE_IDS:
            tokens = sorted(filter(None, ranks), key=ranks.__getitem__)
            ranks = {token: k for k, token in enumerate([*tokens, *missing])}
            specials = {token: len(ranks) + k for k, token in enumerate(specials)}
            self._external = [
                *map(self._ranks.__getitem__, tokens),
                *(-1 for _ in missing),
                *self._special_ids.values(),
            ]
            if len(set(self._ranks.values())) < len(self._ranks):
                raise ValueError(f"{len(self._ranks)} tokens have {len(set(self._ranks.values()))} ranks")
        self._internal_special_ids = specials
        # of two tokens with one id, decoding knows the first, and an ordinary one before a special one
        taken = set(ranks.values())
        own = {token: token_id for token, token_id in reversed(specials.items()) if token and token_id not in taken}
        first = {token_id: token for token, token_id in own.items()}
        self._vocabulary = vocabulary_from_ranks(
            ranks, {token: token_id for token_id, token in first.items()}, self._pattern
        )
        self._finders: dict[frozenset[str], TokenFinder] = {}
        self._has_warned = False

    def encode_ordinary(self, text: str) -> list[int]:
        return self.ids(encodable(text), None)

    def encode(self, text: str, allowed_special: set[str] | frozenset[str]) -> list[int]:
        return self.ids(encodable(text), self.finder(allowed_special))

    def encode_to_tiktoken_buffer(self, text: str, allowed_special: set[str] | frozenset[str]) -> memoryview:
        """The ids as a buffer of 32-bit integers in bytes."""
        return self.ids_array(encodable(text), self.finder(allowed_special)).data.cast("B")

    def encode_with_unstable(
        self, text: str, allowed_special: set[str] | frozenset[str]
    ) -> tuple[list[int], list[list[int]]]:
        return unstable.encode_with_unstable(self, encodable(text), self.finder(allowed_special))

    def encode_single_token(self, piece: bytes) -> int:
        token = self._ranks.get(a_bytes(piece))
        if token is not None:
            return token
        try:
            return self._special_ids[piece.decode()]
        except (KeyError, UnicodeDecodeError):
            raise KeyError(piece) from None

    def encode_single_piece(self, piece: bytes) -> list[int]:
        """Ids of bytes that are taken for one pretoken. Raises ValueError for none."""
        token = self._ranks.get(a_bytes(piece))
        if token is not None:
            return [token]
        if not piece:
            raise ValueError("there is no token for no bytes")
        return self._numbered(self._pieces.encode(piece))

    def _encode_bytes(self, text: bytes) -> list[int]:
        return unstable.encode_bytes(self, a_bytes(text))

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        if type(tokens) in (tuple, range):
            tokens = list(tokens)  # the core has its short way for lists
        is_plain = type(tokens) is list or (isinstance(tokens, np.ndarray) and tokens.dtype.kind in "iu")
        if is_plain and self._external is None:
            try:
                return self._decoder.decode_bytes(tokens)
            except (KeyError, TypeError):
                pass  # for one of the reasons that follow
        return b"".join(map(self._bytes_of, [checked_id(token) for token in items_of(tokens)]))

    def decode_single_token_bytes(self, token: int) -> bytes:
        known = self._token_of.get(checked_id(token))
        if known is None:
            raise KeyError(str(token))
        return known

    def token_byte_values(self) -> list[bytes]:
        return list(self.sorted_tokens)

    def ids(self, text: str | bytes, boundaries: TokenFinder | None) -> list[int]:
        """Ids of a text, in which a lone surrogate counts as U+FFFD; `boundaries` finds the special tokens in it."""
        try:
            ids = self._encoder.encode(text, boundaries)
        except UncoveredTextError:
            return self._numbered(self._covered_ids(text, boundaries))
        return ids if self._external is None else self._numbered(ids)

    def ids_array(self, text: str | bytes, boundaries: TokenFinder | None) -> UInt32Array:
        """The same as an array."""
        if self._external is None:
            try:
                return self._encoder.encode_to_numpy(text, boundaries)
            except UncoveredTextError:
                pass
        return np.array(self.ids(text, boundaries), np.uint32)

    def count(self, text: str, boundaries: TokenFinder | None) -> int:
        """How many they are."""
        if self._external is None:
            try:
                return self._encoder.count(text, boundaries)
            except UncoveredTextError:
                pass
        return len(self.ids(text, boundaries))

    def ids_upto(self, text: str, limit: int, boundaries: TokenFinder | None) -> list[int]:
        """The first `limit` of them."""
        try:
            return self._numbered(self._encoder.encode_upto(text, limit, boundaries))
        except UncoveredTextError:
            return self.ids(text, boundaries)[:limit]

    def merged(self, pieces: list[bytes]) -> tuple[list[int], list[int]]:
        """(ids, offsets) of bytes that are each merged by rank, even where they are a token."""
        ids, offsets = self._merges.encode_batch_flat(pieces)
        return self._numbered(ids.tolist()), offsets.tolist()

    def finder(self, tokens: set[str] | frozenset[str]) -> TokenFinder | None:
        """What finds those of the tokens that are special tokens, or None where none is.

        Raises TypeError for what is no set of str, UnicodeEncodeError for a lone surrogate in one.
        """
        if not isinstance(tokens, (set, frozenset)):
            raise TypeError(f"special tokens must be in a set, not in {type(tokens).__name__}")
        if not tokens:
            return None
        return remembered(self._finders, frozenset(tokens), self._finder_of)

    def _finder_of(self, tokens: frozenset[str]) -> TokenFinder:
        ids = self._internal_special_ids
        spelled = {a_str(token): token.encode() for token in tokens}
        found = [token for token in spelled if token and token in ids]
        return TokenFinder([spelled[token] for token in found], [ids[token] for token in found])

    def last_pretoken(self, text: bytes) -> bytes:
        """The last pretoken of UTF-8 text without special tokens, or nothing where there is none."""
        if isinstance(self._pattern, RegexPattern):
            return b"".join(self._pattern.pieces(text.decode())[-1:])
        ends = self._pattern.find_ends(text)
        return text[int(ends[-2]) if len(ends) > 1 else 0 :]

    def rank_of(self, token: bytes) -> int:
        return self._ranks[token]

    @functools.cached_property
    def sorted_tokens(self) -> list[bytes]:
        """The ordinary tokens in order of their bytes."""
        return sorted(self._ranks)

    @functools.cached_property
    def ordinary(self) -> dict[int, bytes]:
        """rank -> bytes of the ordinary tokens."""
        return {rank: token for token, rank in self._ranks.items()}

    def _bytes_of(self, token_id: int) -> bytes:
        known = self._token_of.get(token_id)
        if known is None:
            raise KeyError(f"Invalid token for decoding: {token_id}")
        return known

    def _numbered(self, ids: list[int]) -> list[int]:
        """Ids as users see them, of those in the core."""
        if self._external is None:
            return ids
        numbered = [self._external[token_id] for token_id in ids]
        if numbered and min(numbered) < 0:
            missing = self._vocabulary.bytes_of(ids[numbered.index(-1)])
            raise ValueError(f"the text holds the byte 0x{missing.hex()}, which has no token")
        return numbered

    def _covered_ids(self, text: str | bytes, boundaries: TokenFinder | None) -> list[int]:
        """Ids in the core of what the pattern matches of a text."""
        assert isinstance(self._pattern, RegexPattern)
        # once: a program that means it must not be told again with each text
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                "the pattern does not match all of the text: the rest is left out, as tiktoken does", stacklevel=4
            )
        utf8 = utf8_bytes(text)
        ids: list[int] = []
        at = 0
        rows = [] if boundaries is None else boundaries.find(utf8).tolist()
        for start, end, token_id in [*rows, (len(utf8), len(utf8), None)]:
            pieces = self._pattern.pieces(utf8[at:start].decode())
            ids += self._pieces.encode_batch_flat(pieces)[0].tolist()
            if token_id is not None:
                ids.append(token_id)
            at = end
        return ids

    @functools.cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self._vocabulary.token_bytes, self._vocabulary.token_offsets)

    @functools.cached_property
    def _encoder(self) -> Encoder:
        return encoder_of(self._vocabulary)

    @functools.cached_property
    def _pieces(self) -> Encoder:
        """Takes each text for one pretoken."""
        return encoder_of(replace(self._vocabulary, pattern=OnePretoken(("",))))

    @functools.cached_property
    def _merges(self) -> Encoder:
        """The same, where a token is nothing special unless merges make it."""
        if len(self._vocabulary.merge_new) == sum(len(token) > 1 for token in self._ranks):
            return self._pieces
        return encoder_of(replace(self._vocabulary, pattern=OnePretoken(("",)), rules=Rules()))

    @functools.cached_property
    def _token_of(self) -> dict[int, bytes]:
        special = {token_id: token.encode() for token, token_id in reversed(self._special_ids.items())}
        return special | self.ordinary
