"""Rows 1, 2, 4, 8 and 23: ids against other libraries and references, round trips, special tokens."""

from __future__ import annotations

import random

import regex

import fastlm
from fastlm.pretokenize import patterns
from tests import official, split_judges, texts
from tests.conftest import DATA
from tests.exactness import scalars_in_context
from tests.reference import bpe
from tests.reliability.row import Row, Trial

BATCH = 200
END = "<|endoftext|>"


def _compare(trial: Trial, name: str, strings: list[str], ours: official.Encode, theirs: official.Encode) -> None:
    for string, found, expected in zip(strings, ours(strings), theirs(strings), strict=True):
        trial.count(found == expected, f"{name}: {string!r}")


def _against(trial: Trial, library: str) -> None:
    """Ids of the vocabularies at hand, and splits of all named patterns; random strings and scalars in turn."""
    pairs: list[tuple[str, official.Encode, official.Encode]] = []
    for name, read in official.named(DATA).items():
        judged = read()
        if judged is not None:
            pairs += [(name, judged.ours, theirs) for judge, theirs in judged.judges.items() if judge == library]
    for name in sorted(patterns.PATTERNS):
        judges = split_judges.judges(name)
        if library in judges:
            pairs.append((name, split_judges.of_fastlm(patterns.PATTERNS[name]), judges[library]))
    chance, scalars = random.Random(1), scalars_in_context()
    while trial.goes_on():
        strings = [texts.random_string(chance) for _ in range(BATCH)]
        strings += [scalar for _, scalar in zip(range(BATCH), scalars, strict=False)]
        for pair in pairs:
            _compare(trial, pair[0], strings, *pair[1:])
    trial.worst = f"{len(pairs)} vocabularies and patterns, {trial.tried - trial.survived} differ"


def _tokenizer() -> fastlm.Tokenizer:
    return fastlm.train_bpe(texts.DOCUMENTS, 1200, [END, "<|sep|>"], num_threads=1)


def round_trips(trial: Trial) -> None:
    tokenizer, chance = _tokenizer(), random.Random(2)
    while trial.goes_on():
        text = texts.random_string(chance) + chance.choice(["", END])
        ids = tokenizer.encode(text)
        stream = tokenizer.decode_stream()
        streamed = "".join([stream.step(token_id) for token_id in ids]) + stream.finish()
        trial.count(tokenizer.decode(ids) == text == streamed, repr(text))
        data = chance.randbytes(chance.randrange(40))
        ids = [tokenizer.token_to_id(bytes([byte])) or 0 for byte in data]
        trial.count(tokenizer.decode_bytes(ids) == data, repr(data))


def special_tokens(trial: Trial) -> None:
    chance, base = random.Random(3), {k: bytes([k]) for k in range(256)}
    while trial.goes_on():
        tokens = sorted(
            {"".join(chance.choices("ab<|é", k=chance.randrange(1, 6))) for _ in range(chance.randrange(1, 7))}
        )
        tokenizer = fastlm.Tokenizer(base, [], tokens)
        for _ in range(20):
            text = "".join(chance.choices("ab<|éx", k=chance.randrange(30)))
            expected = []
            for span in bpe.split_special(text, tokens):
                expected += [tokenizer.special_tokens[span]] if span in tokens else list(span.encode())
            trial.count(tokenizer.encode(text) == expected, f"{tokens}: {text!r}")
            untrusted = tokenizer.encode_parts([(text, False)])
            trial.count(max(untrusted, default=0) < 256, f"{tokens}: {text!r} gives special tokens")


def implementations(trial: Trial) -> None:
    """The compiled core against the definition of BPE in plain Python."""
    tokenizer, chance = _tokenizer(), random.Random(4)
    vocab, merges = dict(tokenizer.vocab), tokenizer.merges
    known = {token: token_id for token_id, token in vocab.items()}
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    while trial.goes_on():
        text = texts.random_string(chance, any_scalar=False)
        expected = []
        for pretoken in bpe.pretokens(regex.sub("<\\|", "", text)):
            expected += [known[token] for token in bpe.merge(pretoken, ranks)]
        trial.count(tokenizer.encode(regex.sub("<\\|", "", text)) == expected, repr(text))


ROWS = [
    Row(1, "exact ids and splits against tiktoken", "0 differ", lambda trial: _against(trial, "tiktoken")),
    Row(2, "exact ids and splits against tokenizers", "0 differ", lambda trial: _against(trial, "tokenizers")),
    Row(4, "round trips of text and bytes, whole and streamed", "all equal", round_trips),
    Row(
        8, "special tokens: nested sets, untrusted parts", "leftmost longest; none from untrusted text", special_tokens
    ),
    Row(23, "the compiled core against plain Python", "0 differ", implementations),
]
