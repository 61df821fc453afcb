"""Random tokenizers in the form of tokenizer.json, the ids that tokenizers gives, and every way to encode a text."""

import contextlib
import json
import pickle

import numpy as np
import pytest
from hypothesis import strategies as st

import fastlm
from fastlm.compat import tokenizers as compat
from fastlm.formats import native, tokenizer_json
from fastlm.pretokenize import text_splitter
from tests import texts

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers judges what becomes of a text")

BASE = tokenizer_json.content_of(fastlm.train_bpe(texts.DOCUMENTS[:5], 400, ["<|end|>"]).vocabulary)
FRAGMENTS = [
    *("<m>", "<m", "m>", "é", "e\u0301", "e", "\u0301", " <s> ", "the", "xx", "中文", "\u1100", "\u1161", "_", " "),
    *("  ", "\n", "a", "\u3000", "\u200b", "½", "<|end|>", "a<m>b", "don't", "9", "    ", "İ", "ﬁ", "\u00a8", "THE"),
    *("\x01", "\ufeff", "▁", "1²3", "$", "x-y", "\t", "\r\n", "؟", "\U0001f600"),
]
SAMPLES = st.lists(st.sampled_from(FRAGMENTS), max_size=10).map("".join)
NAMES = st.sampled_from(
    [
        *("<m>", "<m><m>", "m>", "é", "e\u0301", " <s> ", "the", "xx", "中文", "\u1100\u1161", "_", "  ", "    "),
        *("\n", "ab", "bc", "The", "½", "▁", "x"),
    ]
) | st.text("ab <>", min_size=1, max_size=3)
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")

SHORT = st.text(st.sampled_from(["a", "e", "é", "▁", "日", " ", "\u0301", "\n", "1"]), min_size=1, max_size=2)
EXPRESSIONS = st.sampled_from([r"\s+", " {2,}", "[aeiou]", r"(?<=a).", r"\p{M}+", "the|xx", r"^\s", "\\d(?!\\d)"])
NORMALIZERS = st.one_of(
    st.sampled_from(["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"]).map(
        lambda name: {"type": name}
    ),
    st.builds(lambda left, right: {"type": "Strip", "strip_left": left, "strip_right": right}, *[st.booleans()] * 2),
    st.builds(lambda text: {"type": "Prepend", "prepend": text}, SHORT),
    st.builds(
        lambda pattern, content: {"type": "Replace", "pattern": pattern, "content": content},
        SHORT.map(lambda text: {"String": text}) | EXPRESSIONS.map(lambda text: {"Regex": text}),
        SHORT | st.just(""),
    ),
    SHORT.map(lambda text: {"type": "Replace", "pattern": {"String": text}, "content": text}),
)
NORMALIZER_OR_NONE = st.one_of(
    st.none(),
    NORMALIZERS,
    st.lists(
        NORMALIZERS | st.lists(NORMALIZERS, max_size=2).map(lambda parts: {"type": "Sequence", "normalizers": parts}),
        max_size=3,
    ).map(lambda parts: {"type": "Sequence", "normalizers": parts}),
)


