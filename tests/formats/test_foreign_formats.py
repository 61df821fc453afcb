"""minbpe's .model, Mistral's tekken.json, and which of all formats a file has."""

import base64
import dataclasses
import json
import random
import unicodedata

import pytest

import fastlm
from fastlm import formats
from fastlm.formats import minbpe, tekken
from fastlm.pretokenize.patterns import PATTERNS, find_pattern
from fastlm.vocabulary.vocabulary import Rules
from tests import texts

BYTES = [bytes([b]) for b in range(256)]


def minbpe_tokenizer() -> fastlm.Tokenizer:
    """A vocabulary with minbpe's ids: bytes by value, then merges, then special tokens."""
    learned = fastlm.train_bpe(texts.DOCUMENTS[:8], 500, [], pattern="minbpe-gpt4")
    tokens = BYTES + [left + right for left, right in learned.merges]
    return fastlm.Tokenizer(dict(enumerate(tokens)), learned.merges, ["<|endoftext|>", "<|fim|>"], "minbpe-gpt4")


def test_minbpe_files_hold_what_minbpe_needs(tmp_path):
    tokenizer = minbpe_tokenizer()
    (path,) = tokenizer.save(tmp_path, ["minbpe"])
    # read as minbpe's own load does
    lines = path.read_text("utf-8").splitlines()
    assert lines[:3] == ["minbpe v1", PATTERNS["minbpe-gpt4"].regex, "2"]
    special = {line.split()[0]: int(line.split()[1]) for line in lines[3:5]}
    assert special == tokenizer.special_tokens
    vocab = {i: bytes([i]) for i in range(256)}
    for line in lines[5:]:
        left, right = map(int, line.split())
        vocab[len(vocab)] = vocab[left] + vocab[right]
    assert vocab | {token_id: token.encode() for token, token_id in special.items()} == tokenizer.vocab
    again = fastlm.load(path)
    assert again.vocabulary.fingerprint == tokenizer.vocabulary.fingerprint
    for text in texts.DOCUMENTS:
        assert again.encode(text) == tokenizer.encode(text)


@pytest.mark.filterwarnings("ignore:no scanner for the pattern")
def test_minbpes_basic_tokenizer_does_not_split(tmp_path):
    (tmp_path / "basic.model").write_text("minbpe v1\n\n0\n97 32\n256 98\n")
    tokenizer = fastlm.load(tmp_path)
    assert tokenizer.encode("a ba b") == [257, 257]


def test_vocabularies_that_minbpe_cannot_describe(trained, tmp_path):
    with pytest.raises(ValueError, match="the bytes have the ids 0 to 255, but here they do not"):
        trained.save(tmp_path, ["minbpe"])
    vocab = dict(enumerate([*BYTES, b"bc", b"ab"]))
    with pytest.raises(ValueError, match="merges have the ids that follow"):
        fastlm.Tokenizer(vocab, [(b"a", b"b"), (b"b", b"c")]).save(tmp_path, ["minbpe"])
    with pytest.raises(ValueError, match="cannot hold the special token 'a b'"):
        fastlm.Tokenizer(dict(enumerate(BYTES)), [], ["a b"]).save(tmp_path, ["minbpe"])
    with pytest.raises(ValueError, match="whitespace around it"):
        fastlm.Tokenizer(dict(enumerate(BYTES)), [], pattern=" ?a+ ").save(tmp_path, ["minbpe"])
    plain = fastlm.Tokenizer(dict(enumerate(BYTES)), []).vocabulary
    ruled = dataclasses.replace(plain, rules=Rules(add_prefix_space=True))
    with pytest.raises(ValueError, match="cannot hold the rules add_prefix_space"):
        fastlm.Tokenizer.from_vocabulary(ruled).save(tmp_path, ["minbpe"])
    other = dataclasses.replace(plain, pattern=find_pattern("a++", "oniguruma"))
    with pytest.raises(ValueError, match=r"cannot hold expressions in Oniguruma's syntax: \('a\+\+',\)"):
        fastlm.Tokenizer.from_vocabulary(other).save(tmp_path, ["minbpe"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("minbpe v1", "line 1: expected the number of special tokens"),
        ("minbpe v1\n\nx\n", "line 3: expected the number of special tokens, found 'x'"),
        ("minbpe v1\n\n1\n", "line 4: expected a special token and its id"),
        ("minbpe v1\n\n1\na b 3\n", "line 4: expected a special token and its id"),
        ("minbpe v1\n\n1\na x\n", "line 4: expected an id, found 'x'"),
        ("minbpe v1\n\n0\n97\n", "line 4: expected two ids"),
        ("minbpe v1\n\n0\n97 98\n300 97\n", "line 5: id 300 is not made by an earlier line"),
        ("minbpe v1\n\n0\n97 98\n97 98\n", "merge 1"),
        ("minbpe v1\n\n1\na 98\n", "special token 'a' has id 98, which is b'b'"),
        ("minbpe v1\n(\n0\n", "not a regular expression"),
        ("minbpe v1\n\n99999999999999\n", "line 4"),
        (
            "minbpe v1\n\n0\n97 97\n" + "".join(f"{token} {token}\n" for token in range(256, 290)),
            "line [0-9]+: the merges make tokens of more than [0-9]+ bytes together",
        ),
    ],
)
def test_malformed_minbpe_files(tmp_path, content, message):
    path = tmp_path / "bad.model"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"bad\.model, .*{message}"):
        fastlm.load(path)


