"""Encodes texts and decodes ids with a model, a normalizer, a pre-tokenizer and added tokens.

A pipeline never changes, so any number of threads may share it. A tokenizer builds another when its components change.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastlm._types import Int64Array, UInt32Array
from fastlm.compat.tokenizers.added_tokens import AddedVocabulary
from fastlm.compat.tokenizers.component import parsed_of, supported, unsupported
from fastlm.compat.tokenizers.models import BPE
from fastlm.compat.tokenizers.normalizers import Normalizer
from fastlm.compat.tokenizers.pre_tokenizers import PreTokenizer
from fastlm.decoding._decoder import Decoder
from fastlm.encoding.batches import encode_flat
from fastlm.encoding.build import encoder_of
from fastlm.encoding.text_pipeline import TextPipeline
from fastlm.forks import cached_property
from fastlm.formats.gpt2 import spells_bytes, unspell
from fastlm.formats.tokenizer_json.added_tokens import FLAGS
from fastlm.formats.tokenizer_json.vocabularies import vocabulary_of_components
from fastlm.threads import thread_count
from fastlm.vocabulary.vocabulary import NO_ID, SPARSE_IDS, AddedToken

if TYPE_CHECKING:
    from fastlm.encoding._encoder import Encoder
    from fastlm.pretokenize.text_splitter import Boundaries

# a smaller batch is encoded faster than threads start
_CHARACTERS_WORTH_THREADS = 1 << 16


class Pipeline:
    """The encoder of some components. Raises NotImplementedError for components that fastlm does not follow."""

    def __init__(
        self,
        model: BPE,
        normalizer: Normalizer | None,
        pre_tokenizer: PreTokenizer | None,
        added: AddedVocabulary,
    ) -> None:
        self.added = added
        named = strings_by_id({token_id: token.content for token_id, token in added.tokens.items()} | model.tokens)
        self.names = [name or "" for name in named]
        """The string of each id in the model, else of the added token."""
        self.vocabulary = supported(
            vocabulary_of_components,
            model.parsed(),
            parsed_of(normalizer),
            parsed_of(pre_tokenizer),
            _added_tokens(added),
        )
        has_all_bytes = bool((self.vocabulary.byte_ids != NO_ID).all())
        # the ids that a pretoken becomes whole
        self._whole = np.empty(0, np.int64)
        if model.ignore_merges:
            spelled = [token_id for token, token_id in model.vocab.items() if token and spells_bytes(token)]
            self._whole = np.array(sorted(spelled), np.int64)
        self.token_lengths = self.vocabulary.token_lengths
        self.preparation = TextPipeline(self.vocabulary)
        self.recognised = frozenset(added.tokens)
        """Ids of added tokens that are found in a text."""
        ordinary = {added.ids[content] for content in added.ids.keys() - added.special}
        self.recognised_as_text = frozenset(ordinary)
        """Ids of added tokens that are found if special tokens are text."""
        self.names_as_found = not any(
            token.lstrip
            or token.rstrip
            or (token.normalized and self.preparation.normalizers)
            or token.content != self.names[token_id]
            for token_id, token in added.tokens.items()
        )
        """Whether an added token always has its content as string."""
        self.lengths_add_up = (
            self.preparation.is_plain
            and has_all_bytes
            and all(
                self.token_lengths[token_id] == len(token.content.encode()) for token_id, token in added.tokens.items()
            )
        )
        """Whether the tokens of a text, joined, are the text."""

    def encode(self, texts: Sequence[str], recognised: frozenset[int]) -> list[UInt32Array]:
        """The ids of each text."""
        flat, offsets = self.encode_flat(texts, recognised)
        return [flat[start:stop] for start, stop in itertools.pairwise(offsets.tolist())]

    def encode_flat(self, texts: Sequence[str], recognised: frozenset[int]) -> tuple[UInt32Array, Int64Array]:
        """The ids of all texts in one array, and where each text's begin, as `fastlm.encoding.batches.encode_flat`."""
        size = sum(map(len, texts))
        threads = _threads() if size >= _CHARACTERS_WORTH_THREADS and len(texts) > 1 else 1
        preparation = self.preparation
        takes_all = recognised == self.recognised
        if preparation.is_plain and (takes_all or not recognised):
            return encode_flat(self._encoder, texts, preparation.added_tokens if takes_all else None, threads)
        prepared: list[str | bytes] = []
        boundaries: list[Boundaries] = []
        for text in texts:
            # "text" would recognise added tokens that are not special
            one, found = preparation.prepare(text) if takes_all else preparation.prepare_recognised(text, recognised)
            prepared.append(one)
            boundaries.append(found)
        return encode_flat(self._encoder, prepared, boundaries, threads)

    @cached_property
    def _encoder(self) -> Encoder:
        return encoder_of(self.vocabulary, self._whole)


class ByteDecoder:
    """Decodes ids as the ByteLevel decoder does: a token with another character is its own UTF-8."""

    def __init__(self, tokens_of_model: dict[int, str], added: dict[int, str], special: frozenset[str]) -> None:
        names = strings_by_id(tokens_of_model | added)
        tokens = [b"" if name is None else bytes_of(name) for name in names]
        blob = np.frombuffer(b"".join(tokens) or b"\0", np.uint8)
        offsets = np.cumsum([0, *map(len, tokens)], dtype=np.int64)
        self._known = np.diff(offsets) > 0
        self._decoder = Decoder(blob[: offsets[-1]], offsets)
        self._ordinary = self._known.copy()
        self._ordinary[[token_id for token_id, name in enumerate(names) if name in special]] = False

    def decode(self, ids: Int64Array, skip_special_tokens: bool) -> str:
        """The text of ids. Unknown ids are ignored."""
        kept = self._ordinary if skip_special_tokens else self._known
        ids = ids[ids < len(kept)]
        return self._decoder.decode_bytes(ids[kept[ids]]).decode(errors="replace")


def bytes_of(name: str) -> bytes:
    """The bytes of a token for the ByteLevel decoder."""
    return unspell(name) if spells_bytes(name) else name.encode()


def strings_by_id(tokens: dict[int, str]) -> list[str | None]:
    """The string of each id, None for an unused id."""
    largest = max(tokens, default=0)
    if largest >= 2 * len(tokens) + SPARSE_IDS:
        unsupported(f"vocabulary with an id far above the number of tokens: {largest}")
    names: list[str | None] = [None] * (largest + 1)
    for token_id, token in tokens.items():
        names[token_id] = token
    return names


def _added_tokens(added: AddedVocabulary) -> list[AddedToken]:
    """The added tokens with their ids, special ones first."""
    in_order = sorted(added.ids.items(), key=lambda item: (item[0] not in added.special, item[1]))
    return [
        AddedToken(content, token_id, **{flag: getattr(added.tokens[token_id], flag) for flag in FLAGS})
        for content, token_id in in_order
    ]


def _threads() -> int:
    """The number of threads: all processors, or the limit of the environment variables of tokenizers."""
    if os.environ.get("TOKENIZERS_PARALLELISM", "").lower() in ("0", "false", "f", "off", "no", "n"):
        return 1
    limit = os.environ.get("RAYON_NUM_THREADS", "")
    return int(limit) if limit.isdecimal() and int(limit) else thread_count(None)
