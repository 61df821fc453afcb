"""Random sequences of pre-tokenizers in every encode method: ids, offsets and words are those of tokenizers."""

import pickle
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

import fastlm
from fastlm.formats import native, tokenizer_json
from tests.random_tokenizers import (
    NORMALIZERS,
    PRE_TOKENIZER_OR_NONE,
    SAMPLES,
    Judge,
    are_distinct_when_normalized,
    assert_compat_agrees,
    assert_every_way_agrees,
    contents,
    loaded,
)

# mostly without a normalizer: the pre-tokenizers are what is tried here
CONTENTS = contents(st.none() | st.none() | NORMALIZERS, PRE_TOKENIZER_OR_NONE)


@given(CONTENTS, SAMPLES, st.data())
def test_every_method_splits_alike(content, text, data):
    assume(are_distinct_when_normalized(content))
    tokenizer, judge = loaded(content), Judge(content)
    for on_special in ("token", "text"):
        expected = judge(text, special=on_special == "token")
        ids = tokenizer.encode(text, on_special=on_special)
        if expected is not None:
            assert ids == expected[0]
            found, spans = tokenizer.encode_with_offsets(text, on_special=on_special)
            assert found.tolist() == ids
            assert [tuple(span) for span in spans.tolist()] == expected[1]
        assert_every_way_agrees(tokenizer, text, ids, data, on_special)
    assert_compat_agrees(content, text, judge)


@given(CONTENTS, SAMPLES)
def test_files_and_pickles_keep_pre_tokenizers(tmp_path_factory, content, text):
    assume(are_distinct_when_normalized(content))
    tokenizer, folder = loaded(content), tmp_path_factory.mktemp("saved")
    expected = tokenizer.encode(text)
    (folder / native.FILE).write_bytes(native.write(tokenizer.vocabulary)[native.FILE])
    for again in (fastlm.load(folder), pickle.loads(pickle.dumps(tokenizer))):
        assert again.vocabulary.fingerprint == tokenizer.vocabulary.fingerprint
        assert again.encode(text) == expected
    try:
        written = tokenizer_json.content_of(tokenizer.vocabulary)
    except ValueError as error:
        assert "cannot keep the id of added token" in str(error)  # noqa: PT017
        return
    assert written["pre_tokenizer"] == content["pre_tokenizer"]
    assert Judge(written)(text) == Judge(content)(text)
    content["added_tokens"] = content["added_tokens"][:1]
    vocabulary = loaded(content).vocabulary
    plain = tokenizer_json.content_of(replace(vocabulary, carried=""))
    assert loaded(plain).vocabulary.fingerprint == vocabulary.fingerprint


@given(CONTENTS, st.lists(st.tuples(SAMPLES, st.booleans()), max_size=4))
def test_parts_without_added_tokens_are_one_text(content, parts):
    content["added_tokens"] = []
    tokenizer = loaded(content)
    assert tokenizer.encode_parts(parts) == tokenizer.encode("".join(text for text, _ in parts))


@given(CONTENTS, st.lists(SAMPLES.filter(bool), min_size=1, max_size=4))
def test_corpora_have_the_ids_of_their_documents(tmp_path_factory, content, documents):
    assume(are_distinct_when_normalized(content))
    tokenizer, folder = loaded(content), tmp_path_factory.mktemp("corpus")
    expected = [token_id for text in documents for token_id in tokenizer.encode(text)]
    manifest = fastlm.encode_corpus(tokenizer, documents, folder / "shards")
    assert [int(k) for part in manifest.map(folder / "shards") for k in part] == expected
