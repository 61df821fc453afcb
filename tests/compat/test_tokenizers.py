"""Whole tokenizers of random options, held to tokenizers call by call."""

import copy
import json
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm.compat.tokenizers as ours
from tests import texts
from tests.compat import tokenizers_twins
from tests.compat.tokenizers_twins import outcome, plain, text, twins
from tests.conftest import DATA

theirs = pytest.importorskip("tokenizers", reason="tokenizers judges what its face answers")

# some of the splits have no scanner
pytestmark = pytest.mark.filterwarnings("ignore:no scanner for the pattern")


def call(rng: random.Random):
    """A random call of a tokenizer."""
    one, other, add = text(rng), text(rng), rng.random() < 0.7
    words = [[text(rng, 4) for _ in range(rng.randrange(4))] for _ in range(2)]
    ids = [rng.randrange(420) for _ in range(rng.randrange(8))]
    token, token_id, flag = rng.choice(tokenizers_twins.NAMES), rng.randrange(420), rng.random() < 0.5
    bad = rng.choice([None, 3, b"x", "\ud800", 1.5, ["a", 1], ("a", "b", "c")])
    return rng.choice(
        [
            lambda t: t.encode(one, add_special_tokens=add),
            lambda t: t.encode(one, other, add_special_tokens=add),
            lambda t: t.encode(words[0], is_pretokenized=True, add_special_tokens=add),
            lambda t: t.encode(words[0], words[1], is_pretokenized=True, add_special_tokens=add),
            lambda t: t.encode_batch([one, (one, other), other, "", one], add_special_tokens=add),
            lambda t: t.encode_batch([words[0], tuple(words), words[1]], is_pretokenized=True, add_special_tokens=add),
            lambda t: t.encode_batch_fast([one, (one, other), other], add_special_tokens=add),
            lambda t: [
                t.encode(one, other).char_to_token(3, 1),
                t.encode(one).char_to_word(2),
                t.encode(one, other).word_to_tokens(1, 1),
                t.encode(one).word_to_chars(1),
                [t.encode(one, other).token_to_chars(k) for k in range(5)],
                [t.encode(one, other).token_to_word(k) for k in range(5)],
                [t.encode(one, other).token_to_sequence(k) for k in range(9)],
                t.encode(one, other).sequence_ids,
            ],
            lambda t: t.post_process(t.encode(one), t.encode(other), add),
            lambda t: t.decode(ids, skip_special_tokens=flag),
            lambda t: t.decode_batch([ids, ids[:2], []], skip_special_tokens=flag),
            lambda t: [t.token_to_id(token), t.id_to_token(token_id), t.get_vocab_size(flag), t.get_vocab(flag)],
            lambda t: t.get_added_tokens_decoder(),
            lambda t: [t.num_special_tokens_to_add(flag), t.truncation, t.padding],
            lambda t: t.to_str(flag),
            lambda t: t.encode(bad),
            lambda t: t.encode(bad, is_pretokenized=True),
            lambda t: t.encode("a", bad),
            lambda t: t.encode_batch([bad]),
            lambda t: t.encode_batch(bad),
            lambda t: t.decode(bad),
            lambda t: t.encode("a", add_special_tokens=bad),
        ]
    )


@pytest.mark.parametrize("seed", range(70))
def test_answers_as_tokenizers_whatever_the_options(seed, capfd):
    rng = random.Random(seed)
    judge, tokenizer = twins(rng)
    for number in range(25):
        asked = call(rng)
        expected = outcome(partial(asked, judge), theirs)
        assert outcome(partial(asked, tokenizer), ours) == expected, number


@pytest.mark.parametrize("seed", range(30))
def test_is_itself_after_it_was_written_and_read(seed):
    rng = random.Random(1000 + seed)
    judge, tokenizer = twins(rng)
    written = tokenizer.to_str(pretty=True)
    again = [
        ours.Tokenizer.from_str(written),
        ours.Tokenizer.from_buffer(written.encode()),
        pickle.loads(pickle.dumps(tokenizer)),
        copy.deepcopy(tokenizer),
        copy.copy(tokenizer),
    ]
    reread = theirs.Tokenizer.from_str(judge.to_str())
    for other in again:
        other.encode_special_tokens = reread.encode_special_tokens
    for _ in range(10):
        one = text(rng)
        expected = outcome(partial(reread.encode, one), theirs)
        for other in again:
            assert outcome(partial(other.encode, one), ours) == expected
    assert all(other.to_str() == reread.to_str() for other in again)


