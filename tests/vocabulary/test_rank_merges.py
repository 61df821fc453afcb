"""Vocabularies given as ranks, against tiktoken."""

import dataclasses
import importlib.util
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm.formats import tiktoken as rank_files
from fastlm.pretokenize.patterns import find_pattern
from fastlm.tokenizer import Tokenizer
from fastlm.vocabulary.from_ranks import ranks_of, vocabulary_from_ranks
from fastlm.vocabulary.published import ENCODINGS
from fastlm.vocabulary.vocabulary import Rules
from tests import texts

tiktoken = pytest.importorskip("tiktoken", reason="tiktoken judges what ranks mean")

BYTES = {bytes([b]): b for b in range(256)}
PIECES = st.text("abc ", min_size=2, max_size=6)


def both(ranks, special=None):
    special = special or {}
    ours = Tokenizer.from_vocabulary(vocabulary_from_ranks(ranks, special, find_pattern("gpt2")))
    pattern = find_pattern("r50k_base").regex
    return ours, tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)


@given(st.lists(PIECES, unique=True, max_size=30), st.randoms(use_true_random=False), st.text("abc ", max_size=60))
def test_any_ranks_encode_as_by_tiktoken(tokens, rng, text):
    """Also those that no training would give: tokens that no merge makes, and any order."""
    ids = list(range(256 + len(tokens)))
    rng.shuffle(ids)
    spelled = [*BYTES, *(token.encode() for token in tokens)]
    ours, theirs = both(dict(zip(spelled, ids, strict=True)))
    assert ours.encode(text) == theirs.encode(text)
    for token in spelled:
        assert ours.encode_ordinary(token.decode("latin-1")) == theirs.encode_ordinary(token.decode("latin-1"))


def test_long_tokens_and_many_that_no_merge_makes():
    rng = random.Random(1)
    words = {"".join(rng.choices("abcdefgh", k=rng.choice([3, 5, 9, 17, 40, 255, 300]))) for _ in range(3000)}
    # every length has whole chains below some words, so that merges make those of more than 255 bytes
    chains = {"a" * k for k in range(2, 300)}
    ordered = [*sorted(chains, key=len), *sorted(word for word in words if len(word) <= 255)]
    ours, theirs = both(BYTES | {word.encode(): 256 + k for k, word in enumerate(ordered)})
    for text in (*ordered, " ".join(ordered), "a" * 5000):
        assert ours.encode(text) == theirs.encode(text)


def test_tokens_of_any_length_that_no_merge_makes():
    pair, many = b"xy" * 200, b"ab" * 50_000
    ours, theirs = both(BYTES | {pair: 256, many: 257})
    for text in (
        "xy",
        "xy" * 199,
        "xy" * 200,
        "xy" * 201,
        "ab" * 49_999,
        "ab" * 50_000,
        " ".join(("xy" * 200, "ab" * 50_000)),
    ):
        assert ours.encode(text) == theirs.encode(text)


def test_a_byte_without_a_rank_is_refused_when_it_comes():
    ranks = {token: rank for token, rank in BYTES.items() if token != b"z"}
    ours, theirs = both(ranks | {b"ab": 300, b"zz": 301})
    assert ours.encode("ab") == theirs.encode("ab")
    assert ours.encode("zz") == theirs.encode("zz") == [301]
    for text, at in (("z", 0), ("ab z!", 3), ("z" * 100, 0)):
        with pytest.raises(ValueError, match=rf"byte {at} of the text, 0x7a, has no token|byte {at + 1} of the text"):
            ours.encode(text)
        with pytest.raises(ValueError, match="has no token"):
            ours.count(text)
    assert ours.encode("ab") == theirs.encode("ab")


@pytest.mark.parametrize(
    ("ranks", "special", "message"),
    [
        ({b"a": 0, b"b": 0}, {}, "rank 0 is given twice, to b'a' and b'b'"),
        ({b"a": -1}, {}, "must not be negative"),
        ({b"": 1}, {}, "nor tokens empty"),
        ({b"a": 1 << 40}, {}, "far above the number of tokens"),
        ({b"a": 0}, {"<s>": 0}, "special token '<s>' has id 0, which is b'a'"),
        ({b"a": 0}, {"<s>": 1 << 40}, "far above"),
        ({b"a": 0}, {"<s>": -1}, "expected a non-negative integer"),
        ({b"a": 0}, {"<s>": "1"}, "expected a non-negative integer"),
        ({b"a": 0}, {"": 1}, "must not be empty"),
    ],
)
def test_ranks_that_do_not_fit(ranks, special, message):
    with pytest.raises(ValueError, match=message):
        vocabulary_from_ranks(ranks, special, find_pattern("gpt2"))


