"""From texts to encodings and from ids to texts, by a model, a normalizer, a pre-tokenizer and added tokens.

A pipeline never changes, so that any number of threads may share it. A tokenizer makes another when its parts change.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastlm._types import Int64Array, UInt32Array
from fastlm.compat.tokenizers.added_tokens import AddedVocabulary
from fastlm.compat.tokenizers.component import unsupported
from fastlm.compat.tokenizers.models import BPE
from fastlm.compat.tokenizers.normalizers import Normalizer
from fastlm.compat.tokenizers.pre_tokenizers import PreTokenizer, byte_level_and_pattern
from fastlm.decoding._decoder import Decoder
from fastlm.encoding.batches import encoded
from fastlm.encoding.build import encoder_of
from fastlm.encoding.text_pipeline import Preparation
from fastlm.formats.gpt2 import CHAR_OF_BYTE, spells_bytes, unspell
from fastlm.pretokenize.patterns import Pattern
from fastlm.threads import thread_count
from fastlm.vocabulary.vocabulary import NO_ID, SPARSE_IDS, AddedToken, Rules, Vocabulary

if TYPE_CHECKING:
    from fastlm.encoding._encoder import Encoder
    from fastlm.pretokenize.cutting import Cuts

# a batch of fewer characters is encoded before threads have started
_CHARACTERS_WORTH_THREADS = 1 << 16


class Pipeline:
    """Raises NotImplementedError naming what it cannot do."""

    def __init__(
        self,
        model: BPE,
        normalizer: Normalizer | None,
        pre_tokenizer: PreTokenizer | None,
        added: AddedVocabulary,
    ) -> None:
        byte_level, pattern = byte_level_and_pattern(pre_tokenizer)
        self.added = added
        named = names_by_id({id: token.content for id, token in added.tokens.items()} | model.tokens)
        self.names = [name or "" for name in named]
        """The string of each id as the model makes it, else as an added token."""
        spelled = _spelled(model.tokens)
        byte_ids = np.full(256, NO_ID, np.uint32)
        for byte, char in CHAR_OF_BYTE.items():
            byte_ids[byte] = model.vocab.get(char, NO_ID)
        has_all_bytes = bool((byte_ids != NO_ID).all())
        if model.unk_token is not None and not has_all_bytes:
            unsupported(f"models.BPE with unk_token {model.unk_token!r} where bytes lack a token")
        if model.ignore_merges and not has_all_bytes:
            unsupported("models.BPE with ignore_merges where bytes lack a token")
        rules = Rules(
            ignore_merges=model.ignore_merges,
            normalization="NFC" if normalizer and normalizer.steps() else None,
            add_prefix_space=byte_level.add_prefix_space,
            unknown_bytes="refuse" if has_all_bytes else "drop",
        )
        # those that a pretoken becomes whole
        self._whole = np.array(sorted(spelled), np.int64) if model.ignore_merges else np.empty(0, np.int64)
        self.vocabulary = _vocabulary(model, spelled, byte_ids, added, pattern, rules)
        self.token_lengths = self.vocabulary.token_lengths
        self.preparation = Preparation(self.vocabulary)
        self.recognised = frozenset(added.tokens)
        """Ids of added tokens that are found in a text."""
        ordinary = {added.ids[content] for content in added.ids.keys() - added.special}
        self.recognised_as_text = frozenset(ordinary)
        """The same where special tokens are taken as text."""
        self.names_as_found = not any(
            token.lstrip
            or token.rstrip
            or (token.normalized and self.preparation.normalizes)
            or token.content != self.names[id]
            for id, token in added.tokens.items()
        )
        """Whether an added token is always found as it is named."""
        self.lengths_add_up = (
            self.preparation.is_plain
            and has_all_bytes
            and all(self.token_lengths[id] == len(token.content.encode()) for id, token in added.tokens.items())
        )
        """Whether the bytes of the tokens of a text are, one after the other, the text."""

    def encode(self, texts: Sequence[str], recognised: frozenset[int]) -> list[UInt32Array]:
        """The ids of each text."""
        size = sum(map(len, texts))
        threads = _threads() if size >= _CHARACTERS_WORTH_THREADS and len(texts) > 1 else 1
        flat, offsets = self._encode(texts, recognised, threads)
        bounds = offsets.tolist()
        return [flat[start:stop] for start, stop in itertools.pairwise(bounds)]

    def _encode(self, texts: Sequence[str], recognised: frozenset[int], threads: int) -> tuple[UInt32Array, Int64Array]:
        preparation = self.preparation
        takes_all = recognised == self.recognised
        if preparation.is_plain and (takes_all or not recognised):
            return encoded(self._encoder, texts, preparation.all if takes_all else None, threads)
        prepared: list[str | bytes] = []
        cuts: list[Cuts] = []
        for text in texts:
            if takes_all or not recognised:
                one, cut = preparation.prepare(text, added_tokens=takes_all)
            else:
                one, cut = preparation.prepare_recognised(text, recognised)
            prepared.append(one)
            cuts.append(cut)
        return encoded(self._encoder, prepared, cuts, threads)

    @functools.cached_property
    def _encoder(self) -> Encoder:
        return encoder_of(self.vocabulary, self._whole)


class ByteDecoder:
    """Ids to bytes as the ByteLevel decoder has it: a token spelled otherwise is its own UTF-8."""

    def __init__(self, tokens_of_model: dict[int, str], added: dict[int, str], special: frozenset[str]) -> None:
        names = names_by_id(tokens_of_model | added)
        tokens = [b"" if name is None else bytes_of(name) for name in names]
        blob = np.frombuffer(b"".join(tokens) or b"\0", np.uint8)
        offsets = np.cumsum([0, *map(len, tokens)], dtype=np.int64)
        self._known = np.diff(offsets) > 0
        self._decoder = Decoder(blob[: offsets[-1]], offsets)
        self._ordinary = self._known.copy()
        self._ordinary[[id for id, name in enumerate(names) if name in special]] = False

    def decode(self, ids: Int64Array, skip_special_tokens: bool) -> str:
        """The text of ids; unknown ones are passed over."""
        kept = self._ordinary if skip_special_tokens else self._known
        ids = ids[ids < len(kept)]
        return self._decoder.decode_bytes(ids[kept[ids]]).decode(errors="replace")


def bytes_of(name: str) -> bytes:
    """The bytes of a token as the ByteLevel decoder has them."""
    return unspell(name) if spells_bytes(name) else name.encode()


def names_by_id(tokens: dict[int, str]) -> list[str | None]:
    """The string of each id, None where there is none."""
    largest = max(tokens, default=0)
    if largest >= 2 * len(tokens) + SPARSE_IDS:
        unsupported(f"vocabulary with an id far above the number of tokens: {largest}")
    names: list[str | None] = [None] * (largest + 1)
    for id, token in tokens.items():
        names[id] = token
    return names


def _spelled(tokens: dict[int, str]) -> dict[int, bytes]:
    """id -> bytes of the tokens that are made of characters that stand for bytes; no others ever result."""
    return {id: unspell(token) for id, token in tokens.items() if token and spells_bytes(token)}


def _vocabulary(
    model: BPE,
    spelled: dict[int, bytes],
    byte_ids: UInt32Array,
    added: AddedVocabulary,
    pattern: Pattern,
    rules: Rules,
) -> Vocabulary:
    table = dict(spelled)
    for id, token in added.tokens.items():
        table.setdefault(id, token.content.encode())
    by_id = [table.get(id, b"") for id in range(max(table, default=0) + 1)]
    ids = model.vocab
    merges = [
        (ids[left], ids[right], ids[left + right])
        for left, right in model.merges
        if ids[left] in spelled and ids[right] in spelled
    ]
    left, right, new = (np.ascontiguousarray(side) for side in np.array(merges, np.uint32).reshape(-1, 3).T)
    options = ("special", "single_word", "lstrip", "rstrip", "normalized")
    in_order = sorted(added.ids.items(), key=lambda item: (item[0] not in added.special, item[1]))
    return Vocabulary(
        np.frombuffer(b"".join(by_id), np.uint8),
        np.cumsum([0, *map(len, by_id)], dtype=np.int64),
        left,
        right,
        new,
        byte_ids,
        tuple(
            AddedToken(content, id, **{name: getattr(added.tokens[id], name) for name in options})
            for content, id in in_order
        ),
        pattern,
        rules,
    )


def _threads() -> int:
    """All processors, or as many as the environment allows tokenizers."""
    if os.environ.get("TOKENIZERS_PARALLELISM", "").lower() in ("0", "false", "f", "off", "no", "n"):
        return 1
    limit = os.environ.get("RAYON_NUM_THREADS", "")
    return int(limit) if limit.isdecimal() and int(limit) else thread_count(None)
