"""The text of the demo: what counts as prose."""

import pytest

from fastlm import train_bpe
from fastlm.demo import texts
from fastlm.demo.tokenizer import coloured_sample, longest_words

SENTENCE = "The cat sat on the mat, and then it looked at the rat for a long time without a sound."


def test_paragraphs_of_prose():
    source = f"""\
{SENTENCE}

   The same sentence may be
   on several lines, as long as it has a beginning, a middle and an end.

too small a beginning, although it has more than eighty characters and it does end with a full stop.

A short one.

>>> print("a session of the interpreter, which is not prose, has other marks, such as $$$ and ===[[]]")
"""
    assert list(texts.paragraphs(source)) == [
        SENTENCE,
        "The same sentence may be on several lines, as long as it has a beginning, a middle and an end.",
    ]


def test_docstrings_and_comments(monkeypatch):
    first_line, _, second_line = SENTENCE.partition(" and ")
    second_line = f"and {second_line}"
    source = f'"""{SENTENCE}"""\n\nclass A:\n    # {first_line}\n    # {second_line}\n    pass  # {SENTENCE}\n'
    monkeypatch.setattr(texts, "_help_topics", lambda: [f"- a list\n\n{SENTENCE.replace('cat', 'dog')}"])
    monkeypatch.setattr(texts, "_sources", lambda: iter([source, "this is (no Python"]))
    first, second = SENTENCE.replace("cat", "dog"), SENTENCE
    assert texts.prose() == [first, second]
    assert texts._comments(source) == [f"{first_line}\n{second_line}\n"]


def test_longest_words():
    with pytest.warns(UserWarning, match="no more pairs"):
        tokenizer = train_bpe(
            ["a representation of an implementation, ++++++++++++++++++++++ ++++++++++++++++++++++"] * 9, 300
        )
    assert longest_words(tokenizer, 2) == "implementation, representation"
    symbols = train_bpe(["++++++++ ++++++++"] * 9, 260)
    assert longest_words(symbols) == "'++++++++'"


def test_the_paragraph_that_is_shown_is_prose():
    tokenizer = train_bpe([SENTENCE], 280)
    text = f"x = 1\n\ny = {{}}\n\n{SENTENCE}\n\nz = 3"
    assert coloured_sample(tokenizer, text).replace("|", "") == SENTENCE
    assert coloured_sample(tokenizer, "x = 1").replace("|", "") == "x = 1"
