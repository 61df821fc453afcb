"""CoreBPE: the interface of tiktoken's native module, on fastlm's core."""

from __future__ import annotations

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
from fastlm.forks import cached_property
from fastlm.text._token_finder import TokenFinder
from fastlm.text._utf8 import utf8_bytes
from fastlm.vocabulary.from_ranks import vocabulary_from_ranks
from fastlm.vocabulary.vocabulary import SPARSE_IDS, Rules

if TYPE_CHECKING:
    from fastlm.encoding._encoder import Encoder


class CoreBPE:
    """Encodes and decodes by ranks. Its results never change after construction.

    Args:
        encoder: Token -> rank. The rank is also the token id.
        special_tokens_encoder: Special token -> token id.
        pattern: Regular expression of the pretokens.

    Raises:
        ValueError: A rank occurs twice, or the pattern is not a regular expression.
        TypeError: A token or an id has the wrong type.
        OverflowError: An id does not fit an unsigned 32-bit integer.
    """

    def __init__(self, encoder: dict[bytes, int], special_tokens_encoder: dict[str, int], pattern: str) -> None:
        self._ranks = checked_ranks(encoder)
        self._special_ids = checked_special_ids(special_tokens_encoder)
        self._pattern = splitting_pattern(a_str(pattern))
        missing = [bytes([byte]) for byte in range(256) if bytes([byte]) not in self._ranks]
        largest = max([*self._ranks.values(), *self._special_ids.values()], default=0)
        # The core indexes its tables by token id. It uses other ids if the tables would be mostly empty, or if a byte
        # has no id.
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
        # If two tokens have the same id, decoding uses the first. An ordinary token precedes a special one.
        taken = set(ranks.values())
        own = {token: token_id for token, token_id in reversed(specials.items()) if token and token_id not in taken}
        first = {token_id: token for token, token_id in own.items()}
        self._vocabulary = vocabulary_from_ranks(
            ranks, {token: token_id for token_id, token in first.items()}, self._pattern
        )
        self._finders: dict[frozenset[str], TokenFinder] = {}
        self._has_warned = False

    def encode_ordinary(self, text: str) -> list[int]:
        """Encodes a text without special tokens.

        Args:
            text: The text.

        Returns:
            The token ids.

        Raises:
            TypeError: The text is not a str.
            UnicodeEncodeError: The text contains a lone surrogate.
        """
        return self.ids(encodable(text), None)

    def encode(self, text: str, allowed_special: set[str] | frozenset[str]) -> list[int]:
        """Encodes a text.

        Args:
            text: The text.
            allowed_special: Special tokens that are encoded as their ids.

        Returns:
            The token ids.

        Raises:
            TypeError: The text is not a str, or `allowed_special` is not a set of str.
            UnicodeEncodeError: The text or a special token contains a lone surrogate.
        """
        return self.ids(encodable(text), self.finder(allowed_special))

    def encode_to_tiktoken_buffer(self, text: str, allowed_special: set[str] | frozenset[str]) -> memoryview:
        """Encodes a text into a buffer. Arguments and errors are the same as for `encode`.

        Returns:
            The bytes of the token ids, uint32 in native byte order.
        """
        return self.ids_array(encodable(text), self.finder(allowed_special)).data.cast("B")

    def encode_with_unstable(
        self, text: str, allowed_special: set[str] | frozenset[str]
    ) -> tuple[list[int], list[list[int]]]:
        """Encodes a text to which more text may be appended. Arguments and errors are the same as for `encode`.

        Returns:
            The stable ids, and the completions: lists of ids that may follow the stable ids.
        """
        return unstable.encode_with_unstable(self, encodable(text), self.finder(allowed_special))

    def encode_single_token(self, piece: bytes) -> int:
        """Looks up the id of a token. An ordinary token precedes a special one.

        Args:
            piece: The bytes of the token.

        Returns:
            The token id.

        Raises:
            KeyError: No token has these bytes.
            TypeError: `piece` is not bytes.
        """
        token = self._ranks.get(a_bytes(piece))
        if token is not None:
            return token
        try:
            return self._special_ids[piece.decode()]
        except (KeyError, UnicodeDecodeError):
            raise KeyError(piece) from None

    def encode_single_piece(self, piece: bytes) -> list[int]:
        """Encodes bytes as one pretoken.

        Args:
            piece: The bytes of the pretoken.

        Returns:
            The token ids.

        Raises:
            ValueError: There are no bytes, or a byte has no token.
            TypeError: `piece` is not bytes.
        """
        token = self._ranks.get(a_bytes(piece))
        if token is not None:
            return [token]
        if not piece:
            raise ValueError("piece must not be empty")
        return self._numbered(self._pieces.encode(piece))

    def _encode_bytes(self, text: bytes) -> list[int]:
        return unstable.encode_bytes(self, a_bytes(text))

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """Decodes token ids.

        Args:
            tokens: The token ids.

        Returns:
            The bytes of the tokens, joined.

        Raises:
            KeyError: An id has no token.
            OverflowError: An id does not fit an unsigned 32-bit integer.
            TypeError: `tokens` is not a sequence of integers.
        """
        if type(tokens) in (tuple, range):
            tokens = list(tokens)  # the core decodes lists fastest
        is_plain = type(tokens) is list or (isinstance(tokens, np.ndarray) and tokens.dtype.kind in "iu")
        if is_plain and self._external is None:
            try:
                return self._decoder.decode_bytes(tokens)
            except (KeyError, TypeError):
                pass  # the code below finds the reason
        return b"".join(map(self._bytes_of, [checked_id(token) for token in items_of(tokens)]))

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Decodes one token id.

        Args:
            token: The token id.

        Returns:
            The bytes of the token.

        Raises:
            KeyError: The id has no token.
            OverflowError: The id does not fit an unsigned 32-bit integer.
            TypeError: The id is not an integer.
        """
        known = self._token_of.get(checked_id(token))
        if known is None:
            raise KeyError(str(token))
        return known

    def token_byte_values(self) -> list[bytes]:
        """Lists the bytes of all ordinary tokens, sorted."""
        return list(self.sorted_tokens)

    def ids(self, text: str | bytes, boundaries: TokenFinder | None) -> list[int]:
        """Encodes a text. A lone surrogate is encoded as U+FFFD.

        Args:
            text: The text, or its UTF-8.
            boundaries: Finds the special tokens in the text; None for no special tokens.

        Returns:
            The token ids.

        Raises:
            ValueError: A byte of the text has no token.
        """
        try:
            ids = self._encoder.encode(text, boundaries)
        except UncoveredTextError:
            return self._numbered(self._covered_ids(text, boundaries))
        return ids if self._external is None else self._numbered(ids)

    def ids_array(self, text: str | bytes, boundaries: TokenFinder | None) -> UInt32Array:
        """Encodes a text into an array, uint32. Arguments and errors are the same as for `ids`."""
        if self._external is None:
            try:
                return self._encoder.encode_to_numpy(text, boundaries)
            except UncoveredTextError:
                pass
        return np.array(self.ids(text, boundaries), np.uint32)

    def count(self, text: str, boundaries: TokenFinder | None) -> int:
        """Counts the token ids of a text. Arguments and errors are the same as for `ids`."""
        if self._external is None:
            try:
                return self._encoder.count(text, boundaries)
            except UncoveredTextError:
                pass
        return len(self.ids(text, boundaries))

    def ids_upto(self, text: str, limit: int, boundaries: TokenFinder | None) -> list[int]:
        """Encodes the start of a text. Arguments and errors are the same as for `ids`.

        Returns:
            The first `limit` token ids of the text.
        """
        try:
            return self._numbered(self._encoder.encode_upto(text, limit, boundaries))
        except UncoveredTextError:
            return self.ids(text, boundaries)[:limit]

    def merged(self, pieces: list[bytes]) -> tuple[list[int], list[int]]:
        """Encodes each item by merges only, even if the item is a token.

        Returns:
            The token ids of all items, and the offset of each item in them, with the total at the end.
        """
        ids, offsets = self._merges.encode_batch_flat(pieces)
        return self._numbered(ids.tolist()), offsets.tolist()

    def finder(self, tokens: set[str] | frozenset[str]) -> TokenFinder | None:
        """Makes a finder of special tokens. Strings that are not special tokens are ignored.

        Args:
            tokens: The special tokens to find.

        Returns:
            The finder; None for an empty set.

        Raises:
            TypeError: `tokens` is not a set of str.
            UnicodeEncodeError: A token contains a lone surrogate.
        """
        if not isinstance(tokens, (set, frozenset)):
            raise TypeError(f"special tokens must be in a set, got {type(tokens).__name__}")
        if not tokens:
            return None
        return remembered(self._finders, frozenset(tokens), self._finder_of)

    def _finder_of(self, tokens: frozenset[str]) -> TokenFinder:
        ids = self._internal_special_ids
        spelled = {a_str(token): token.encode() for token in tokens}
        found = [token for token in spelled if token and token in ids]
        return TokenFinder([spelled[token] for token in found], [ids[token] for token in found])

    def last_pretoken(self, text: bytes) -> bytes:
        """Finds the last pretoken of UTF-8 text without special tokens; empty if there are no pretokens."""
        if isinstance(self._pattern, RegexPattern):
            return b"".join(self._pattern.pieces(text.decode())[-1:])
        ends = self._pattern.find_ends(text)
        return text[int(ends[-2]) if len(ends) > 1 else 0 :]

    def rank_of(self, token: bytes) -> int:
        """Looks up the rank of an ordinary token. Raises KeyError for an unknown token."""
        return self._ranks[token]

    @cached_property
    def sorted_tokens(self) -> list[bytes]:
        """The ordinary tokens, sorted by their bytes."""
        return sorted(self._ranks)

    @cached_property
    def ordinary(self) -> dict[int, bytes]:
        """Rank -> bytes of the ordinary tokens."""
        return {rank: token for token, rank in self._ranks.items()}

    def _bytes_of(self, token_id: int) -> bytes:
        known = self._token_of.get(token_id)
        if known is None:
            raise KeyError(f"Invalid token for decoding: {token_id}")
        return known

    def _numbered(self, ids: list[int]) -> list[int]:
        """Converts ids of the core to ids of tiktoken."""
        if self._external is None:
            return ids
        numbered = [self._external[token_id] for token_id in ids]
        if numbered and min(numbered) < 0:
            missing = self._vocabulary.bytes_of(ids[numbered.index(-1)])
            raise ValueError(f"the text contains the byte 0x{missing.hex()}, which has no token")
        return numbered

    def _covered_ids(self, text: str | bytes, boundaries: TokenFinder | None) -> list[int]:
        """Ids in the core of the spans that the pattern matches."""
        assert isinstance(self._pattern, RegexPattern)
        # The warning is given once, because a program may use such a pattern on purpose.
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

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self._vocabulary.token_bytes, self._vocabulary.token_offsets)

    @cached_property
    def _encoder(self) -> Encoder:
        return encoder_of(self._vocabulary)

    @cached_property
    def _pieces(self) -> Encoder:
        """An encoder that takes each text as one pretoken."""
        return encoder_of(replace(self._vocabulary, pattern=OnePretoken(("",))))

    @cached_property
    def _merges(self) -> Encoder:
        """The same encoder, but it finds a token only if merges produce the token."""
        if len(self._vocabulary.merge_new) == sum(len(token) > 1 for token in self._ranks):
            return self._pieces
        return encoder_of(replace(self._vocabulary, pattern=OnePretoken(("",)), rules=Rules()))

    @cached_property
    def _token_of(self) -> dict[int, bytes]:
        special = {token_id: token.encode() for token, token_id in reversed(self._special_ids.items())}
        return special | self.ordinary
