"""Arguments of train_bpe: a wrong type is a TypeError that names the argument, and every kind of iterable is read."""

import math
from pathlib import Path

import numpy as np
import pytest

import fastlm

DOCUMENTS = ["the cat sat on the mat", "the cat ate the rat"]
EXPECTED = fastlm.train_bpe(DOCUMENTS, 262).vocabulary.fingerprint

TEXT, BYTES, NUMBER, FLOAT, BOOL, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY, NONE = (
    "x",
    b"x",
    5,
    2.5,
    True,
    [5],
    {5: 5},
    len,
    object(),
    Path("x"),
    np.zeros(2),
    None,
)
WRONG = {
    "input": [NUMBER, FLOAT, BOOL, BYTES, FUNCTION, OBJECT, NONE],
    "vocab_size": [TEXT, BYTES, FLOAT, BOOL, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY, NONE],
    "special_tokens": [TEXT, BYTES, NUMBER, FLOAT, BOOL, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY],
    "pattern": [BYTES, NUMBER, FLOAT, BOOL, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY],
    "tie_break": [BYTES, NUMBER, FLOAT, BOOL, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY, NONE],
    "min_frequency": [TEXT, BYTES, FLOAT, BOOL, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY, NONE],
    "max_token_length": [TEXT, BYTES, FLOAT, BOOL, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY],
    "base": [TEXT, BYTES, NUMBER, FLOAT, BOOL, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY],
    "max_memory": [TEXT, BYTES, FLOAT, BOOL, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY],
    "checkpoint": [BYTES, NUMBER, FLOAT, BOOL, LIST, DICT, FUNCTION, OBJECT, ARRAY],
    "checkpoint_seconds": [TEXT, BYTES, BOOL, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY, NONE],
    "resume": [TEXT, BYTES, NUMBER, FLOAT, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY, NONE],
    "num_threads": [TEXT, BYTES, FLOAT, BOOL, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY],
    "engine": [BYTES, NUMBER, FLOAT, BOOL, LIST, DICT, FUNCTION, OBJECT, PATH, ARRAY, NONE],
    "progress": [TEXT, BYTES, NUMBER, FLOAT, LIST, DICT, OBJECT, PATH, ARRAY],
}
BAD_VALUES = {
    "vocab_size": [0, -1, 256, -(2**70)],
    "special_tokens": [[""], ["a", "a"], ["\ud800"]],
    "pattern": ["(", "gpt9"],
    "tie_break": ["", "CS336"],
    "min_frequency": [0, -1, 2**63, 2**70],
    "max_token_length": [0, -1, 2**63],
    "max_memory": [0, -1, 1, 2**63],
    "checkpoint_seconds": [0, -1, math.nan, -math.inf],
    "resume": [True],
    "num_threads": [0, -1],
    "engine": ["", "Ray", "dask"],
}
NAMED = {"special_tokens": "special.token", "input": "input|document 0", "max_token_length": "max_token_length"}


def train(**arguments):
    return fastlm.train_bpe(**{"input": DOCUMENTS, "vocab_size": 262, **arguments})


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_type_is_a_type_error_that_names_the_argument(name, value):
    with pytest.raises(TypeError, match=NAMED.get(name, name)):
        train(**{name: value})


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_VALUES.items() for value in values])
def test_a_bad_value_is_a_value_error_that_names_the_argument(name, value):
    named = "regular expression|pattern" if name == "pattern" else NAMED.get(name, name)
    with pytest.raises(ValueError, match=named):
        train(**{name: value})


def test_the_table_has_every_argument():
    names = fastlm.train_bpe.__code__.co_varnames[: fastlm.train_bpe.__code__.co_argcount]
    names += fastlm.train_bpe.__code__.co_varnames[len(names) :][: fastlm.train_bpe.__code__.co_kwonlyargcount]
    assert list(WRONG) == list(names)


class Column:
    """A column that reads an item when it is asked for it, and offers nothing but that."""

    def __len__(self):
        return len(DOCUMENTS)

    def __getitem__(self, number):
        return DOCUMENTS[number]


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        iter,
        lambda documents: (document for document in documents),
        lambda documents: map(str, documents),
        lambda documents: map(str.encode, documents),
        set,
        frozenset,
        lambda documents: dict.fromkeys(documents).keys(),
        lambda documents: dict(enumerate(documents)).values(),
        lambda documents: filter(None, documents),
        lambda documents: np.array(documents, object),
        lambda documents: Column(),
    ],
)
def test_all_kinds_of_iterables_are_read(make):
    for options in ({}, {"num_threads": 2}, {"max_memory": 1 << 40}):
        assert train(input=make(DOCUMENTS), **options).vocabulary.fingerprint == EXPECTED


@pytest.mark.parametrize("text", ["the cat sat on the mat", "is it a [glob]*?", "long " * 2000, "a null \0 byte", ""])
def test_a_text_where_a_path_is_expected_explains_itself(text):
    with pytest.raises(
        FileNotFoundError, match=r"to train on text, pass a list of documents, such as \[text\]"
    ) as caught:
        train(input=text)
    assert len(str(caught.value)) < 250


def test_the_smallest_vocabulary_has_no_merges():
    assert train(vocab_size=257).merges == []
    with pytest.raises(ValueError, match="vocab_size must be at least 257, for 256 bytes and 1 special token, got 256"):
        train(vocab_size=256)


@pytest.mark.parametrize("name", ["max_memory", "checkpoint"])
def test_the_engine_ray_names_the_option_that_it_does_not_support(name):
    with pytest.raises(ValueError, match=f"engine='ray' does not support {name}"):
        train(engine="ray", **{name: "there" if name == "checkpoint" else 10**9})
