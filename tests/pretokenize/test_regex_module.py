"""Without the `regex` module, only patterns without a scanner are refused."""

import sys

import pytest

import fastlm
from fastlm.compat import tiktoken as compat_tiktoken
from fastlm.pretokenize.patterns import PATTERNS, find_pattern
from fastlm.pretokenize.regex_module import regex_module

BYTES = {i: bytes([i]) for i in range(256)}
RANKS = {token: rank for rank, token in BYTES.items()}


@pytest.fixture
def without_regex(monkeypatch):
    monkeypatch.setitem(sys.modules, "regex", None)


@pytest.mark.usefixtures("without_regex")
def test_a_pattern_without_a_scanner_names_the_extra():
    for make in (
        lambda: fastlm.Tokenizer(BYTES, [], pattern=r"[a-z]{3}|.").encode("abcd"),
        lambda: fastlm.train_bpe(["abcd"], 260, pattern=r"[a-z]{3}|."),
        lambda: compat_tiktoken.Encoding(
            "mine", pat_str=r"[a-z]{3}|.", mergeable_ranks=RANKS, special_tokens={}
        ).encode("abcd"),
    ):
        with pytest.raises(ValueError, match=r"needs the package regex: pip install regex"):
            make()


@pytest.mark.usefixtures("without_regex")
def test_named_patterns_need_no_regex():
    for name in PATTERNS:
        if find_pattern(name).scanner:
            assert fastlm.Tokenizer(BYTES, [], pattern=name).encode("ab 1") == list(b"ab 1")


def test_an_import_that_fails_inside_of_regex_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "regex.py").write_text("import nothing_of_this_name")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "regex", raising=False)
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        regex_module()
