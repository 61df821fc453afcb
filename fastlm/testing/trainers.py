"""Compares the merges of `train_bpe` with the merges of the trainer of tokenizers."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlm._types import Int64Array
from fastlm.bpe_training.counting import count_pretokens
from fastlm.bpe_training.trainer import train_bpe
from fastlm.corpus.read import Blocks
from fastlm.pretokenize.patterns import WHOLE_TEXT, Expression, Pattern
from fastlm.pretokenize.text_splitter import TextSplitter
from fastlm.testing.results import MergeDifference, TrainingResult
from fastlm.text.byte_level import CHAR_OF_BYTE
from fastlm.text.shown import shown
from fastlm.tokenizer import Tokenizer
from fastlm.vocabulary.vocabulary import BYTE_ORDER, Merge

LIBRARY = "tokenizers"

_BYTE_OF_CHAR = {char: byte for byte, char in CHAR_OF_BYTE.items()}


def compare_trainers(texts: Sequence[str], vocab_size: int, pattern: Pattern) -> TrainingResult:
    """Trains with fastlm and tokenizers on the same texts, and finds the first merge that differs.

    fastlm breaks ties as tokenizers does. Neither has special tokens.

    Args:
        texts: The documents.
        vocab_size: The size of the vocabulary.
        pattern: How texts are split into pretokens.

    Raises:
        ValueError: The size is too small, or the pattern is more than expressions.
    """
    pattern.check_is_text()
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer merges than requested are compared, too
        tokenizer = train_bpe(list(texts), vocab_size, [], pattern=Expression(pattern.specification), tie_break="hf")
    trained = time.process_time()
    theirs = _merges_of_tokenizers(texts, vocab_size, pattern)
    ended = time.process_time()
    ours = tokenizer.merges
    version = importlib.metadata.version(LIBRARY)
    difference = first_difference(texts, pattern, ours, theirs)
    seconds = trained - started, ended - trained
    return TrainingResult(LIBRARY, version, vocab_size, len(ours), len(theirs), difference, *seconds)


def _merges_of_tokenizers(texts: Sequence[str], vocab_size: int, pattern: Pattern) -> list[Merge]:
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(tokenizers.Regex(expression), "isolated") for expression in pattern.for_onig]
    spelling = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, spelling])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    merges: list[Any] = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(_bytes(left), _bytes(right)) for left, right in merges]


def _bytes(spelled: str) -> bytes:
    return bytes(_BYTE_OF_CHAR[char] for char in spelled)


def first_difference(
    texts: Sequence[str], pattern: Pattern, ours: Sequence[Merge], theirs: Sequence[Merge], library: str = LIBRARY
) -> MergeDifference | None:
    """The first merge that two lists do not share, with the counts of both pairs.

    Args:
        texts: The documents that both trainers had.
        pattern: How they are split.
        ours: The merges of fastlm.
        theirs: The merges of the other trainer.
        library: The name of the other trainer.
    """
    index = next((k for k, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), None)
    if index is None:
        if len(ours) == len(theirs):
            return None
        index = min(len(ours), len(theirs))
    one, other = (merges[index] if index < len(merges) else None for merges in (ours, theirs))
    counts = pair_counts(texts, pattern, list(ours[:index]), [one, other])
    reason = _reason((one, counts[0]), (other, counts[1]), library)
    spelled = [None if pair is None else (pair[0].hex(), pair[1].hex()) for pair in (one, other)]
    return MergeDifference(index, spelled[0], spelled[1], counts[0], counts[1], reason)


def _reason(ours: tuple[Merge | None, int], theirs: tuple[Merge | None, int], library: str) -> str:
    said = [
        "has no more merges" if pair is None else f"merges {_pair(pair)}, which occurs {count:,} times"
        for pair, count in (ours, theirs)
    ]
    sentence = f"fastlm {said[0]}; {library} {said[1]}."
    if ours[0] is None or theirs[0] is None:
        return sentence
    if ours[1] == theirs[1]:
        return f"{sentence} The counts are equal, so the rules for ties differ."
    wrong = library if ours[1] > theirs[1] else "fastlm"
    return f"{sentence} The pair of {wrong} is not the most frequent one."


def _pair(pair: Merge) -> str:
    return f"“{shown(pair[0])}” + “{shown(pair[1])}”"


def pair_counts(
    texts: Sequence[str], pattern: Pattern, merges: Sequence[Merge], pairs: Sequence[Merge | None]
) -> list[int]:
    """How often pairs of tokens are next to each other in the pretokens of texts after some merges; 0 for None."""
    counter = count_pretokens(Blocks(list(texts), TextSplitter([], pattern)), pattern, 1)
    if not len(counter):
        return [0] * len(pairs)
    content, starts, counts = counter.words()
    words = [content[a:b].tobytes() for a, b in itertools.pairwise(starts.tolist())]
    tokens = dict(enumerate([*(bytes([byte]) for byte in BYTE_ORDER), *(left + right for left, right in merges)]))
    # two merges can make the same bytes, and a vocabulary gives them one id
    first_ids = {token: token_id for token_id, token in reversed(tokens.items())}
    distinct = {token_id: token for token, token_id in first_ids.items()}
    tokenizer = Tokenizer(distinct, merges, pattern=Expression(WHOLE_TEXT.regex))
    ids, offsets = tokenizer.encode_batch_flat(words, 1)
    return [0 if pair is None else _count(ids, offsets, counts, [first_ids[token] for token in pair]) for pair in pairs]


def _count(ids: Any, offsets: Int64Array, counts: Int64Array, pair: list[int]) -> int:
    places = np.flatnonzero((ids[:-1] == pair[0]) & (ids[1:] == pair[1]))
    words = np.searchsorted(offsets, places, side="right") - 1
    inside = offsets[words + 1] > places + 1
    return int(counts[words[inside]].sum())
