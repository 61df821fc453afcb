"""Classes of characters: every character is split as by the pre-tokenizers of tokenizers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastlm.text.added_tokens import AddedTokenSplitter
from fastlm.text.char_classes import members
from fastlm.text.whitespace import WHITESPACE
from fastlm.vocabulary.vocabulary import AddedToken

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers judges the classes")
ROOT = Path(__file__).resolve().parents[2]
CODE_POINTS = [*range(0xD800), *range(0xE000, 0x110000)]


@pytest.mark.nightly
def test_the_data_is_what_tokenizers_says():
    subprocess.run([sys.executable, ROOT / "tools" / "generate_char_classes.py", "--check"], check=True)


def test_whitespace_is_the_whitespace_of_texts():
    assert np.flatnonzero(members("whitespace")).tolist() == sorted(map(ord, WHITESPACE))
    split = tokenizers.pre_tokenizers.WhitespaceSplit()
    found = [point for point in CODE_POINTS if len(split.pre_tokenize_str(f"a{chr(point)}a")) == 2]
    assert found == np.flatnonzero(members("whitespace")).tolist()


@pytest.mark.nightly  # tries every character
def test_a_single_word_is_not_next_to_any_word_character():
    """tokenizers and the splitter of added tokens agree for every character before and after a token."""
    judge = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    judge.add_tokens([tokenizers.AddedToken("<m>", single_word=True, normalized=False)])
    judge.add_special_tokens(["<n>"])
    splitter = AddedTokenSplitter({"<m>": AddedToken("<m>", 1, single_word=True), "<n>": AddedToken("<n>", 2)})
    for start in range(0, len(CODE_POINTS), 5000):
        chars = map(chr, CODE_POINTS[start : start + 5000])
        text = "".join(f"<m>{char}<n>{char}<m><n>" for char in chars)
        expected = [token_id for token_id in judge.encode(text).ids if token_id]
        found = [token_id for _, _, token_id in splitter.split(text, frozenset({1, 2})) if token_id]
        assert found == expected
