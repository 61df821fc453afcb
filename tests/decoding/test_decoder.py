"""IDs to bytes, whatever their container says of itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.decoding._decoder import Decoder, as_ids

# of all lengths about those of a slot, and one ID without bytes
TOKENS = [bytes([65 + number]) * length for number, length in enumerate([*range(1, 20), 0, 300])]
OFFSETS = np.cumsum([0, *map(len, TOKENS)])
KNOWN = [k for k, token in enumerate(TOKENS) if token]


@pytest.fixture(scope="module")
def decoder():
    return Decoder(np.frombuffer(b"".join(TOKENS), np.uint8), OFFSETS)


@given(st.lists(st.sampled_from(KNOWN), max_size=40))
def test_joins_the_bytes_of_tokens(decoder, ids):
    expected = b"".join(TOKENS[k] for k in ids)
    for given_ids in (ids, tuple(ids), iter(ids), np.array(ids, np.uint16), np.array(ids, np.int64)):
        assert decoder.decode_bytes(given_ids) == expected


def test_many_ids(decoder):
    ids = (KNOWN * 100)[:1500]
    assert decoder.decode_bytes(ids) == b"".join(TOKENS[k] for k in ids)


def lying(base, length):
    class Lying(base):
        def __len__(self):
            return length

        def __getitem__(self, key):
            return -1

        def __length_hint__(self):
            return length

    return Lying


@pytest.mark.parametrize("length", [0, 1, 3, 500, 1 << 40])
@pytest.mark.parametrize("base", [list, tuple])
def test_the_items_count_and_not_the_length(decoder, base, length):
    assert decoder.decode_bytes(lying(base, length)([0, 1, 2])) == b"ABBCCC"
    assert as_ids(lying(base, length)([0, 1, 2])).tolist() == [0, 1, 2]


def test_an_iterator_that_promises_more_than_memory_holds(decoder):
    class Promising:
        def __init__(self):
            self.items = iter([0, 1])

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.items)

        def __length_hint__(self):
            return 1 << 40

        def __len__(self):
            return 1 << 40

    assert decoder.decode_bytes(Promising()) == b"ABB"


@pytest.mark.parametrize("bad", [-1, 19, 21, 1 << 40, -(1 << 63), (1 << 63) - 1])
def test_ids_that_are_not_in_the_vocabulary(decoder, bad):
    for ids in ([0, bad], (0, bad), np.array([0, bad])):
        with pytest.raises(KeyError, match=f"id {bad} at position 1 is not in the vocabulary"):
            decoder.decode_bytes(ids)


def test_arguments(decoder):
    for ids in (
        "a",
        b"a",
        5,
        None,
        ["a"],
        [0.5],
        [True, np.True_],
        [1, np.True_],
        [[0]],
        np.zeros((2, 2), int),
        [[0], [1, 2]],
    ):
        with pytest.raises(TypeError):
            decoder.decode_bytes(ids)
    with pytest.raises(KeyError, match="id 18446744073709551615 is not in the vocabulary"):
        decoder.decode_bytes(np.array([2**64 - 1], np.uint64))
    for ids in ([0, 1 << 64], (0, -(1 << 64)), [0, (1 << 128) - 1]):
        with pytest.raises((KeyError, TypeError), match=r"integers that fit 64 bits|id 18446744073709551616 is not"):
            decoder.decode_bytes(ids)
    with pytest.raises(TypeError):
        Decoder.__new__(Decoder)


@pytest.mark.parametrize("offsets", [[0, 4], [1, 0], [-1, 2], [0, 1 << 40], [0, 3, 2]])
def test_offsets_outside_of_the_bytes(offsets):
    with pytest.raises(ValueError, match=r"token \d must lie within the 3 token bytes"):
        Decoder(np.zeros(3, np.uint8), np.array(offsets))
