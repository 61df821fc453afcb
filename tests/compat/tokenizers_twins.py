"""One tokenizer built twice, by tokenizers and by fastlm's face of it, and calls whose outcomes are compared."""

import json
import random
import warnings
from types import ModuleType
from typing import Any

import pytest

import fastlm.compat.tokenizers as ours
from tests import texts

theirs: Any = pytest.importorskip("tokenizers", reason="tokenizers judges what its face answers")

FRAGMENTS = [
    *(
        "<m>",
        "<m",
        "m>",
        "é",
        "e\u0301",
        "<s>",
        " <s> ",
        "the",
        "xx",
        "中文",
        "\u1100\u1161",
        "_",
        " ",
        "  ",
        "\n",
        "\t",
    ),
    *(
        "a",
        "\u3000",
        "\x1c",
        "\u200b",
        "½",
        "\u0301",
        "\u200d",
        "<|end|>",
        "a<m>b",
        "don't",
        "9",
        "123",
        "😀",
        "\u00a0",
    ),
    *("hello", " world", "Hello", "<PAD>", "ab c", "\u212b", "\u0323\u0301", "\r\n", "\x85", "  the", "Ġ", "Ċ"),
]
NAMES = [
    "<m>",
    "<m><m>",
    "m>",
    "é",
    "e\u0301",
    " <s> ",
    "the",
    "xx",
    "中文",
    "\u1100\u1161",
    "_",
    "Ġthe",
    "a",
    "<|end|>",
]
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def text(rng: random.Random, most: int = 10) -> str:
    if rng.random() < 0.2:
        # the regex module, which stands in for some scanners, knows characters that tokenizers does not
        return texts.random_string(rng, any_scalar=False)[:20]
    return "".join(rng.choices(FRAGMENTS, k=rng.randrange(most)))


