"""Vocabulary: what does not fit together is refused, and nothing can change it afterwards."""

import pickle

import numpy as np
import pytest

import fastlm
from fastlm.pretokenize.patterns import PATTERNS
from fastlm.vocabulary.vocabulary import ARRAYS, NO_ID, AddedToken, Rules, Vocabulary


def ids(*values):
    return np.array(values, np.uint32)


def fields(**changes):
    """Ids 0..255 are the bytes, 256 is b"ab", merged from them."""
    good = {
        "token_bytes": np.array([*range(256), *b"ab"], np.uint8),
        "token_offsets": np.array([*range(257), 258], np.int64),
        "merge_left": np.array([97], np.uint32),
        "merge_right": np.array([98], np.uint32),
        "merge_new": np.array([256], np.uint32),
        "byte_ids": np.arange(256, dtype=np.uint32),
        "added_tokens": (),
        "pattern": PATTERNS["gpt2"],
    }
    return good | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_offsets": np.zeros(1, np.int64), "token_bytes": np.zeros(0, np.uint8)}, "token offsets must ascend"),
        ({"token_offsets": np.array([*range(256), 300, 258])}, "token offsets must ascend"),
        # differences that wrap around to positive ones
        ({"token_offsets": np.array([0, 2**62, 2**63 - 1, -(2**63), -(2**62), *range(253), 258])}, "must ascend"),
        ({"merge_left": ids(300)}, "ids below 257"),
        ({"merge_new": ids()}, "three equally long arrays"),
        ({"merge_new": ids(98)}, "merge 0 joins b'a' and b'b' but yields b'b'"),
        ({"merge_right": ids(97)}, "merge 0 joins b'a' and b'a' but yields b'ab'"),
        ({"merge_left": ids(98)}, "merge 0 joins b'b' and b'b' but yields b'ab'"),
        (
            {"merge_right": ids(257), "token_offsets": np.array([*range(257), 258, 258])},
            "merge 0 joins b'a' and b'' but yields b'ab'",
        ),
        (
            {"merge_left": ids(97, 256), "merge_right": ids(98, 97), "merge_new": ids(256, 256)},
            "merge 1 joins b'ab' and b'a' but yields b'ab'",
        ),
        (
            {"merge_left": ids(97, 97), "merge_right": ids(98, 98), "merge_new": ids(256, 256)},
            "merge 1 repeats merge 0: b'a', b'b'",
        ),
        ({"byte_ids": np.arange(255, dtype=np.uint32)}, "256 byte ids"),
        ({"byte_ids": ids(*range(255), 256)}, "do not name the single-byte tokens"),
        ({"added_tokens": (AddedToken("<s>", 257),)}, "added token '<s>' has id 257, which is not in the vocabulary"),
        ({"added_tokens": (AddedToken("<s>", -1),)}, "added token '<s>' has id -1"),
        ({"added_tokens": (AddedToken("a", 97), AddedToken("a", 98))}, "added token 'a' is given twice"),
        ({"rules": Rules(begin=(257,))}, "id 257 that begins or ends a text is not in the vocabulary"),
        ({"rules": Rules(end=(-1,))}, "id -1 that begins or ends"),
        (
            {"rules": Rules(ignore_merges=True, unknown_bytes="drop"), "byte_ids": ids(*range(255), NO_ID)},
            "ignore_merges with bytes that are dropped",
        ),
        ({"merge_left": np.array([97], np.int64)}, "merge_left must be a one-dimensional array of uint32"),
        ({"token_bytes": b"abc"}, "token_bytes must be a one-dimensional array of uint8"),
    ],
)
def test_refuses_what_does_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(**fields(**changes))


def test_a_merge_of_an_id_without_bytes_is_refused():
    offsets = np.array([*range(257), 256, 258], np.int64)  # 256 has none, 257 is b"ab"
    with pytest.raises(ValueError, match="merge 0 joins b'' and b'ab'"):
        Vocabulary(**fields(token_offsets=offsets, merge_left=ids(256), merge_right=ids(257), merge_new=ids(257)))


def test_nothing_can_write_to_it():
    given = fields()
    vocabulary = Vocabulary(**given)
    for name in ARRAYS:
        assert not getattr(vocabulary, name).flags.writeable
        given[name][:] = 0
    assert vocabulary.bytes_of(256) == b"ab"
    assert fastlm.Tokenizer.from_vocabulary(vocabulary).encode("xab") == [120, 256]


def test_a_pickle_holds_the_arrays_only(trained):
    before = len(pickle.dumps(trained))
    assert trained.vocab
    assert trained.merges
    assert trained.vocabulary.fingerprint
    assert len(pickle.dumps(trained)) == before


def test_the_fingerprint_tells_vocabularies_apart():
    base = Vocabulary(**fields()).fingerprint
    assert Vocabulary(**fields()).fingerprint == base
    assert Vocabulary(**fields(added_tokens=(AddedToken("ab", 256),))).fingerprint != base
    none = {"merge_left": ids(), "merge_right": ids(), "merge_new": ids()}
    assert Vocabulary(**fields(**none)).fingerprint != base
    assert Vocabulary(**fields(rules=Rules(normalization="NFC"))).fingerprint != base


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: AddedToken("", 1), ValueError),
        (lambda: AddedToken("\ud800", 1), ValueError),
        (lambda: AddedToken(b"a", 1), TypeError),
        (lambda: AddedToken("a", "1"), TypeError),
        (lambda: AddedToken("a", True), TypeError),
        (lambda: Rules(normalization="NFKC"), ValueError),
        (lambda: Rules(unknown_bytes="keep"), ValueError),
        (lambda: Rules(begin=("a",)), TypeError),
    ],
)
def test_refuses_what_no_vocabulary_can_have(make, error):
    with pytest.raises(error):
        make()