def test_another_version_of_minbpe(tmp_path):
    path = tmp_path / "bad.model"
    path.write_text("minbpe v2\n\n0\n")
    with pytest.raises(ValueError, match=r"bad\.model, line 3: expected 'minbpe v1', found 'minbpe v2'"):
        minbpe.read(path)


# --- the JSON files of tiktoken's JavaScript versions ---


def js_content(**changes) -> dict:
    ranks = [*BYTES, b"ab", b"abc"]
    lines = [(0, ranks[:100]), (100, ranks[100:])]
    spelled = [f"! {first} {' '.join(base64.b64encode(token).decode() for token in part)}" for first, part in lines]
    return {
        "explicit_n_vocab": 259,
        "pat_str": PATTERNS["gpt2"].regex,
        "special_tokens": {"<EOT>": 258},
        "bpe_ranks": "\n".join(spelled),
    } | changes


def test_ranks_of_javascript_are_read(tmp_path):
    path = tmp_path / "claude.json"
    path.write_text(json.dumps(js_content()))
    tokenizer = fastlm.load(path)
    assert tokenizer.encode("abcab<EOT>") == [257, 256, 258]
    assert tokenizer.encode("e\u0301") == [*"e\u0301".encode()]
    assert tokenizer.pattern == "gpt2"


def test_claude_normalizes(data):
    tiktoken = pytest.importorskip("tiktoken")
    path = data / "tokenizers" / "claude" / "claude.json"
    content, tokenizer = json.loads(path.read_text("utf-8")), fastlm.load(path)
    ranks = {tokenizer.vocab[token_id]: token_id for token_id in tokenizer.vocab}
    special = content["special_tokens"]
    ranks = {token: rank for token, rank in ranks.items() if rank not in special.values()}
    judge = tiktoken.Encoding("claude", pat_str=content["pat_str"], mergeable_ranks=ranks, special_tokens=special)
    for text in [*texts.DOCUMENTS, "ﬁ ½ ㎡ x² ＡＢＣ\u00a0e\u0301", "it's <EOT> here"]:
        expected = judge.encode(unicodedata.normalize("NFKC", text), allowed_special="all")
        assert tokenizer.encode(text) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bpe_ranks": []}, "expected an object with a str 'bpe_ranks'"),
        ({"special_tokens": []}, "expected an object with a dict 'special_tokens'"),
        ({"special_tokens": {"<a>": "0"}}, "special token '<a>' has id '0', expected an integer"),
        ({"bpe_ranks": ""}, "bpe_ranks holds no tokens"),
        ({"bpe_ranks": "! 0 YQ==\n? 1 Yg=="}, "line 2 of bpe_ranks is '[?] 1 Yg=='"),
        ({"bpe_ranks": "!"}, "line 1 of bpe_ranks is '!'"),
        ({"bpe_ranks": "! 0 YQ"}, "token 'YQ' of rank 0 is not base64"),
        ({"bpe_ranks": "! 0 YQ== YQ=="}, "token b'a' of rank 1 is empty or given twice"),
        ({"pat_str": "("}, "is not a regular expression"),
    ],
)
def test_malformed_ranks_of_javascript_are_refused(changes, message, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(js_content(**changes)))
    with pytest.raises(ValueError, match=rf"x\.json: .*({message})"):
        fastlm.load(path)


# --- tekken ---


def tekken_content(**changes) -> dict:
    words = sorted({word.encode() for text in texts.DOCUMENTS[:5] for word in text.split()})[:300]
    parts = sorted({word[:k] for word in words for k in range(2, len(word))}, key=lambda part: (len(part), part))
    ranked = [*BYTES, *parts]
    config = {
        "pattern": PATTERNS["tekken"].regex,
        "num_vocab_tokens": len(ranked),
        "default_vocab_size": 10 + len(ranked) - 5,
        "default_num_special_tokens": 10,
        "version": "v3",
    }
    vocab = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for rank, token in enumerate(ranked)
    ]
    return {"config": config, "vocab": vocab} | changes


