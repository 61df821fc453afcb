"""Names and spellings of patterns, and patterns without a scanner."""

import json
import warnings

import pytest
from hypothesis import given

from fastlm.pretokenize import patterns
from fastlm.pretokenize.patterns import ALIASES, PATTERNS, Pattern, find_pattern
from tests import texts
from tests.reference import bpe

LLAMA_CPP_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"


def ends(pieces: list[bytes]) -> list[int]:
    return [sum(map(len, pieces[: i + 1])) for i in range(len(pieces))]


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_a_named_pattern_is_found_by_name_and_by_all_its_spellings(name):
    pattern = PATTERNS[name]
    assert pattern.name == name
    assert pattern.models
    for spelling in (name, pattern.regex, pattern.splits, list(pattern.splits), pattern.for_onig):
        assert find_pattern(spelling) is pattern


def test_other_names():
    assert not ALIASES.keys() & PATTERNS.keys()
    for alias, name in ALIASES.items():
        assert find_pattern(alias) is PATTERNS[name]


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        (LLAMA_CPP_GPT2, "gpt2"),
        ((r"\p{N}", LLAMA_CPP_GPT2), "gpt2-digits"),
        ((r"\p{N}", patterns.GPT2), "gpt2-digits"),
        (r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", "gpt2"),
        (bpe.GPT2, "gpt2"),
        ([split.replace(r"\r\n", "\r\n") for split in patterns.DEEPSEEK_V3], "deepseek-v3"),
    ],
)
def test_other_spellings(spelling, name):
    assert find_pattern(spelling) is PATTERNS[name]


@given(texts.strings())
def test_other_spellings_split_alike(text):
    for splits, pattern in patterns._BY_SPLITS.items():
        if splits != pattern.onig_splits:  # Oniguruma's own
            assert bpe.pretokens(text, splits) == bpe.pretokens(text, pattern.splits)


@pytest.mark.parametrize("encoding", ["r50k_base", "p50k_base", "cl100k_base", "o200k_base", "o200k_harmony"])
def test_tiktokens_spellings(encoding):
    openai_public = pytest.importorskip("tiktoken_ext.openai_public", reason="tiktoken has the spellings")
    # the constructors load vocabularies, which these do not need
    source = dict(vars(openai_public), load_tiktoken_bpe=lambda *_, **__: {b"a": 0})
    source["data_gym_to_mergeable_bpe_ranks"] = source["load_tiktoken_bpe"]
    constructor = getattr(openai_public, encoding)
    found = type(constructor)(constructor.__code__, source)
    source["o200k_base"] = type(constructor)(openai_public.o200k_base.__code__, source)
    assert find_pattern(found()["pat_str"]) is find_pattern(encoding)


@pytest.mark.parametrize(
    ("file", "name"),
    [("cl100k_base", "llama3"), ("llama3", "llama3"), ("o200k_base", "o200k_base"), ("qwen2", "qwen2")],
)
def test_spellings_in_files_of_hugging_face(data, file, name):
    steps = json.loads((data / "vectors" / f"{file}.tokenizer.json").read_text())["pre_tokenizer"]["pretokenizers"]
    assert find_pattern(steps[0]["pattern"]["Regex"]) is PATTERNS[name]


@pytest.mark.parametrize("name", sorted(PATTERNS))
@pytest.mark.filterwarnings("ignore:no scanner for the pattern")
@given(texts.strings())
def test_without_a_scanner_the_splits_are_the_same(name, text):
    pattern = PATTERNS[name]
    expected = ends(bpe.pretokens(text, pattern.splits))
    assert Pattern(pattern.splits).find_ends(text.encode()).tolist() == expected
    assert pattern.find_ends(text.encode()).tolist() == expected


def test_each_split_sees_pieces_alone():
    pattern = find_pattern([r"\d", r"\s+(?!\S)|\S+$"])
    with pytest.warns(UserWarning, match=r"no scanner .* then .*: the regex module \d+\.\d+.* own version of Un"):
        assert pattern.find_ends("a b  1é ".encode()).tolist() == [3, 5, 6, 8, 9]
    assert find_pattern(pattern.regex) == pattern
    assert pattern.safe_start(b"a b  1", 5) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        assert find_pattern(pattern.regex).find_ends(b"").tolist() == []


def test_what_is_no_pattern_is_refused():
    with pytest.raises(ValueError, match=r"no pattern is named 'gpt-9'; there are \['cl100k_base', 'command-r'"):
        find_pattern("gpt-9")
    for spelling in ("(", ["a", "("], '["a", "("]'):
        with pytest.raises(ValueError, match=r"pattern '\(' is not a regular expression"):
            find_pattern(spelling)
    for other in (None, b"a", [], ["a", 1]):
        with pytest.raises(TypeError, match="pattern must be a name or regular expressions"):
            find_pattern(other)
    # one string in an array, or what is no array, is an expression
    for expression in ('["a"]', '["a", 1]'):
        assert find_pattern(expression).splits == (expression,)
    for expression in ("[", "[" * 99_999):
        with pytest.raises(ValueError, match="is not a regular expression"):
            find_pattern(expression)