def trained(vocab_size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges that tokenizers learns."""
    tokenizer = theirs.Tokenizer(theirs.models.BPE())
    tokenizer.pre_tokenizer = theirs.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = theirs.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|end|>"],
        initial_alphabet=theirs.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts.DOCUMENTS, *FRAGMENTS * 2], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


TRAINED = {size: trained(size) for size in (257, 300, 400)}


NORMALIZERS = [
    lambda n: n.NFC(),
    lambda n: n.Sequence([n.NFC()]),
    lambda n: n.Sequence([]),
    lambda n: n.NFKC(),
    lambda n: n.Sequence([n.NFD(), n.StripAccents(), n.Lowercase()]),
    lambda n: n.Sequence([n.Strip(), n.Prepend("x ")]),
    lambda n: n.Sequence([n.Nmt(), n.Replace("the", "é"), n.Replace(" ", "")]),
]


class Recipe:
    """Choices that make a tokenizer, the same for either module."""

    def __init__(self, rng: random.Random) -> None:
        vocab, merges = TRAINED[rng.choice(list(TRAINED))]
        self.ignore_merges = rng.random() < 0.2
        if rng.random() < 0.15 and not self.ignore_merges:
            lost = set(rng.sample(["e", "Ã", "Ġ", "t", "Ċ", "©"], rng.randrange(1, 3)))
            vocab = {token: token_id for token, token_id in vocab.items() if not lost.intersection(token)}
            merges = [merge for merge in merges if not lost.intersection("".join(merge))]
        self.vocab, self.merges = vocab, merges
        self.normalizer = rng.choice([None, *NORMALIZERS]) if rng.random() < 0.6 else None
        self.prefix = rng.random() < 0.3
        self.split = rng.choice(
            ["bytes", "bytes", "gpt4", "digits", "digits-runs", "both", "whole", "falcon", "words", "metaspace", "null"]
        )
        if self.split not in ("bytes", "falcon", "words"):
            self.prefix = False
        # characters that stand for no byte are no part of a whole token
        self.ignore_merges &= self.split != "null"
        # options that change nothing where every byte has a token
        self.options = rng.choice([{}, {"dropout": 0.0}, {"fuse_unk": True}, {"continuing_subword_prefix": ""}])
        if self.split != "null" and len(vocab) in TRAINED:
            self.options |= rng.choice([{}, {}, {"unk_token": "a"}, {"unk_token": "<|end|>", "byte_fallback": True}])
        self.post = rng.choice(
            [None, "bytes", "bytes", "trim-no-prefix", "no-trim", "template", "sequence", "roberta", "bert"]
        )
        self.single = rng.choice(["<|end|> $A", "$A <|end|>", "<|end|> $A <|end|>", "$A:2", "$A"])
        self.pair = rng.choice(["<|end|> $A $B:1", "$A <|end|>:3 $B:1 <|end|>:1", "$B:0 $A:1", "$A $A $B", "$A $B"])
        self.added = [
            (name, {key: rng.random() < 0.3 for key in ("single_word", "lstrip", "rstrip", "normalized", "special")})
            for name in rng.sample(NAMES, rng.randrange(6))
        ]
        # of tokens that are one when they are normalized tokenizers finds either
        normalize = self.normalizer(theirs.normalizers).normalize_str if self.normalizer else str
        distinct = {normalize(name): (name, options) for name, options in self.added}
        self.added = [token for name, token in distinct.items() if name]
        self.plain_special = rng.sample(["<|end|>", "<PAD>", "<m>"], rng.randrange(3))
        self.truncation = None
        if rng.random() < 0.5:
            most = rng.randrange(12)
            self.truncation = (
                most,
                {
                    "stride": rng.choice([0, 0, 0, 1, 2, 3]),
                    "strategy": rng.choice(["longest_first"] * 3 + ["only_first", "only_second"]),
                    "direction": rng.choice(["left", "right", "right"]),
                },
            )
        self.padding = None
        if rng.random() < 0.4:
            self.padding = {
                "direction": rng.choice(["left", "right"]),
                "pad_id": rng.randrange(5),
                "pad_type_id": rng.randrange(3),
                "length": rng.choice([None, None, 7, 30]),
                "pad_to_multiple_of": rng.choice([None, None, 0, 4]),
            }
        self.as_text = rng.random() < 0.2

    def build(self, module: Any) -> Any:
        m, split, regex = module, module.pre_tokenizers.Split, module.Regex
        model = m.models.BPE(self.vocab, self.merges, ignore_merges=self.ignore_merges, **self.options)
        tokenizer = m.Tokenizer(model)
        if self.normalizer:
            tokenizer.normalizer = self.normalizer(m.normalizers)
        byte_level = m.pre_tokenizers.ByteLevel(add_prefix_space=self.prefix, use_regex=True)
        plain = m.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        steps = {
            "bytes": [byte_level],
            "gpt4": [split(regex(GPT4), "isolated"), plain],
            "digits": [m.pre_tokenizers.Digits(True), byte_level],
            "digits-runs": [m.pre_tokenizers.Digits(), byte_level],
            "both": [split(" ", "isolated"), m.pre_tokenizers.Digits(True), plain],
            "whole": [plain],
            "falcon": [
                *(m.pre_tokenizers.Punctuation("contiguous"), byte_level, m.pre_tokenizers.Digits()),
                split(regex("[0-9][0-9][0-9]"), "isolated"),
            ],
            "words": [m.pre_tokenizers.Whitespace(), m.pre_tokenizers.ByteLevel(add_prefix_space=True)],
            "metaspace": [m.pre_tokenizers.Metaspace("_", "first"), plain],
            "null": [],
        }[self.split]
        if steps:
            tokenizer.pre_tokenizer = steps[0] if len(steps) == 1 else m.pre_tokenizers.Sequence(steps)
        tokenizer.decoder = m.decoders.ByteLevel()
        special = [("<|end|>", self.vocab.get("<|end|>", 0))]
        template = m.processors.TemplateProcessing(single=self.single, pair=self.pair, special_tokens=special)
        trim = m.processors.ByteLevel(trim_offsets=True, add_prefix_space=self.prefix)
        tokenizer.post_processor = {
            None: None,
            "bytes": m.processors.ByteLevel(),
            "trim-no-prefix": m.processors.ByteLevel(trim_offsets=True, add_prefix_space=False),
            "no-trim": m.processors.ByteLevel(trim_offsets=False),
            "template": template,
            "sequence": m.processors.Sequence([trim, template]),
            "roberta": m.processors.RobertaProcessing(("<|end|>", 0), ("the", 5), add_prefix_space=self.prefix),
            "bert": m.processors.BertProcessing(("<|end|>", 0), ("the", 5)),
        }[self.post]
        tokenizer.add_special_tokens(self.plain_special)
        tokenizer.add_tokens([m.AddedToken(name, **options) for name, options in self.added])
        if self.truncation:
            most, options = self.truncation
            try:
                tokenizer.enable_truncation(most, **options)
            except ValueError:
                tokenizer.enable_truncation(most)
        if self.padding:
            tokenizer.enable_padding(**self.padding)
        tokenizer.encode_special_tokens = self.as_text
        return tokenizer


def twins(rng: random.Random) -> tuple[Any, Any]:
    recipe = Recipe(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return recipe.build(theirs), recipe.build(ours)


def plain(value: Any) -> Any:
    """A value without the types of either module."""
    if isinstance(value, theirs.Encoding | ours.Encoding):
        return json.loads(value.__getstate__())
    if isinstance(value, theirs.AddedToken | ours.AddedToken):
        return value.__getstate__()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def outcome(call: Any, module: ModuleType) -> Any:
    """What a call gives, or the type of what it raises. A bare Exception and a panic count as ValueError."""
    try:
        return plain(call())
    except Exception as error:  # noqa: BLE001 - both libraries must raise alike
        if module is theirs:
            return "ValueError" if type(error) is Exception else type(error).__name__
        is_plain = isinstance(error, OSError) or type(error) in (ValueError, json.JSONDecodeError)
        return "ValueError" if is_plain else type(error).__name__
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return "ValueError"
