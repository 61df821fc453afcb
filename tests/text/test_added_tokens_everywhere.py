"""Texts with added tokens of all kinds become the ids and offsets of the real tokenizers, by every way to encode."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlm
from fastlm.compat import tokenizers as ours

tokenizers = pytest.importorskip("tokenizers")

BYTES = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
MERGES = [["a", "b"], ["Ġ", "a"], ["Ã", "©"], ["Ġ", "Ġ"]]
MERGED = [left + right for left, right in MERGES]
ALPHABET = "ab \n\u3000é!e\u0301"
CONTENTS = st.one_of(
    st.sampled_from(["<m>", "ab", "a", " ", "\n", "\n\n", "  ", " a", "é", "e\u0301", "!", "a b", "\u3000"]),
    st.text(ALPHABET, min_size=1, max_size=3),
)


VOCAB = {token: k for k, token in enumerate([*BYTES, *MERGED])}
FLAGS = ("special", "single_word", "lstrip", "rstrip", "normalized")


@st.composite
def added_tokens(draw):
    """Added tokens with all options, and holes in their ids."""
    contents = draw(st.lists(CONTENTS, min_size=1, max_size=4, unique=True))
    free = draw(st.lists(st.integers(len(VOCAB), 300), min_size=4, max_size=4, unique=True))
    return [
        # a content that the vocabulary has keeps its id there
        {"id": VOCAB.get(content, free[k]), "content": content} | {flag: draw(st.booleans()) for flag in FLAGS}
        for k, content in enumerate(contents)
    ]


def spec_of(added, normalizer=None, prefix=False):
    """A tokenizer.json of bytes, a few merges, and these added tokens, which the model has: else ids have no holes."""
    vocab = VOCAB | {token["content"]: token["id"] for token in added}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": False, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocab, "merges": MERGES},
    }


def expected(spec, text):
    """The encoding of the real tokenizers, or None where it panics."""
    real = tokenizers.Tokenizer.from_str(json.dumps(spec))
    try:
        return real.encode(text, add_special_tokens=False)
    except BaseException as error:  # noqa: BLE001 - a panic of the judge is a BaseException
        assert type(error).__name__ == "PanicException"  # noqa: PT017
        return None


def loaded(tmp_path_factory, spec):
    path = tmp_path_factory.mktemp("spec") / "tokenizer.json"
    path.write_text(json.dumps(spec))
    return fastlm.load(path)


@settings(deadline=None)
@given(added_tokens(), st.sampled_from([None, {"type": "NFC"}]), st.booleans(), st.data())
def test_every_way_to_encode(tmp_path_factory, added, normalizer, prefix, data):
    spec = spec_of(added, normalizer, prefix)
    contents = st.sampled_from([token["content"] for token in added])
    text = "".join(data.draw(st.lists(st.one_of(contents, st.text(ALPHABET, max_size=3)), max_size=8)))
    tokenizer = loaded(tmp_path_factory, spec)
    judge = expected(spec, text)
    ids = tokenizer.encode(text)
    if judge is not None:
        assert ids == judge.ids
        found, spans = tokenizer.encode_with_offsets(text)
        assert found.tolist() == judge.ids
        assert [tuple(span) for span in spans.tolist()] == judge.offsets
        face = ours.Tokenizer.from_str(json.dumps(spec)).encode(text, add_special_tokens=False)
        assert (face.ids, face.offsets, face.tokens) == (judge.ids, judge.offsets, judge.tokens)
    found, spans = tokenizer.encode_with_offsets(text, unit="byte")
    assert found.tolist() == ids
    assert ((spans >= 0) & (spans <= len(text.encode()))).all()
    agree(tokenizer, text, ids, data)


def agree(tokenizer, text, ids, data):
    """All ways to encode a text give the same ids."""
    assert tokenizer.encode(text.encode()) == ids
    assert tokenizer.encode(text, num_threads=2) == ids
    assert tokenizer.encode_to_numpy(text).tolist() == ids
    assert tokenizer.encode_batch([text, "", text], 2) == [ids, tokenizer.encode(""), ids]
    flat, offsets = tokenizer.encode_batch_flat([text, text], 1)
    assert flat.tolist() == ids * 2
    assert offsets.tolist() == [0, len(ids), 2 * len(ids)]
    assert tokenizer.count(text) == len(ids)
    for limit in range(len(ids) + 2):
        assert tokenizer.encode_upto(text, limit) == ids[:limit]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=3)))
    chunks = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, None], strict=True)]
    assert list(tokenizer.encode_iterable(chunks)) == ids
    padded, mask = tokenizer.encode_batch_padded([text], 1, pad_id=0)
    assert padded[mask].tolist() == ids
    assert np.array_equal(mask.sum(axis=1), [len(ids)])
    assert tokenizer.encode_parts([(text, True)]) == ids


@pytest.mark.parametrize("unit", ["<m>", " <m>\n", "\n", "<m> \n\n"])
def test_a_long_text_of_nothing_but_added_tokens(tmp_path_factory, unit):
    """Far beyond what takes quadratic time can do: the text has a million characters."""
    flags = {"special": True, "single_word": False, "normalized": False, "lstrip": False, "rstrip": True}
    spec = spec_of([{"id": 261, "content": "<m>"} | flags, {"id": 262, "content": "\n"} | flags])
    tokenizer = loaded(tmp_path_factory, spec)
    few = tokenizer.encode(unit * 10)
    for_ten_more = len(tokenizer.encode(unit * 20)) - len(few)
    count = 1_000_000 // len(unit) // 10 * 10
    ids = tokenizer.encode_to_numpy(unit * count)
    assert len(ids) == len(few) + (count // 10 - 1) * for_ten_more
    assert ids[: len(few)].tolist() == few
    assert len(tokenizer.encode_with_offsets(unit * 10_000)[1]) == len(few) + 999 * for_ten_more
