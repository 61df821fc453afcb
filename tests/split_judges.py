"""Where tokenizers and tiktoken end the pretokens of a text, by byte offset."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import tiktoken
import tokenizers
from tokenizers import pre_tokenizers

from fastlm.pretokenize.patterns import PATTERNS, Pattern

Ends = Callable[[list[str]], list[list[int]]]


def of_fastlm(pattern: Pattern) -> Ends:
    def ends(batch: list[str]) -> list[list[int]]:
        return [pattern.find_ends(text.encode()).tolist() for text in batch]

    return ends


def of_pre_tokenizer(pre_tokenizer: pre_tokenizers.PreTokenizer) -> Ends:
    def ends(batch: list[str]) -> list[list[int]]:
        return [
            list(itertools.accumulate(len(piece.encode()) for piece, _ in pre_tokenizer.pre_tokenize_str(text)))
            for text in batch
        ]

    return ends


def of_tiktoken(pattern: Pattern) -> Ends:
    """tiktoken does not show its pretokens, but one that is a token as a whole becomes that token.

    So it gets a vocabulary of our pretokens and of each two that follow one another: where its pretokens are ours, its
    tokens are; where one is a union of ours, two neighbours of ours are merged.
    """
    ours = of_fastlm(pattern)

    def ends(batch: list[str]) -> list[list[int]]:
        tokens = {bytes([b]): None for b in range(256)}
        for text, found in zip(batch, ours(batch), strict=True):
            encoded = text.encode()
            pieces = [encoded[start:end] for start, end in itertools.pairwise([0, *found])]
            tokens |= dict.fromkeys(pieces)
            tokens |= dict.fromkeys(left + right for left, right in itertools.pairwise(pieces))
        ranks = {token: rank for rank, token in enumerate(tokens)}
        encoding = tiktoken.Encoding("splits", pat_str=pattern.regex, mergeable_ranks=ranks, special_tokens={})
        by_rank = list(ranks)
        return [
            list(itertools.accumulate(len(by_rank[rank]) for rank in encoding.encode_ordinary(text))) for text in batch
        ]

    return ends


def judges(name: str) -> dict[str, Ends]:
    """Who can say where the pretokens of a named pattern end."""
    pattern = PATTERNS[name]
    splits = [pre_tokenizers.Split(tokenizers.Regex(split), "isolated") for split in pattern.for_onig]
    found = {"tokenizers": of_pre_tokenizer(pre_tokenizers.Sequence(splits))}
    if len(pattern.splits) == 1:
        found["tiktoken"] = of_tiktoken(pattern)
    if name == "starcoder":
        digits = pre_tokenizers.Digits(individual_digits=True)
        found["tokenizers' Digits"] = of_pre_tokenizer(pre_tokenizers.Sequence([digits, splits[-1]]))
    return found
