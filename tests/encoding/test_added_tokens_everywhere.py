"""Random added tokens in every encode method, judged by tokenizers: all options, overlaps, holes in the ids."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm.formats import tokenizer_json
from tests import texts

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers judges what becomes of a text")

BASE = tokenizer_json.content_of(fastlm.train_bpe(texts.DOCUMENTS[:5], 400, ["<|end|>"]).vocabulary)
FRAGMENTS = [
    *(
        "<m>",
        "<m",
        "m>",
        "é",
        "e\u0301",
        "e",
        "\u0301",
        " <s> ",
        "the",
        "xx",
        "中文",
        "\u1100",
        "\u1161",
        "_",
        " ",
        "  ",
    ),
    *("\n", "a", "\u3000", "\u200b", "½", "<|end|>", "a<m>b", "don't", "9", "    "),
]
NAMES = st.sampled_from(
    [
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
        "  ",
        "    ",
        "\n",
        "ab",
        "bc",
    ]
) | st.text("ab <>", min_size=1, max_size=3)
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@st.composite
def contents(draw):
    """The content of a tokenizer.json with random added tokens."""
    content = json.loads(json.dumps(BASE))
    vocab, next_id = content["model"]["vocab"], 400
    for name in draw(st.lists(NAMES, unique=True, max_size=6)):
        flags = {flag: draw(st.booleans()) for flag in FLAGS}
        next_id += draw(st.integers(0, 3))
        content["added_tokens"].append({"id": vocab.get(name, next_id), "content": name, **flags})
        next_id += name not in vocab
    content["normalizer"] = draw(st.sampled_from([None, {"type": "NFC"}]))
    content["pre_tokenizer"]["add_prefix_space"] = draw(st.booleans())
    return content


def same_token_when_normalized(content):
    """Whether two normalized tokens are one in form C, of which tokenizers finds either."""
    names = {token["content"] for token in content["added_tokens"] if token["normalized"]}
    return content["normalizer"] is not None and {"é", "e\u0301"} <= names


SAMPLES = st.lists(st.sampled_from(FRAGMENTS), max_size=10).map("".join)


class Judge:
    """tokenizers with the ids that the file gives to added tokens."""

    def __init__(self, content):
        self.tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content))
        self.ids = {
            self.tokenizer.token_to_id(token["content"]): token["id"] for token in reversed(content["added_tokens"])
        }

    def __call__(self, text, special=True):
        self.tokenizer.encode_special_tokens = not special
        found = self.tokenizer.encode(text)
        return [self.ids.get(token_id, token_id) for token_id in found.ids], found.offsets


@given(contents(), st.lists(SAMPLES, min_size=1, max_size=4))
def test_every_method_finds_the_same_added_tokens(content, samples):
    if same_token_when_normalized(content):
        return
    tokenizer = fastlm.Tokenizer.from_vocabulary(
        tokenizer_json.vocabulary_of(tokenizer_json.parse_document(json.dumps(content)))
    )
    judge = Judge(content)
    special = [token["content"] for token in content["added_tokens"] if token["special"]]
    for on_special in ("token", "text"):
        expected = [judge(text, special=on_special == "token") for text in samples]
        ids = [found for found, _ in expected]
        options = {"on_special": on_special}
        assert [tokenizer.encode(text, **options) for text in samples] == ids
        assert [tokenizer.encode_to_numpy(text.encode(), **options).tolist() for text in samples] == ids
        assert tokenizer.encode_batch(samples, **options) == ids
        assert tokenizer.encode_batch_flat(samples, **options)[0].tolist() == [k for row in ids for k in row]
        assert [tokenizer.count(text, **options) for text in samples] == list(map(len, ids))
        assert [tokenizer.encode_upto(text, 3, **options) for text in samples] == [row[:3] for row in ids]
        assert [list(tokenizer.encode_iterable(iter(text), **options)) for text in samples] == ids
        assert [tokenizer.encode_parts([(text, on_special == "token")]) for text in samples] == ids
        for text, (own, offsets) in zip(samples, expected, strict=True):
            found, spans = tokenizer.encode_with_offsets(text, **options)
            assert found.tolist() == own
            assert [tuple(span) for span in spans.tolist()] == offsets
    for text in samples:
        if any(token in text for token in special):
            with pytest.raises(ValueError, match="the text has the special token"):
                tokenizer.encode(text, on_special="raise")
        else:
            assert tokenizer.encode(text, on_special="raise") == tokenizer.encode(text)
    assert tokenizer.encode_ordinary(samples[0]) == judge(samples[0], special=False)[0]


@given(contents(), st.lists(st.tuples(SAMPLES, st.booleans()), max_size=4))
def test_parts_without_added_tokens_are_one_text(content, parts):
    content["added_tokens"] = []
    tokenizer = fastlm.Tokenizer.from_vocabulary(
        tokenizer_json.vocabulary_of(tokenizer_json.parse_document(json.dumps(content)))
    )
    assert tokenizer.encode_parts(parts) == tokenizer.encode("".join(text for text, _ in parts))


@given(contents(), st.lists(SAMPLES, max_size=4))
def test_no_special_token_comes_from_outside(content, samples):
    """Not even where parts are joined, or normalized together."""
    tokenizer = fastlm.Tokenizer.from_vocabulary(
        tokenizer_json.vocabulary_of(tokenizer_json.parse_document(json.dumps(content)))
    )
    vocab = content["model"]["vocab"]
    special = {token["id"] for token in content["added_tokens"] if token["special"] and token["content"] not in vocab}
    pieces = [(text[k : k + 2], False) for text in samples for k in range(0, len(text), 2)]
    assert not special.intersection(tokenizer.encode_parts(pieces))


def test_corpora_find_added_tokens_that_are_not_special(tmp_path):
    content = json.loads(json.dumps(BASE))
    content["added_tokens"].append({"id": 400, "content": "    ", **dict.fromkeys(FLAGS, False)})
    tokenizer = fastlm.Tokenizer.from_vocabulary(
        tokenizer_json.vocabulary_of(tokenizer_json.parse_document(json.dumps(content)))
    )
    documents = ["if a:\n    b<|end|>", "        the", "no"]
    for on_special in ("token", "text"):
        expected = [token for text in documents for token in tokenizer.encode(text, on_special=on_special)]
        assert 400 in expected
        manifest = fastlm.encode_corpus(tokenizer, documents, tmp_path / on_special, on_special=on_special)
        assert manifest.map(tmp_path / on_special)[0].tolist() == expected
    with pytest.raises(ValueError, match=r"the special token '<\|end\|>'"):
        fastlm.encode_corpus(tokenizer, documents, tmp_path / "raise", on_special="raise")
    manifest = fastlm.encode_corpus(tokenizer, documents[1:], tmp_path / "again", on_special="raise")
    assert manifest.map(tmp_path / "again")[0].tolist() == [k for text in documents[1:] for k in tokenizer.encode(text)]
