"""Random sequences of pre-tokenizers in every encode method: ids, offsets and words are those of tokenizers."""

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

import fastlm
from fastlm.formats import tokenizer_json
from tests.random_tokenizers import (
    NORMALIZERS,
    PRE_TOKENIZER_OR_NONE,
    SAMPLES,
    Judge,
    are_distinct_when_normalized,
    assert_compat_agrees,
    assert_judged,
    assert_kept,
    contents,
    loaded,
)

# mostly without a normalizer: the pre-tokenizers are what is tried here
CONTENTS = contents(st.none() | st.none() | NORMALIZERS, PRE_TOKENIZER_OR_NONE)


@given(CONTENTS, SAMPLES, st.data())
def test_every_method_splits_alike(content, text, data):
    assume(are_distinct_when_normalized(content))
    tokenizer, judge = loaded(content), Judge(content)
    assert_judged(tokenizer, judge, text, data)
    assert_compat_agrees(content, text, judge)


@given(CONTENTS, SAMPLES)
def test_files_and_pickles_keep_pre_tokenizers(tmp_path_factory, content, text):
    assume(are_distinct_when_normalized(content))
    tokenizer, folder = loaded(content), tmp_path_factory.mktemp("saved")
    assert_kept(tokenizer, folder, text)
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
