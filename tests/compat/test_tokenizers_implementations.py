"""ByteLevelBPETokenizer, and calls in the background, held to tokenizers."""

import asyncio
import copy
import inspect
import json
import pickle
import random
from functools import partial

import pytest

pytest.importorskip("tokenizers", reason="tokenizers judges what its face answers")

import tokenizers as theirs

import fastlm.compat.tokenizers as ours
from fastlm.compat.tokenizers import implementations
from tests import texts
from tests.compat import tokenizers_twins
from tests.compat.tokenizers_twins import outcome, text, twins

# some of the splits have no scanner
pytestmark = pytest.mark.filterwarnings("ignore:no scanner for the pattern")

VOCAB, MERGES = tokenizers_twins.TRAINED[400]
OPTIONS = [
    {},
    {"add_prefix_space": True},
    {"trim_offsets": True},
    {"add_prefix_space": True, "trim_offsets": True, "unicode_normalizer": "nfc"},
    {"unicode_normalizer": "nope"},
    {"lowercase": True},
    {"lowercase": True, "unicode_normalizer": "nfkc", "add_prefix_space": True},
    {"unicode_normalizer": "nfd", "dropout": 0.0},
]


def calls(rng):
    one, other, folder = text(rng), text(rng), "/no/such/folder"
    return [
        repr,
        lambda t: t.encode(one, other),
        lambda t: t.encode([one, other], is_pretokenized=True, add_special_tokens=False),
        lambda t: t.encode(None),
        lambda t: t.encode(3),
        lambda t: t.encode_batch([one, (one, other)]),
        lambda t: t.encode_batch(None),
        lambda t: t.decode([1, 300, 400, 9999]),
        lambda t: t.decode([0, 1], skip_special_tokens=False),
        lambda t: t.decode(None),
        lambda t: t.decode_batch([[1], [2, 3]]),
        lambda t: t.decode_batch(None),
        lambda t: t.normalize("e\u0301"),
        lambda t: t.add_tokens(["<m>", one or "x"]),
        lambda t: t.add_special_tokens(["<|end|>"]),
        lambda t: [t.get_vocab_size(), t.get_vocab_size(False), t.token_to_id("<m>"), t.id_to_token(3)],
        lambda t: [t.get_vocab(), t.get_added_tokens_decoder(), t.to_str(), t.num_special_tokens_to_add(True)],
        lambda t: t.enable_padding("left", 4, 7),
        lambda t: t.enable_truncation(9, 2, "only_first"),
        lambda t: [t.padding, t.truncation],
        lambda t: t.encode_batch([one, other]),
        lambda t: t.post_process(t.encode(one), t.encode(other)),
        lambda t: [t.no_padding(), t.no_truncation(), t.padding, t.truncation],
        lambda t: t.save_model(folder, "x"),
        lambda t: t.save(folder),
    ]


@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_byte_level_bpe_answers_as_in_tokenizers(number):
    options = OPTIONS[number]
    made = []
    for module in (theirs, ours):
        try:
            made.append(module.ByteLevelBPETokenizer(VOCAB, MERGES, **options))
        except Exception:  # noqa: BLE001 - anything that tokenizers refuses is left out
            made.append(None)
    judge, tokenizer = made
    assert (judge is None) == (tokenizer is None)
    if tokenizer is None:
        return
    for k, asked in enumerate(calls(random.Random(number))):
        expected = outcome(partial(asked, judge), theirs)
        assert outcome(partial(asked, tokenizer), ours) == expected, k
    for again in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert again.to_str() == tokenizer.to_str()
    for name in ("model", "normalizer", "pre_tokenizer", "post_processor", "decoder"):
        assert repr(getattr(tokenizer, name)) == repr(getattr(judge, name))
        setattr(tokenizer, name, getattr(tokenizer, name))


def test_byte_level_bpe_trains_and_is_read_again(tmp_path):
    path = tmp_path / "text"
    path.write_text("".join(texts.DOCUMENTS), "utf-8", newline="\n")
    for from_iterator in (False, True):
        found = []
        for module in (theirs, ours):
            tokenizer = module.ByteLevelBPETokenizer(add_prefix_space=True)
            options = {"vocab_size": 400, "show_progress": False, "special_tokens": ["<s>", "<pad>"]}
            if from_iterator:
                tokenizer.train_from_iterator(iter(texts.DOCUMENTS), **options)
            else:
                tokenizer.train(str(path), **options)
            folder = tmp_path / module.__name__
            folder.mkdir(exist_ok=True)
            tokenizer.save_model(str(folder), "small")
            files = [str(folder / f"small-{name}") for name in ("vocab.json", "merges.txt")]
            again = module.ByteLevelBPETokenizer.from_file(*files, add_prefix_space=True)
            encoding = again.encode(texts.DOCUMENTS[0])
            found.append((json.loads(tokenizer.to_str()), repr(tokenizer), encoding.ids, encoding.offsets))
        assert found[0] == found[1]


def test_the_base_has_the_members_of_tokenizers():
    for name, member in vars(theirs.implementations.BaseTokenizer).items():
        if name.startswith("__"):
            continue
        mine = vars(implementations.BaseTokenizer)[name]
        assert type(mine) is type(member), name
        if inspect.isfunction(member):
            wanted, found = (list(inspect.signature(one).parameters.values()) for one in (member, mine))
            assert [(one.name, one.default) for one in found] == [(one.name, one.default) for one in wanted], name
            assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(member), name


async def awaited(name, arguments, options, t):
    return await getattr(t, name)(*arguments, **options)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_awaited_is_what_the_call_gives(seed, capfd):
    rng = random.Random(seed)
    judge, tokenizer = twins(rng)
    # cut: what overflows of a pair can be as much as the product of what overflows of each
    one, other = text(rng)[:8], text(rng)[:8]
    calls = [
        ("async_encode", (one, other), {}),
        ("async_encode", ([one],), {"is_pretokenized": True, "add_special_tokens": False}),
        ("async_encode", (3,), {}),
        ("async_encode_batch", ([one, (other, one)],), {}),
        ("async_encode_batch", ([3],), {}),
        ("async_encode_batch", (None,), {}),
        ("async_encode_batch_fast", ([one, (other, one)],), {"add_special_tokens": False}),
        ("async_decode_batch", ([[1, 0], [], [300]],), {"skip_special_tokens": False}),
        ("async_decode_batch", ([[-1]],), {}),
    ]
    for name, arguments, options in calls:
        asked = partial(awaited, name, arguments, options)
        if name == "async_encode":
            # tokenizers counts its offsets in bytes when it is awaited, and in characters when it is not
            expected = outcome(lambda: judge.encode(*arguments, **options), theirs)  # noqa: B023
        else:
            expected = outcome(lambda: asyncio.run(asked(judge)), theirs)  # noqa: B023
            # what a panic becomes in another thread
            expected = "ValueError" if expected == "RustPanic" else expected
        assert outcome(lambda: asyncio.run(asked(tokenizer)), ours) == expected, (name, arguments)  # noqa: B023


def test_a_call_in_the_background_keeps_what_was_set():
    tokenizer = ours.ByteLevelBPETokenizer(VOCAB, MERGES)._tokenizer

    async def run():
        tokenizer.enable_truncation(2)
        cut = [tokenizer.async_encode_batch(["the end of it all"] * 50) for _ in range(20)]
        tokenizer.no_truncation()
        return [encoding for encodings in await asyncio.gather(*cut) for encoding in encodings]

    assert {len(encoding) for encoding in asyncio.run(run())} == {2}
    with pytest.raises(RuntimeError):
        tokenizer.async_encode("a")