def test_ranks_of_a_wrong_type():
    with pytest.raises(TypeError, match="must map int to bytes"):
        vocabulary_from_ranks({"a": 0}, {}, find_pattern("gpt2"))


def test_a_trained_vocabulary_as_ranks(trained, tmp_path):
    # special tokens come first in it, so ranks do not begin at 0
    trained.save(tmp_path, ["tiktoken"])
    again = fastlm.load(tmp_path, pattern="gpt2", special_tokens=trained.special_tokens)
    assert again.vocab == trained.vocab
    assert again.merges == trained.merges
    ranks = ranks_of(trained.vocabulary)
    theirs = tiktoken.Encoding(
        "x", pat_str=find_pattern("gpt2").regex, mergeable_ranks=ranks, special_tokens=trained.special_tokens
    )
    for text in texts.DOCUMENTS:
        assert theirs.encode(text, allowed_special="all") == trained.encode(text) == again.encode(text)
    with pytest.raises(ValueError, match="does not say how text is split: give pattern="):
        fastlm.load(tmp_path)
    numbered = fastlm.load(tmp_path, pattern="gpt2", special_tokens=["<|more|>"])
    assert numbered.special_tokens == {"<|more|>": max(ranks.values()) + 1}


def test_ids_out_of_merge_order_are_no_ranks():
    vocab = {i: bytes([i]) for i in range(256)} | {256: b"bc", 257: b"ab"}
    tokenizer = fastlm.Tokenizer(vocab, [(b"a", b"b"), (b"b", b"c")])
    with pytest.raises(ValueError, match="not in order of merge rank"):
        ranks_of(tokenizer.vocabulary)
    unmade = fastlm.Tokenizer(vocab, [(b"b", b"c")])
    with pytest.raises(ValueError, match="not in order of merge rank"):
        ranks_of(unmade.vocabulary)


def test_what_ranks_cannot_express():
    vocab = {i: bytes([i]) for i in range(256)} | {256: b"bc", 257: b"xyz"}
    unmade = fastlm.Tokenizer(vocab, [(b"b", b"c")]).vocabulary
    with pytest.raises(ValueError, match="some tokens are made by no merge, and a reader of a rank file would find"):
        ranks_of(unmade)
    found = dataclasses.replace(unmade, rules=Rules(ignore_merges=True))
    assert ranks_of(found)[b"xyz"] == 257
    framed = dataclasses.replace(unmade, rules=Rules(ignore_merges=True, begin=(1,), end=(2,)))
    assert ranks_of(framed)[b"xyz"] == 257
    for rules in (Rules(ignore_merges=True, normalization="NFC"), Rules(add_prefix_space=True)):
        with pytest.raises(ValueError, match=r"a rank file cannot express Rules\("):
            ranks_of(dataclasses.replace(unmade, rules=rules))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no tokens"),
        (b"YQ== 0\nYg==\n", "line 2: .*expected a token in base64"),
        (b"YQ== 0\n? 1\n", "line 2"),
        (b"YQ== 0\nYQ== 1\n", "line 2: token b'a' is given twice"),
        (b"YQ== 0\nYg== 0\n", "rank 0 is given twice"),
        (b"YQ== -1\n", "line 1"),
        (b"YQ== 1.5\n", "line 1"),
        (b"YQ== 99999999999999999999\n", "far above"),
        (b"\xff\xfe\n", "is in UTF-16: save it as UTF-8"),
        (b"\xff\xfd\n", "line 1"),
        (b"YQ==\x000\n", "line 1"),
    ],
)
def test_malformed_rank_files(tmp_path, content, message):
    path = tmp_path / "bad.tiktoken"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.tiktoken.*{message}"):
        fastlm.load(path, pattern="gpt2")


def test_random_damage_of_a_rank_file_is_refused_or_harmless(trained, tmp_path):
    (path,) = trained.save(tmp_path, ["tiktoken"])
    content = path.read_bytes()
    rng = random.Random(1)
    for _ in range(500):
        at = rng.randrange(len(content))
        changed = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
        path.write_bytes(changed if rng.random() < 0.8 else content[:at])
        try:
            fastlm.load(path, pattern="gpt2").encode("some text")
        except ValueError:
            continue


# --- published files ---


def published_file(data, name):
    """The file as published; the package llama-models ships Llama 4's."""
    path = data / "vectors" / f"{name}.tiktoken"
    if not path.exists():
        package = importlib.util.find_spec("llama_models")
        if package is None:
            pytest.skip(f"no {path}, and the package llama-models is not installed")
        path = Path(package.submodule_search_locations[0]) / name / "tokenizer.model"
    return path