@given(
    st.lists(st.sampled_from(list("ea\u0301\u0323\u0334\u1100\u1161\u11a8가\u212b\u0345x ")), max_size=12).map("".join)
)
def test_offsets_lead_back_through_normalization(composing):
    judge, tokenizer = NORMALIZING
    assert json.loads(tokenizer.encode(composing).__getstate__()) == json.loads(judge.encode(composing).__getstate__())


def normalizing(module):
    vocab, merges = tokenizers_twins.TRAINED[300]
    tokenizer = module.Tokenizer(module.models.BPE(vocab, merges))
    tokenizer.normalizer = module.normalizers.NFC()
    tokenizer.pre_tokenizer = module.pre_tokenizers.ByteLevel()
    return tokenizer


NORMALIZING = normalizing(theirs), normalizing(ours)


def test_threads_with_settings_of_their_own_share_a_tokenizer():
    vocab, merges = tokenizers_twins.TRAINED[400]
    shared = ours.Tokenizer(ours.models.BPE(vocab, merges))
    shared.pre_tokenizer = ours.pre_tokenizers.ByteLevel()
    whole = shared.encode("the end of it all").ids

    def cut(length):
        for _ in range(200):
            shared.enable_truncation(length)
            found = shared.encode("the end of it all").ids
            assert found == whole[: len(found)]
            shared.no_truncation()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(cut, range(1, 9)))


def test_a_character_between_texts_is_of_no_word():
    # of a text that is there twice only the last place counts; with a number that none has, all tokens are searched
    found = []
    for module in (theirs, ours):
        tokenizer = normalizing(module)
        template = module.processors.TemplateProcessing(single="$A", pair="$A $A $B", special_tokens=[])
        tokenizer.post_processor = template
        encoding = tokenizer.encode("the end", "all")
        queries = [(k, text) for k in range(8) for text in range(3)]
        found.append([(encoding.char_to_token(*one), encoding.char_to_word(*one)) for one in queries])
    assert found[0] == found[1]


def test_files_keep_what_they_say_of_the_decoder():
    flags = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    content = json.loads(normalizing(ours).to_str()) | {"decoder": flags}
    judge, tokenizer = (module.Tokenizer.from_str(json.dumps(content)) for module in (theirs, ours))
    assert tokenizer.to_str() == judge.to_str()
    assert repr(tokenizer.decoder) == repr(judge.decoder)


# bytes of a file from which on it is read in the nightly lane
LARGE = 4_000_000
OFFICIAL = [
    pytest.param(path.name, marks=pytest.mark.nightly if path.stat().st_size > LARGE else ())
    for path in sorted((DATA / "vectors").glob("*.tokenizer.json"))
]


@pytest.mark.parametrize("name", OFFICIAL)
def test_reads_official_files(name):
    path = str(DATA / "vectors" / name)
    judge, tokenizer = theirs.Tokenizer.from_file(path), ours.Tokenizer.from_file(path)
    assert tokenizer.get_vocab() == judge.get_vocab()
    assert tokenizer.to_str() == judge.to_str()
    rng = random.Random(name)
    samples = [*texts.DOCUMENTS, *(text(rng, 30) for _ in range(150)), "<|endoftext|> a <|end_of_text|><|im_start|>"]
    samples += [(samples[0][:500], samples[1][:500])]
    for encode in ("encode_batch", "encode_batch_fast"):
        found, expected = getattr(tokenizer, encode)(samples), getattr(judge, encode)(samples)
        assert plain(found) == plain(expected)
    ids = [one.ids for one in expected]
    assert tokenizer.decode_batch(ids) == judge.decode_batch(ids)
    assert tokenizer.decode_batch(ids, skip_special_tokens=False) == judge.decode_batch(ids, skip_special_tokens=False)