def test_tekken_is_ranks_after_special_tokens(tmp_path):
    tiktoken = pytest.importorskip("tiktoken", reason="Mistral's tokenizer runs tiktoken")
    content = tekken_content()
    (tmp_path / tekken.FILE).write_text(json.dumps(content))
    tokenizer = fastlm.load(tmp_path)
    used = content["vocab"][: content["config"]["default_vocab_size"] - 10]
    theirs = tiktoken.Encoding(
        "tekken",
        pat_str=content["config"]["pattern"],
        mergeable_ranks={base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in used},
        special_tokens={},
    )
    rng = random.Random(1)
    for text in [*texts.DOCUMENTS, *(texts.random_string(rng) for _ in range(500))]:
        assert tokenizer.encode_ordinary(text) == [token_id + 10 for token_id in theirs.encode_ordinary(text)]
    assert tokenizer.vocab_size == content["config"]["default_vocab_size"]
    assert tokenizer.pattern == "tekken"
    assert [tokenizer.special_tokens[name] for name in ("<unk>", "<s>", "</s>", "[INST]")] == [0, 1, 2, 3]


def test_tekkens_own_special_tokens(tmp_path):
    content = tekken_content(special_tokens=[{"rank": 1, "token_str": "<begin>", "is_control": True}])
    path = tmp_path / "any.json"
    path.write_text(json.dumps(content))
    special = fastlm.load(path).special_tokens
    assert special["<begin>"] == 1
    assert special["<SPECIAL_2>"] == 2
    assert len(special) == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["config"].pop("pattern"), "lacks 'pattern'"),
        (lambda c: c["config"].update(default_vocab_size="x"), "config.default_vocab_size is 'x'"),
        (
            lambda c: c["config"].update(default_vocab_size=10**9),
            "1000000000 tokens, 10 of them special, are more",
        ),
        (
            lambda c: c["config"].update(default_num_special_tokens=10**9),
            "config.default_num_special_tokens is 1000000000, expected at most 1000",
        ),
        (lambda c: c["config"].update(pattern="("), "not a regular expression"),
        (lambda c: c["vocab"][3].update(rank=7), "expected an object with rank 3"),
        (lambda c: c["vocab"][3].update(token_bytes="?"), "vocab entry 3 has token_bytes '\\?', not base64"),
        (lambda c: c["vocab"][3].update(token_bytes=c["vocab"][2]["token_bytes"]), "repeats the token"),
        (lambda c: c.pop("vocab"), "lacks 'vocab'"),
        (lambda c: c.update(vocab=[1] * 2000), "vocab entry 0 is 1, expected an object"),
        (lambda c: c.update(special_tokens=[{"rank": 99, "token_str": "x"}]), "has no rank below 10"),
        (lambda c: c.update(special_tokens=[{"rank": k, "token_str": "x"} for k in (1, 2)]), "the same name"),
    ],
)
def test_malformed_tekken_files(tmp_path, change, message):
    content = tekken_content()
    change(content)
    path = tmp_path / tekken.FILE
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"tekken\.json: .*({message})|^{message}"):
        fastlm.load(path)


# --- which format ---


def test_the_content_says_which_format_a_file_has(tmp_path):
    tokenizer = minbpe_tokenizer()
    tokenizer.save(tmp_path, ["fastlm", "tokenizer.json", "minbpe", "tiktoken"])
    for k, path in enumerate(sorted(tmp_path.iterdir())):
        renamed = tmp_path / f"file{k}"
        renamed.write_bytes(path.read_bytes())
        if path.suffix == ".tiktoken":
            again = fastlm.load(renamed, pattern="minbpe-gpt4", special_tokens=tokenizer.special_tokens)
        else:
            again = fastlm.load(renamed)
            with pytest.raises(ValueError, match="holds pattern and special tokens itself"):
                fastlm.load(renamed, pattern="gpt2")
        assert again.vocab == tokenizer.vocab
        assert again.merges == tokenizer.merges


def test_a_directory_of_several_of_a_kind_is_ambiguous(tmp_path):
    for name in ("a.model", "b.model"):
        (tmp_path / name).write_text(f"{minbpe.FIRST_LINE}\n\n0\n")
    with pytest.raises(ValueError, match="holds several files \\*\\.model; load one of them"):
        fastlm.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        fastlm.load(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds none of"):
        fastlm.load(tmp_path / "empty")


def test_formats_by_name(trained, tmp_path):
    assert {path.name for path in trained.save(tmp_path)} == {
        "tokenizer.fastlm",
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
    }
    with pytest.raises(ValueError, match="no format is named 'sentencepiece'; there are"):
        trained.save(tmp_path, ["sentencepiece"])
    assert trained.save(tmp_path / "none", []) == []
    assert set(formats.WRITERS) == {"fastlm", "tokenizer.json", "gpt2", "tiktoken", "minbpe", "transformers"}
