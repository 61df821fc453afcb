"""Added tokens with their options, normalisation and prefix blanks, as tokenizers does them."""

import itertools
import json
import random
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm.formats import tokenizer_json
from fastlm.normalizers import UnicodeForm, keeps, normalize_str, normalize_with_origins
from fastlm.pretokenize import text_splitter
from fastlm.vocabulary import Rules
from tests import texts

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers judges what becomes of a text")

MARKS = list("\u0301\u0308\u0323\u0334\u0345\u05c8\u0897\u1193\u0030\U00016d67\u09fe\u3099\U00011930")
BASES = list("ea\u00e9\u1ea5\u1100\u1161\u11a8\uac00\u0905\u212b\u2126\uf900か\U00011935\U00011938\U000113c5")
BASES += ["\U00016d68", "\U0002f999"]
composing = st.lists(st.sampled_from(MARKS + BASES + [" ", "x"]), max_size=12).map("".join)


NFC = (UnicodeForm("NFC"),)


def nfc(text):
    return normalize_str(NFC, text)


@given(composing | texts.strings(20))
def test_normalizes_as_tokenizers(text):
    expected = tokenizers.normalizers.NFC().normalize_str(text)
    assert nfc(text) == expected
    assert keeps(NFC, text) == (expected == text)


@given(composing)
def test_normalized_characters_come_from_where_tokenizers_says(text):
    normalized = tokenizers.NormalizedString(text)
    normalized.nfc()
    found, origins = normalize_with_origins(NFC, text.encode())
    assert found.decode() == normalized.normalized
    # a slice of the normalized string knows the slice of the original it stands for
    for k, origin in enumerate(origins):
        part = normalized.slice((k, k + 1))
        assert part is not None
        assert part.original == text[origin : origin + len(part.original)]


def test_every_scalar_is_normalized_as_by_tokenizers():
    normalize = tokenizers.normalizers.NFC().normalize_str
    for start in range(0, 0x110000, 64):
        scalars = [chr(cp) for cp in range(start, start + 64) if not 0xD800 <= cp <= 0xDFFF]
        for before, after in (("", ""), ("e", "\u0301"), ("\u0905", "\u0334"), ("\u0905\u0323", "")):
            text = "\n".join(before + char + after for char in scalars)
            assert nfc(text) == normalize(text), start


def random_content(rng: random.Random) -> dict:
    """A pipeline of random options over a vocabulary that every test shares."""
    vocabulary = fastlm.train_bpe(texts.DOCUMENTS[:5], 400, ["<|end|>"]).vocabulary
    content = tokenizer_json.content_of(vocabulary)
    names = ["<m>", "<m><m>", "m>", "é", "e\u0301", " <s> ", "the", "xx", "中文", "\u1100\u1161", "_"]
    next_id = 400
    for name in rng.sample(names, rng.randrange(len(names))):
        options = {key: rng.random() < 0.4 for key in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        token_id = content["model"]["vocab"].get(name, next_id)
        next_id += token_id == next_id
        content["added_tokens"].append({"id": token_id, "content": name, **options})
    if rng.random() < 0.5:
        content["normalizer"] = {"type": "NFC"}
    content["pre_tokenizer"]["add_prefix_space"] = rng.random() < 0.4
    return content


FRAGMENTS = [
    *("<m>", "<m", "m>", "é", "e\u0301", "<s>", " <s> ", "the", "xx", "中文", "\u1100\u1161", "_", " ", "  ", "\n"),
    *("a", "\u3000", "\x1c", "\u200b", "½", "\u0301", "\u200d", "<|end|>", "a<m>b", "don't", "9"),
]


@pytest.mark.parametrize("seed", range(60))
def test_encodes_as_tokenizers_whatever_the_options(seed, tmp_path):
    rng = random.Random(seed)
    content = random_content(rng)
    theirs = tokenizers.Tokenizer.from_str(json.dumps(content))
    (tmp_path / tokenizer_json.FILE).write_text(json.dumps(content))
    ours = fastlm.load(tmp_path)
    for token in content["added_tokens"]:
        assert theirs.token_to_id(token["content"]) == token["id"]
    ours.save(tmp_path / "again", ["fastlm"])
    again = fastlm.load(tmp_path / "again")
    assert again.vocabulary.fingerprint == ours.vocabulary.fingerprint
    for _ in range(60):
        text = "".join(rng.choices(FRAGMENTS, k=rng.randrange(14)))
        expected = theirs.encode(text)
        assert ours.encode(text) == expected.ids, text
        assert again.encode(text.encode()) == expected.ids, text
        ids, spans = ours.encode_with_offsets(text)
        assert ids.tolist() == expected.ids
        assert [tuple(span) for span in spans.tolist()] == expected.offsets, text
        assert ours.count(text) == len(expected.ids)
        assert list(ours.encode_iterable([text[:3], text[3:]])) == expected.ids
        flat, offsets = ours.encode_batch_flat([text, "", text])
        assert flat.tolist() == expected.ids * 2 + ours.encode("") * 1
        assert offsets.tolist() == [0, len(expected.ids), len(expected.ids), 2 * len(expected.ids)]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_written_is_read_back_by_tokenizers(seed, tmp_path):
    rng = random.Random(seed)
    content = random_content(rng)
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [0], "tokens": ["<|end|>"]}},
    }
    (tmp_path / tokenizer_json.FILE).write_text(json.dumps(content))
    ours = fastlm.load(tmp_path)
    assert ours.vocabulary.rules.begin == (0,)
    ours.save(tmp_path / "again", ["tokenizer.json"])
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "again" / tokenizer_json.FILE))
    for _ in range(50):
        text = "".join(rng.choices(FRAGMENTS, k=rng.randrange(14)))
        assert ours.encode(text, add_special_tokens=True) == theirs.encode(text).ids
        assert ours.encode_to_numpy(text, add_special_tokens=True).tolist() == theirs.encode(text).ids
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids
    flat, offsets = ours.encode_batch_flat(FRAGMENTS, add_special_tokens=True)
    parts = [flat[a:b].tolist() for a, b in itertools.pairwise(offsets)]
    assert parts == [theirs.encode(text).ids for text in FRAGMENTS]


