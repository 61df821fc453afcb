"""Normalizers give the text and the origins of those of tokenizers, and are written and read as JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.formats.tokenizer_json.components import UnsupportedComponentError
from fastlm.formats.tokenizer_json.normalizers import NormalizerSequence, parse_normalizer, steps_of
from fastlm.normalizers import (
    ByteLevel,
    Nmt,
    Prepend,
    Replace,
    Strip,
    UnicodeForm,
    normalize,
    normalize_with_origins,
    simplified,
)
from fastlm.pretokenize.patterns import PATTERNS
from fastlm.pretokenize.text_splitter import TextSplitter
from tests.text.test_normalize import MARKS, OTHERS

tokenizers = pytest.importorskip("tokenizers")

FORMS = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"]
SPECIAL = list("\t\n\v\f\r \x00\x01\x08\x0e\x1f\x7f\x85\x8f\x9f\xa0\u1680\u200b\u200f\u2028\u2581\ufeff\ufffd\u3000ab")
TEXTS = st.text(st.sampled_from([*MARKS[:30], *OTHERS, *SPECIAL]), max_size=30)
SHORT = st.text(st.sampled_from(["a", "b", "é", "▁", "日", " "]), min_size=1, max_size=3)
STEPS = st.one_of(
    st.sampled_from([UnicodeForm(form) for form in FORMS]),
    st.builds(Strip, st.booleans(), st.booleans()),
    st.builds(Prepend, SHORT),
    st.builds(Replace, SHORT, st.one_of(st.just(""), SHORT)),
    st.builds(Replace, st.sampled_from([r"\s", "a+", "[éa]b?", r"(?<=a)b", r"\W", "$^"]), SHORT, st.just("Regex")),
    st.just(Nmt()),
    st.just(ByteLevel()),
)


def judge(steps):
    """tokenizers' tokenizer with these normalizers, read from JSON, and one token a byte."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({char: k for k, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    content = json.loads(tokenizer.to_str())
    content["normalizer"] = NormalizerSequence(tuple(steps)).content()
    return tokenizers.Tokenizer.from_str(json.dumps(content))


@given(steps=st.lists(STEPS, max_size=3), text=TEXTS)
def test_text_and_origins_are_those_of_tokenizers(steps, text):
    tokenizer = judge(steps)
    expected = tokenizer.normalizer.normalize_str(text) if steps else text
    assert normalize(steps, text.encode()).decode() == expected
    found, origins = normalize_with_origins(steps, text.encode())
    assert found.decode() == expected
    starts = [
        origin for char, origin in zip(expected, origins.tolist(), strict=True) for _ in range(len(char.encode()))
    ]
    assert starts == [start for start, _ in tokenizer.encode(text).offsets]


@pytest.mark.parametrize("pattern", ["", "x*", "^", "(?=b)", "$"])
@pytest.mark.parametrize("text", ["", "x", "abc", "éxxb", "日本"])
def test_an_empty_match_is_replaced_too(pattern, text):
    for kind in ("Regex", "String")[: 1 + (not pattern)]:
        step = Replace(pattern, "<>", kind)
        expected = judge([step]).normalizer.normalize_str(text)
        found, origins = step.apply_with_origins(text.encode())
        assert step.apply(text.encode()).decode() == found.decode() == expected
        assert len(origins) == len(expected)
        assert ((origins >= 0) & (origins < len(text))).all()


@given(steps=st.lists(STEPS, max_size=3))
def test_what_is_written_is_read_again(steps):
    assert steps_of(parse_normalizer(NormalizerSequence(tuple(steps)).content())) == tuple(steps)


@given(steps=st.lists(STEPS | st.just(Strip(False, False)) | st.just(Prepend("")), max_size=5), text=TEXTS)
def test_simplified_steps_do_the_same(steps, text):
    fewer = simplified([*steps, *steps[-1:]])
    doubled = [*steps, *steps[-1:]]
    assert normalize(fewer, text.encode()) == normalize(doubled, text.encode())
    assert normalize_with_origins(fewer, text.encode())[1].tolist() == (
        normalize_with_origins(doubled, text.encode())[1].tolist()
    )
    assert simplified(fewer) == fewer


