"""Byte-level BPE as its definition reads: recount everything, merge everywhere, start again."""

import itertools
from collections import Counter
from collections.abc import Iterable

import regex

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# the 256 bytes in the order of the characters that GPT-2 prints them as
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTE_ORDER = [*PRINTABLE, *(b for b in range(256) if b not in PRINTABLE)]

Pair = tuple[bytes, bytes]


def split_special(text: str, special_tokens: Iterable[str]) -> list[str]:
    """Spans of text and special tokens in turn; at each position the longest special token is taken."""
    longest_first = sorted(special_tokens, key=len, reverse=True)
    if not longest_first:
        return [text]
    return regex.split("(" + "|".join(map(regex.escape, longest_first)) + ")", text)


def isolate(text: str, expression: str) -> list[str]:
    """The matches of an expression and whatever lies between them."""
    parts, at = [], 0
    # tiktoken and tokenizers take && in a class as intersection, which `regex` does in its newer syntax
    for match in regex.finditer(expression, text, regex.VERSION1 if "&&" in expression else 0):
        parts += [text[at : match.start()], match.group()]
        at = match.end()
    return [part for part in [*parts, text[at:]] if part]


def pretokens(text: str, pattern: str | Iterable[str] = GPT2) -> list[bytes]:
    """The pretokens of a text, split by an expression, or by several, each on the parts that the one before left."""
    parts = [text] if text else []
    for expression in [pattern] if isinstance(pattern, str) else pattern:
        parts = [match for part in parts for match in isolate(part, expression)]
    return [part.encode() for part in parts]


def apply_merge(word: tuple[bytes, ...], pair: Pair) -> tuple[bytes, ...]:
    merged: list[bytes] = []
    i = 0
    while i < len(word):
        if word[i : i + 2] == pair:
            merged.append(word[i] + word[i + 1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


def learn(
    words: Counter[bytes],
    num_merges: int,
    tie_break: str,
    min_frequency: int = 1,
    max_token_length: int | None = None,
    known: Iterable[Pair] = (),
) -> list[Pair]:
    """The merges of BPE training on pretokens with their counts, the known ones first."""
    split: Counter[tuple[bytes, ...]] = Counter()
    id_of = {bytes([b]): i for i, b in enumerate(BYTE_ORDER)}
    merges = list(known)
    for word, count in words.items():
        symbols = tuple(bytes([b]) for b in word)
        for pair in merges:
            symbols = apply_merge(symbols, pair)
        split[symbols] += count
    for left, right in merges:
        id_of[left + right] = len(id_of)
    while len(merges) < num_merges:
        counts: Counter[Pair] = Counter()
        for word, count in split.items():
            for pair in itertools.pairwise(word):
                if max_token_length is None or len(pair[0]) + len(pair[1]) <= max_token_length:
                    counts[pair] += count
        if not counts or max(counts.values()) < min_frequency:
            break
        if tie_break == "cs336":
            best = max(counts, key=lambda pair: (counts[pair], pair))
        else:
            best = min(counts, key=lambda pair: (-counts[pair], id_of[pair[0]], id_of[pair[1]]))
        merges.append(best)
        id_of[best[0] + best[1]] = len(id_of)
        merged: Counter[tuple[bytes, ...]] = Counter()
        for word, count in split.items():
            merged[apply_merge(word, best)] += count
        split = merged
    return merges


def train(
    documents: Iterable[str],
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    pattern: str | Iterable[str] = GPT2,
    tie_break: str = "cs336",
) -> tuple[dict[int, bytes], list[Pair]]:
    """Vocabulary and merges: special tokens first, then the bytes as GPT-2 orders them, then the merges."""
    special_tokens = list(special_tokens)
    words: Counter[bytes] = Counter()
    for document in documents:
        for span in split_special(document, special_tokens):
            if span not in special_tokens:
                words.update(pretokens(span, pattern))
    merges = learn(words, vocab_size - 256 - len(special_tokens), tie_break)
    made = [left + right for left, right in merges]
    tokens = [*(token.encode() for token in special_tokens), *(bytes([b]) for b in BYTE_ORDER), *made]
    return dict(enumerate(tokens)), merges


def merge(pretoken: bytes, rank_of: dict[Pair, int]) -> list[bytes]:
    """Tokens of a pretoken: the pair of lowest rank is merged, leftmost first, until none is left."""
    word = [bytes([b]) for b in pretoken]
    while len(word) > 1:
        ranks = [rank_of.get(pair, len(rank_of)) for pair in itertools.pairwise(word)]
        if min(ranks) == len(rank_of):
            break
        i = ranks.index(min(ranks))
        word[i : i + 2] = [word[i] + word[i + 1]]
    return word


def encode(
    text: str,
    vocab: dict[int, bytes],
    merges: list[Pair],
    special_tokens: Iterable[str] = (),
    pattern: str | Iterable[str] = GPT2,
) -> list[int]:
    """Token ids of a text: of its special tokens, and of the tokens that its pretokens merge to."""
    special_tokens = list(special_tokens)
    id_of = {token: token_id for token_id, token in vocab.items()}
    rank_of = {pair: rank for rank, pair in enumerate(merges)}
    ids: list[int] = []
    for span in split_special(text, special_tokens):
        if span in special_tokens:
            ids.append(id_of[span.encode()])
            continue
        for pretoken in pretokens(span, pattern):
            ids += [id_of[token] for token in merge(pretoken, rank_of)]
    return ids