@pytest.mark.parametrize("drop", [b"e", b"\xc3", b" "])
def test_bytes_without_a_token_are_dropped_as_by_tokenizers(drop, tmp_path):
    base = tokenizer_json.content_of(fastlm.train_bpe(texts.DOCUMENTS[:5], 400, ["<|end|>"]).vocabulary)
    from fastlm.formats import gpt2

    lost = gpt2.spell(drop)
    base["model"]["vocab"] = {
        token: token_id for token, token_id in base["model"]["vocab"].items() if lost not in token
    }
    base["model"]["merges"] = [merge for merge in base["model"]["merges"] if lost not in "".join(merge)]
    (tmp_path / tokenizer_json.FILE).write_text(json.dumps(base))
    ours, theirs = fastlm.load(tmp_path), tokenizers.Tokenizer.from_str(json.dumps(base))
    rng = random.Random(3)
    for _ in range(300):
        text = texts.random_string(rng)
        assert ours.encode(text) == theirs.encode(text).ids, text
        assert ours.count(text) == len(theirs.encode(text).ids)
    for text in texts.DOCUMENTS:
        assert ours.encode(text) == theirs.encode(text).ids
        assert ours.encode_upto(text, 50) == theirs.encode(text).ids[:50]
    ids, spans = ours.encode_with_offsets("the end", unit="byte")
    assert len(ids) == len(spans)


@pytest.mark.parametrize("seed", range(6))
def test_a_prepared_text_cut_for_threads_has_the_ids_of_the_whole(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(text_splitter, "MIN_CHUNK_BYTES", 32)
    rng = random.Random(seed)
    (tmp_path / tokenizer_json.FILE).write_text(json.dumps(random_content(rng)))
    tokenizer = fastlm.load(tmp_path)
    text = "".join(rng.choices(FRAGMENTS, k=2000))
    assert tokenizer.encode(text, num_threads=2) == tokenizer.encode(text)
    assert tokenizer.count(text, num_threads=3) == tokenizer.count(text)


def test_origins_are_computed_on_request_only(monkeypatch, normalizing):
    """They take 8 bytes a character, and encoding does not need them."""
    monkeypatch.setattr("fastlm.normalizers.normalize_with_origins", None)
    text = "e\u0301 and " + "plain text " * 100
    tokens = normalizing.encode(text)
    assert tokens == normalizing.encode(unicodedata.normalize("NFC", text))
    assert normalizing.count(text) == len(tokens)
    assert normalizing.encode_upto(text, 5) == tokens[:5]
    with pytest.raises(TypeError):
        normalizing.encode_with_offsets(text)


@pytest.fixture
def normalizing() -> fastlm.Tokenizer:
    """A tokenizer that normalizes to form C."""
    vocabulary = fastlm.train_bpe(texts.DOCUMENTS[:5], 400, ["<|end|>"]).vocabulary
    return fastlm.Tokenizer.from_vocabulary(replace(vocabulary, rules=Rules(normalization="NFC")))
