"""Random added tokens and normalizers in every encode method: ids and offsets are those of tokenizers."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import fastlm
from fastlm.formats import tokenizer_json
from tests.random_tokenizers import (
    BASE,
    FLAGS,
    SAMPLES,
    Judge,
    are_distinct_when_normalized,
    assert_compat_agrees,
    assert_judged,
    assert_kept,
    contents,
    loaded,
)


@given(contents(), st.lists(SAMPLES, min_size=1, max_size=3), st.data())
def test_every_method_finds_the_same_added_tokens(content, samples, data):
    assume(are_distinct_when_normalized(content))
    tokenizer, judge = loaded(content), Judge(content)
    special = [token["content"] for token in content["added_tokens"] if token["special"]]
    for text in samples:
        assert_judged(tokenizer, judge, text, data)
        if any(token in text for token in special):
            with pytest.raises(ValueError, match="the text has the special token"):
                tokenizer.encode(text, on_special="raise")
        else:
            assert tokenizer.encode(text, on_special="raise") == tokenizer.encode(text)
        assert_compat_agrees(content, text, judge)
    assert tokenizer.encode_ordinary(samples[0]) == tokenizer.encode(samples[0], on_special="text")


@given(contents(), SAMPLES)
def test_files_and_pickles_keep_added_tokens_and_normalizers(tmp_path_factory, content, text):
    assume(are_distinct_when_normalized(content))
    tokenizer, folder = loaded(content), tmp_path_factory.mktemp("saved")
    assert_kept(tokenizer, folder, text)
    written = tokenizer_json.content_of(tokenizer.vocabulary)
    assert written["normalizer"] == content["normalizer"]
    assert Judge(written)(text) == Judge(content)(text)


@given(contents(), st.lists(st.tuples(SAMPLES, st.booleans()), max_size=4))
def test_parts_without_added_tokens_are_one_text(content, parts):
    content["added_tokens"] = []
    tokenizer = loaded(content)
    assert tokenizer.encode_parts(parts) == tokenizer.encode("".join(text for text, _ in parts))


@given(contents(normalizers=st.sampled_from([None, {"type": "NFC"}])), st.lists(SAMPLES, max_size=4))
def test_no_special_token_comes_from_outside(content, samples):
    """Not even where parts are joined, or normalized together."""
    tokenizer = loaded(content)
    vocab = content["model"]["vocab"]
    special = {token["id"] for token in content["added_tokens"] if token["special"] and token["content"] not in vocab}
    pieces = [(text[k : k + 2], False) for text in samples for k in range(0, len(text), 2)]
    assert not special.intersection(tokenizer.encode_parts(pieces))


@pytest.mark.parametrize("unit", ["<m>", " <m>\n", "\n", "<m> \n\n"])
def test_a_long_text_of_nothing_but_added_tokens(unit):
    """Far beyond what takes quadratic time can do: the text has a million characters."""
    content = json.loads(json.dumps(BASE))
    flags = {"special": True, "single_word": False, "normalized": False, "lstrip": False, "rstrip": True}
    content["added_tokens"] += [{"id": 400, "content": "<m>", **flags}, {"id": 401, "content": "\n", **flags}]
    content["model"]["vocab"]["\n"] = 401
    tokenizer = loaded(content)
    few = tokenizer.encode(unit * 10)
    for_ten_more = len(tokenizer.encode(unit * 20)) - len(few)
    count = 1_000_000 // len(unit) // 10 * 10
    ids = tokenizer.encode_to_numpy(unit * count)
    assert len(ids) == len(few) + (count // 10 - 1) * for_ten_more
    assert ids[: len(few)].tolist() == few
    assert len(tokenizer.encode_with_offsets(unit * 10_000)[1]) == len(few) + 999 * for_ten_more


@given(contents(), st.lists(SAMPLES.filter(bool), min_size=1, max_size=5))
def test_corpora_have_the_ids_of_their_documents(tmp_path_factory, content, documents):
    assume(are_distinct_when_normalized(content))
    tokenizer, folder = loaded(content), tmp_path_factory.mktemp("corpus")
    expected = [token_id for text in documents for token_id in tokenizer.encode(text)]
    manifest = fastlm.encode_corpus(tokenizer, documents, folder / "shards")
    assert [int(k) for part in manifest.map(folder / "shards") for k in part] == expected


def test_corpora_find_added_tokens_that_are_not_special(tmp_path):
    content = json.loads(json.dumps(BASE))
    content["added_tokens"].append({"id": 400, "content": "    ", **dict.fromkeys(FLAGS, False)})
    tokenizer = loaded(content)
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
