"""Encodings of batches, whose lists are made when they are read, in any order and after any change."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import fastlm.compat.tokenizers as ours
from fastlm.compat.tokenizers import batch_columns
from tests.compat.tokenizers_twins import outcome, text, twins

theirs = pytest.importorskip("tokenizers", reason="tokenizers judges what its face answers")

# some of the splits have no scanner
pytestmark = pytest.mark.filterwarnings("ignore:no scanner for the pattern")

ATTRIBUTES = [
    *("ids", "type_ids", "tokens", "offsets", "attention_mask", "special_tokens_mask", "word_ids", "sequence_ids"),
    "n_sequences",
]
CHANGES = [
    lambda e: e.set_sequence_id(1),
    lambda e: e.truncate(2, 1),
    lambda e: e.pad(9, pad_id=7),
    lambda e: [e.token_to_chars(k) for k in range(4)],
    lambda e: [e.token_to_word(k) for k in range(4)],
    lambda e: e.word_to_tokens(1),
    lambda e: e.char_to_token(1),
    len,
]


def lists(encoding, rng):
    """All attributes, read in a random order."""
    names = rng.sample(ATTRIBUTES, len(ATTRIBUTES))
    return {name: getattr(encoding, name) for name in names}


@pytest.mark.parametrize("bits", [0, 3, 16])
@pytest.mark.parametrize("seed", range(25))
def test_lists_of_a_batch_are_those_of_tokenizers(seed, bits, monkeypatch):
    monkeypatch.setattr(batch_columns, "_BLOCK_BITS", bits)
    rng = random.Random(4000 + seed)
    judge, tokenizer = twins(rng)
    given = [text(rng, rng.choice([1, 2, 4, 9])) for _ in range(12)]
    for name in ("encode_batch", "encode_batch_fast"):
        add = rng.random() < 0.7
        call = partial(getattr(judge, name), given, add_special_tokens=add)
        if not isinstance(outcome(call, theirs), list):
            continue  # an error, which other tests compare
        expected = call()
        found = getattr(tokenizer, name)(given, add_special_tokens=add)
        for k in rng.sample(range(12), 12):
            assert lists(found[k], rng) == lists(expected[k], rng), given[k]
            if name == "encode_batch" and rng.random() < 0.5:
                change = rng.choice(CHANGES)
                assert change(found[k]) == change(expected[k])
                assert lists(found[k], rng) == lists(expected[k], rng), given[k]


def test_threads_that_read_an_encoding_at_once_see_the_same():
    model = ours.models.BPE({char: k for k, char in enumerate(ours.pre_tokenizers.ByteLevel.alphabet())}, [])
    tokenizer = ours.Tokenizer(model)
    tokenizer.pre_tokenizer = ours.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alone = tokenizer.encode("a text é")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(100):
                (encoding,) = tokenizer.encode_batch(["a text é"])
                reads = [len, lambda e: e.token_to_chars(7), lambda e: e.offsets]
                found = [future.result() for future in [pool.submit(read, encoding) for read in reads * 4]]
                assert found == [len(alone), alone.token_to_chars(7), alone.offsets] * 4
    finally:
        sys.setswitchinterval(interval)


def test_an_attribute_that_does_not_exist():
    model = ours.models.BPE({char: k for k, char in enumerate(ours.pre_tokenizers.ByteLevel.alphabet())}, [])
    (encoding,) = ours.Tokenizer(model).encode_batch(["ab"])
    for name in ("none", "_spam", "__deepcopy__"):
        with pytest.raises(AttributeError, match=name):
            getattr(encoding, name)