BEHAVIORS = st.sampled_from(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"])
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPLIT_EXPRESSIONS = st.sampled_from(
    [
        "",
        GPT2,
        GPT2.removesuffix(r"|\s+"),
        r"\s+",
        "x*",
        "$",
        "^",
        r"\d",
        "(?<=e)",
        r"\w+|[^\w\s]+",
        "Ġ|Ã",
        "[0-9][0-9]",
    ]
)
BYTE_LEVELS = st.builds(
    lambda prefix, regex: {
        "type": "ByteLevel",
        "add_prefix_space": prefix,
        "trim_offsets": True,
        "use_regex": regex,
    },
    *[st.booleans()] * 2,
)
PRE_TOKENIZERS = st.one_of(
    BYTE_LEVELS,
    st.builds(
        lambda pattern, behavior, invert: {
            "type": "Split",
            "pattern": pattern,
            "behavior": behavior,
            "invert": invert,
        },
        SPLIT_EXPRESSIONS.map(lambda text: {"Regex": text})
        | st.sampled_from(["", " ", "e", "the", "é"]).map(lambda text: {"String": text}),
        BEHAVIORS,
        st.booleans(),
    ),
    st.builds(lambda individual: {"type": "Digits", "individual_digits": individual}, st.booleans()),
    st.builds(lambda behavior: {"type": "Punctuation", "behavior": behavior}, BEHAVIORS),
    st.sampled_from(["Whitespace", "WhitespaceSplit", "BertPreTokenizer"]).map(lambda name: {"type": name}),
    st.builds(lambda char: {"type": "CharDelimiterSplit", "delimiter": char}, st.sampled_from(" eé1")),
    st.builds(lambda length: {"type": "FixedLength", "length": length}, st.integers(1, 4)),
    st.builds(
        lambda char, scheme, split: {
            "type": "Metaspace",
            "replacement": char,
            "prepend_scheme": scheme,
            "split": split,
        },
        st.sampled_from("▁_Ġ "),
        st.sampled_from(["always", "never", "first"]),
        st.booleans(),
    ),
)
# most end with ByteLevel, as those of real files do
PRE_TOKENIZER_OR_NONE = st.one_of(
    st.none(),
    PRE_TOKENIZERS,
    st.builds(
        lambda parts, last: {"type": "Sequence", "pretokenizers": parts + last},
        st.lists(PRE_TOKENIZERS, max_size=3),
        st.lists(BYTE_LEVELS, max_size=1),
    ),
)


@st.composite
def added_tokens(draw):
    """Added tokens with all options, and holes in their ids."""
    vocab, next_id = BASE["model"]["vocab"], 400
    tokens = []
    for name in draw(st.lists(NAMES, unique=True, max_size=6)):
        flags = {flag: draw(st.booleans()) for flag in FLAGS}
        next_id += draw(st.integers(0, 3))
        tokens.append({"id": vocab.get(name, next_id), "content": name, **flags})
        next_id += name not in vocab
    return tokens


class Content(dict):
    """The content of a tokenizer.json. Only what is random is shown where a test fails."""

    def __repr__(self):
        return f"Content({ {name: self[name] for name in ('added_tokens', 'normalizer', 'pre_tokenizer')} })"


@st.composite
def contents(draw, normalizers=NORMALIZER_OR_NONE, pre_tokenizers=None):
    """The content of a tokenizer.json with random added tokens, a random normalizer, and a random pre-tokenizer.

    By default the pre-tokenizer is ByteLevel, which may add a space.
    """
    content = Content(json.loads(json.dumps(BASE)))
    content["added_tokens"] += draw(added_tokens())
    content["normalizer"] = draw(normalizers)
    if pre_tokenizers is None:
        content["pre_tokenizer"]["add_prefix_space"] = draw(st.booleans())
    else:
        content["pre_tokenizer"] = draw(pre_tokenizers)
    return content


def are_distinct_when_normalized(content):
    """Whether tokenizers can tell the normalized tokens apart: of two with one string it finds either."""
    normalizer = tokenizers.Tokenizer.from_str(json.dumps(content)).normalizer
    names = [token["content"] for token in content["added_tokens"] if token["normalized"]]
    if normalizer is not None:
        names = list(map(normalizer.normalize_str, names))
    return "" not in names and len(set(names)) == len(names)


class Judge:
    """tokenizers with the ids that the file gives to added tokens."""

    def __init__(self, content):
        self.tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content))
        self.ids = {
            self.tokenizer.token_to_id(token["content"]): token["id"] for token in reversed(content["added_tokens"])
        }

    def encoding(self, text, special=True):
        """The encoding, or None if tokenizers panics."""
        self.tokenizer.encode_special_tokens = not special
        try:
            return self.tokenizer.encode(text, add_special_tokens=False)
        except BaseException as error:  # noqa: BLE001 - a panic is a BaseException
            assert type(error).__name__ == "PanicException"  # noqa: PT017
            return None

    def __call__(self, text, special=True):
        """(ids, offsets), or None if tokenizers panics."""
        found = self.encoding(text, special)
        return None if found is None else ([self.ids.get(token_id, token_id) for token_id in found.ids], found.offsets)