@pytest.mark.parametrize("name", ["r50k_base", "p50k_base", "cl100k_base", "o200k_base", "llama3", "llama4", "qwen2"])
def test_published_files_are_known_by_their_content(data, tmp_path, name):
    source = published_file(data, name)
    # the file's name and its line ends say nothing
    path = tmp_path / "anything.bin"
    path.write_bytes(source.read_bytes().replace(b"\n", b"\r\n"))
    tokenizer = fastlm.load(path)
    known = next(encoding for encoding in ENCODINGS if encoding.name == name)
    assert tokenizer.pattern == known.pattern
    assert tokenizer.special_tokens == known.special_tokens
    ranks = rank_files.parse(source.read_bytes(), source)
    theirs = tiktoken.Encoding(
        name,
        pat_str=tokenizer.vocabulary.pattern.regex,
        mergeable_ranks=ranks,
        special_tokens=dict(known.special_tokens),
    )
    for text in texts.DOCUMENTS:
        assert tokenizer.encode(text) == theirs.encode(text, allowed_special="all")
    # every token, as a text of its own where it is one
    for token in ranks:
        try:
            text = token.decode()
        except UnicodeDecodeError:
            continue
        if known.normalization is None:
            assert tokenizer.encode_ordinary(text) == theirs.encode_ordinary(text), token
    assert ranks_of(tokenizer.vocabulary) == ranks if known.normalization is None else True


def test_special_tokens_of_llama4():
    special = next(encoding for encoding in ENCODINGS if encoding.name == "llama4").special_tokens
    assert list(special.values()) == list(range(200000, 202048))
    ids = {"begin_of_text": 0, "end_of_text": 1, "fim_suffix": 4, "header_start": 5, "eom": 7, "eot": 8, "step": 9}
    ids |= {"text_post_train_reserved_special_token_0": 10, "text_post_train_reserved_special_token_5": 15}
    ids |= {"python_start": 16, "finetune_right_pad": 18, "text_post_train_reserved_special_token_8": 19}
    ids |= {"text_post_train_reserved_special_token_68": 79, "image_start": 80, "vision_reserved_special_token_0": 82}
    ids |= {"tile_y_separator": 85, "vision_reserved_special_token_2": 86, "image": 90, "patch": 92}
    ids |= {"vision_reserved_special_token_6": 91, "vision_reserved_special_token_7": 93}
    ids |= {"vision_reserved_special_token_1047": 1133, "reasoning_reserved_special_token_7": 1141}
    ids |= {"reasoning_thinking_start": 1142, "reasoning_thinking_end": 1143, "reserved_special_token_0": 1144}
    ids |= {"reserved_special_token_903": 2047}
    assert {name: special[f"<|{name}|>"] - 200000 for name in ids} == ids


def test_the_expression_of_llama4_in_a_tokenizer_json_is_named(trained, tmp_path):
    expression = (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    trained.save(tmp_path, formats=["tokenizer.json"])
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, byte_level]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizers = pytest.importorskip("tokenizers")
    loaded = fastlm.load(tmp_path)
    assert loaded.pattern == "o200k_base" == find_pattern("llama4").name
    assert loaded.vocabulary.pattern.scanner == "o200k"
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in texts.DOCUMENTS:
        assert loaded.encode(text) == theirs.encode(text, add_special_tokens=False).ids


def test_special_tokens_of_published_encodings_are_tiktokens_own():
    constructors = pytest.importorskip("tiktoken_ext.openai_public")
    loaded = {}

    def fake(*args, **kwargs):
        loaded["sha256"] = kwargs.get("expected_hash")
        return {}

    original = constructors.load_tiktoken_bpe
    constructors.load_tiktoken_bpe = fake
    try:
        for encoding in ENCODINGS:
            if encoding.name in constructors.ENCODING_CONSTRUCTORS:
                theirs = constructors.ENCODING_CONSTRUCTORS[encoding.name]()
                assert dict(encoding.special_tokens) == theirs["special_tokens"]
                assert encoding.sha256 == loaded["sha256"]
                assert find_pattern(encoding.pattern) == find_pattern(theirs["pat_str"])
    finally:
        constructors.load_tiktoken_bpe = original


def test_merges_are_indices_in_order():
    from fastlm.vocabulary._rank_merges import merges_of_ranks

    left, right, new = merges_of_ranks(np.frombuffer(b"ccbbccbx", np.uint8), np.array([0, 3, 4, 5, 7, 8]))
    # "ccb" is made of "c" and "cb", whose rank is higher
    assert (left.tolist(), right.tolist(), new.tolist()) == ([2, 2], [3, 1], [0, 3])
