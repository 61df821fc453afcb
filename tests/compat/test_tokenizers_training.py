"""Training through tokenizers' face, against the real library."""

import json
import random
from pathlib import Path

import pytest

from tests import texts

real = pytest.importorskip("tokenizers", reason="tokenizers judges what is learned")

import fastlm.compat.tokenizers as ours  # noqa: E402 - needs the judge

pytestmark = pytest.mark.filterwarnings("ignore:no scanner for the pattern")


NORMALIZERS = {
    "none": lambda n: None,
    "nfc": lambda n: n.NFC(),
    "lower": lambda n: n.Sequence([n.NFKC(), n.Lowercase(), n.StripAccents()]),
    "ends": lambda n: n.Sequence([n.Strip(), n.Prepend("b "), n.Replace("ab", "é")]),
    "nmt": lambda n: n.Sequence([n.Nmt(), n.NFD()]),
}
SEQUENCES = {
    "falcon": lambda p, t: [
        *(p.Punctuation("contiguous"), p.ByteLevel(add_prefix_space=False), p.Digits()),
        p.Split(t.Regex("[0-9][0-9][0-9]"), "isolated"),
    ],
    "words": lambda p, t: [p.Whitespace(), p.ByteLevel(add_prefix_space=True)],
    "metaspace": lambda p, t: [p.Metaspace("_", "first"), p.ByteLevel(add_prefix_space=False, use_regex=False)],
    "removed": lambda p, t: [p.Split(" ", "removed"), p.Split("a", "merged_with_next"), p.ByteLevel(False)],
}


def build(
    library, prefix: bool, normalize: bool, pattern: str | None, digits: bool, normalizer="none", sequence="none"
):
    tokenizer = library.Tokenizer(library.models.BPE())
    steps = []
    if digits:
        steps.append(library.pre_tokenizers.Digits(individual_digits=True))
    if pattern:
        steps.append(library.pre_tokenizers.Split(library.Regex(pattern), "isolated"))
    steps.append(library.pre_tokenizers.ByteLevel(add_prefix_space=prefix and not steps, use_regex=pattern is None))
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    if sequence != "none":
        steps = SEQUENCES[sequence](library.pre_tokenizers, library)
        tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence(steps)
    if normalize or normalizer != "none":
        tokenizer.normalizer = NORMALIZERS["nfc" if normalize else normalizer](library.normalizers)
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer


def learned(tokenizer):
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize("seed", range(250))
def test_learns_what_tokenizers_learns(seed):
    rng = random.Random(seed)
    alphabet = rng.choice(["ab ", "abcdef 12", None])
    corpus = [
        texts.random_string(rng, any_scalar=False) if alphabet is None else "".join(rng.choices(alphabet, k=40))
        for _ in range(rng.randrange(1, 30))
    ]
    if rng.random() < 0.2:
        corpus += texts.DOCUMENTS[:2]
    shape = {
        "prefix": rng.random() < 0.4,
        "normalize": rng.random() < 0.3,
        "pattern": rng.choice([None, LLAMA3]),
        "digits": rng.random() < 0.2,
    }
    if seed % 2:
        shape |= {"normalizer": rng.choice(list(NORMALIZERS)), "sequence": rng.choice(["none", *SEQUENCES])}
    options = {
        "vocab_size": rng.choice([0, 5, 60, 270, 300, 400]),
        "min_frequency": rng.choice([0, 1, 2, 5]),
        "special_tokens": rng.choice([[], ["<s>"], ["<s>", "<pad>", "<s>"], ["d", "b"]]),
        "show_progress": False,
        "max_token_length": rng.choice([None, None, 1, 2, 5]),
    }
    if rng.random() < 0.4:
        options["initial_alphabet"] = real.pre_tokenizers.ByteLevel.alphabet()
    elif rng.random() < 0.3:
        options["initial_alphabet"] = list("xyz")
    results = []
    for library in (real, ours):
        tokenizer = build(library, **shape)
        tokenizer.train_from_iterator(iter(corpus), library.trainers.BpeTrainer(**options))
        results.append((learned(tokenizer), [tokenizer.encode(text).ids for text in corpus[:5]]))
    assert results[0] == results[1], (shape, options)


@pytest.mark.parametrize("limit", [1, 3, 8, 100])
def test_a_limited_alphabet(limit):
    # every character occurs a number of times of its own, so that no tie decides
    corpus = ["".join(char * (k + 1) * (k + 2) for k, char in enumerate("hgfedcba")) + " ab" * 3 + "abc" * 9]
    results = []
    for library in (real, ours):
        tokenizer = build(library, False, False, None, False)
        trainer = library.trainers.BpeTrainer(vocab_size=60, limit_alphabet=limit, show_progress=False)
        tokenizer.train_from_iterator(corpus, trainer)
        results.append(learned(tokenizer))
    assert results[0] == results[1]


def test_files_are_read_line_by_line(tmp_path):
    path = tmp_path / "text"
    path.write_text("".join(texts.DOCUMENTS[:6]) + "\nlast line without an end", "utf-8", newline="\n")
    results = []
    for library in (real, ours):
        tokenizer = build(library, True, False, None, False)
        tokenizer.train([str(path)], library.trainers.BpeTrainer(vocab_size=500, show_progress=False))
        results.append(learned(tokenizer))
    assert results[0] == results[1]
    with pytest.raises(Exception, match="No such file"):
        build(ours, True, False, None, False).train([str(Path(tmp_path / "absent"))])


def test_real_text(data):
    lines = (data / "english" / "cs336_corpus.en").read_text("utf-8").splitlines(keepends=True)
    results = []
    for library in (real, ours):
        tokenizer = build(library, False, True, None, False)
        options = {"vocab_size": 3000, "special_tokens": ["<|endoftext|>"], "show_progress": False}
        alphabet = library.pre_tokenizers.ByteLevel.alphabet()
        tokenizer.train_from_iterator(lines, library.trainers.BpeTrainer(**options, initial_alphabet=sorted(alphabet)))
        results.append((learned(tokenizer), tokenizer.encode("".join(lines[:50])).ids))
    assert results[0] == results[1]


def test_what_is_not_for_bytes_is_refused_by_name():
    tokenizer = ours.Tokenizer(ours.models.BPE())
    trainer = ours.trainers.BpeTrainer(vocab_size=300, show_progress=False)
    with pytest.raises(NotImplementedError, match="ByteLevel"):
        tokenizer.train_from_iterator(["a"], trainer)
    tokenizer.pre_tokenizer = ours.pre_tokenizers.ByteLevel()
    for options, name in (
        ({"initial_alphabet": ["中"]}, "initial_alphabet"),
        ({"end_of_word_suffix": "</w>"}, "end_of_word_suffix"),
        ({"special_tokens": ["ab"]}, "special token 'ab' is also learned"),
    ):
        with pytest.raises(NotImplementedError, match=name):
            tokenizer.train_from_iterator(["xab"] * 5, ours.trainers.BpeTrainer(vocab_size=300, **options))