@given(step=STEPS, text=TEXTS)
def test_a_step_knows_what_it_keeps(step, text):
    found, origins = step.apply_with_origins(text.encode())
    is_kept = found == text.encode() and origins.tolist() == list(range(len(text)))
    assert step.keeps(text) == step.keeps(text.encode())
    # what replaces a text may be the same text
    assert step.keeps(text) == is_kept or isinstance(step, Replace)
    assert is_kept or not step.keeps(text)


@pytest.mark.parametrize("step", [Nmt(), UnicodeForm("StripAccents"), ByteLevel(), Strip()])
def test_every_character(step):
    normalizer = judge([step]).normalizer
    for start in range(0, 0x110000, 997):
        text = "a".join(chr(cp) for cp in range(start, min(start + 997, 0x110000)) if not 0xD800 <= cp < 0xE000)
        assert step.apply(text.encode()).decode() == normalizer.normalize_str(text)


def test_a_text_that_no_form_changes_is_returned_itself():
    text = b"plain text"
    assert normalize([UnicodeForm("NFC"), UnicodeForm("NFKC")], text) is text


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (1, ValueError, "normalizer must be an object, got 1"),
        ({}, ValueError, "normalizer: missing field `type`"),
        ({"type": "Strip", "strip_left": True}, ValueError, "normalizer Strip: missing field `strip_right`"),
        ({"type": "Prepend", "prepend": 1}, ValueError, "normalizer Prepend: prepend must be a string, got 1"),
        ({"type": "Sequence", "normalizers": {}}, ValueError, "normalizers must be a list"),
        ({"type": "Replace", "content": "", "pattern": {}}, ValueError, "must be an object with String or Regex"),
        ({"type": "Replace", "content": "", "pattern": {"Regex": "("}}, ValueError, "expression '\\('"),
        ({"type": "Precompiled"}, UnsupportedComponentError, "normalizers.Precompiled is not supported"),
        ({"type": "Sequence", "normalizers": [{"type": "X"}]}, ValueError, "no normalizer is named 'X'"),
    ],
)
def test_what_is_refused(content, error, message):
    with pytest.raises(error, match=message):
        parse_normalizer(content)


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match=r"form must be one of NFC, .*, got 'NFX'"):
        UnicodeForm("NFX")


LOCAL = [UnicodeForm(form) for form in FORMS] + [Nmt()]
WORDS = st.sampled_from(
    [
        *(
            "a",
            "Z",
            "9",
            "'",
            ".",
            "!",
            "-",
            "/",
            "_",
            " ",
            "\n",
            "\t",
            "e\u0301",
            "é",
            "½",
            "ﬁ",
            "…",
            "\u00a8",
            "\u2003",
        ),
        *("\u200b", "\u0301", "\u3000", "日", "か\u3099", "İ", "don't", "  ", " \n", "\r\n", "<\u0338", "x y"),
        *("a\u0308 ", "\u0344", "ﷺ", "\ufeff", "\x01"),
    ]
)


@given(
    steps=st.lists(st.sampled_from(LOCAL), min_size=1, max_size=3),
    name=st.sampled_from(sorted(PATTERNS)),
    words=st.lists(WORDS, min_size=12, max_size=40),
    more=st.text(max_size=5),
)
def test_texts_are_cut_where_the_normalized_text_can_be_cut(steps, name, words, more):
    """Both parts, normalized and split, have the pretokens of the whole, whatever follows."""
    text, pattern = "".join(words).encode(), PATTERNS[name]
    cuts = "before_whitespace" if simplified(steps) == (UnicodeForm("NFC"),) else "between_words"
    splitter = TextSplitter([], pattern, cuts=cuts)
    assert all(step.is_local for step in steps)

    def pretokens(part):
        normalized = normalize(steps, part)
        ends = pattern.find_ends(normalized).tolist()
        return [normalized[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    _, cut = splitter.partial_boundaries(text)
    for whole in (text, text + more.encode()):
        assert pretokens(whole[:cut]) + pretokens(whole[cut:]) == pretokens(whole)
    window = splitter.safe_boundary(text)
    assert pretokens(text[:window]) + pretokens(text[window:]) == pretokens(text)