def loaded(content):
    """fastlm's tokenizer of the content of a tokenizer.json."""
    document = tokenizer_json.parse_document(json.dumps(content))
    return fastlm.Tokenizer.from_vocabulary(tokenizer_json.vocabulary_of(document))


def assert_judged(tokenizer, judge, text, data):
    """Ids and spans are those of the judge, with special tokens and with them as text, whatever the way to encode."""
    for on_special in ("token", "text"):
        expected = judge(text, special=on_special == "token")
        ids = tokenizer.encode(text, on_special=on_special)
        if expected is not None:
            assert ids == expected[0]
            found, spans = tokenizer.encode_with_offsets(text, on_special=on_special)
            assert found.tolist() == ids
            assert [tuple(span) for span in spans.tolist()] == expected[1]
        assert_every_way_agrees(tokenizer, text, ids, data, on_special)


def assert_kept(tokenizer, folder, text):
    """A native file and a pickle give the same ids and the same fingerprint."""
    expected = tokenizer.encode(text)
    (folder / native.FILE).write_bytes(native.write(tokenizer.vocabulary)[native.FILE])
    for again in (fastlm.load(folder), pickle.loads(pickle.dumps(tokenizer))):
        assert again.vocabulary.fingerprint == tokenizer.vocabulary.fingerprint
        assert again.encode(text) == expected


def assert_every_way_agrees(tokenizer, text, ids, data, on_special="token"):
    """All ways to encode a text give the same ids."""
    options = {"on_special": on_special}
    assert tokenizer.encode(text.encode(), **options) == ids
    assert tokenizer.encode_to_numpy(text, **options).tolist() == ids
    assert tokenizer.encode_batch([text, "", text], 2, **options) == [ids, [], ids]
    flat, offsets = tokenizer.encode_batch_flat([text, text], 1, **options)
    assert flat.tolist() == ids * 2
    assert offsets.tolist() == [0, len(ids), 2 * len(ids)]
    padded, mask = tokenizer.encode_batch_padded([text], 1, pad_id=0, **options)
    assert padded[mask].tolist() == ids
    assert np.array_equal(mask.sum(axis=1), [len(ids)])
    with small_chunks():
        assert tokenizer.encode(text, num_threads=2, **options) == ids
        assert tokenizer.count(text, num_threads=2, **options) == tokenizer.count(text, **options) == len(ids)
    for limit in {0, 1, 3, len(ids), len(ids) + 1}:
        assert tokenizer.encode_upto(text, limit, **options) == ids[:limit]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=3)))
    chunks = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, None], strict=True)]
    with small_chunks():
        assert list(tokenizer.encode_iterable(chunks, **options)) == ids
    assert tokenizer.encode_parts([(text, on_special == "token")]) == ids
    found, spans = tokenizer.encode_with_offsets(text, unit="byte", **options)
    assert found.tolist() == ids
    assert ((spans >= 0) & (spans <= len(text.encode()))).all()


@contextlib.contextmanager
def small_chunks():
    """Short texts are cut for threads and while they are read, as long ones are."""
    import fastlm.tokenizer as module

    saved = text_splitter.MIN_CHUNK_BYTES, module.STREAM_BYTES
    text_splitter.MIN_CHUNK_BYTES, module.STREAM_BYTES = 8, 4
    try:
        yield
    finally:
        text_splitter.MIN_CHUNK_BYTES, module.STREAM_BYTES = saved


def assert_compat_agrees(content, text, judge):
    """The compatibility layer gives the encoding of tokenizers."""
    expected = judge.encoding(text)
    if expected is None:
        return
    found = compat.Tokenizer.from_str(json.dumps(content)).encode(text, add_special_tokens=False)
    assert found.ids == expected.ids
    assert found.tokens == expected.tokens
    assert found.offsets == expected.offsets
    assert found.word_ids == expected.word_ids
