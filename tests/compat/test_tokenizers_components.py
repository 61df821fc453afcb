"""Components, arguments and errors, held to tokenizers one expression at a time."""

import copy
import inspect
import json
import pickle
import warnings
from functools import partial

import numpy as np
import pytest

import fastlm.compat.tokenizers as ours
from tests.compat import tokenizers_twins
from tests.compat.tokenizers_twins import outcome

theirs = pytest.importorskip("tokenizers", reason="tokenizers judges what its face answers")

# some of the splits have no scanner
pytestmark = pytest.mark.filterwarnings("ignore:no scanner for the pattern")

VOCAB, MERGES = tokenizers_twins.TRAINED[300]
SUBMODULES = ("models", "pre_tokenizers", "normalizers", "decoders", "processors", "trainers")


def tokenizer(t):
    made = t.Tokenizer(t.models.BPE(VOCAB, MERGES))
    made.pre_tokenizer = t.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = t.decoders.ByteLevel()
    return made


def changed(made, **attributes):
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def after(made, *calls):
    """What a tokenizer, or another thing, is after calls of its methods."""
    for name, arguments, options in calls:
        getattr(made, name)(*arguments, **options)
    return made


def do(name, *arguments, **options):
    return name, arguments, options


def sequence_of_all(t):
    split = t.pre_tokenizers.Split(t.Regex("a+"), "isolated")
    return t.pre_tokenizers.Sequence([split, t.pre_tokenizers.Digits(True), t.pre_tokenizers.ByteLevel(False)])


def template(t, **options):
    return t.processors.TemplateProcessing(
        **{"single": "<a> $A", "pair": "<a> $A <b>:1 $B:1", "special_tokens": [("<a>", 1), (2, "<b>")], **options}
    )


COMPONENTS = [
    lambda t: t.models.BPE(VOCAB, MERGES),
    lambda t: t.models.BPE(),
    lambda t: t.models.BPE({"a": 0}, [], cache_capacity=5, fuse_unk=True, unk_token="a", ignore_merges=True),
    lambda t: t.models.BPE({"a": 0}, [], continuing_subword_prefix="", end_of_word_suffix=""),
    lambda t: t.models.Model(),
    lambda t: t.pre_tokenizers.ByteLevel(),
    lambda t: t.pre_tokenizers.ByteLevel(False, False, False),
    lambda t: t.pre_tokenizers.ByteLevel(use_regex=False, trim_offsets=False),
    lambda t: t.pre_tokenizers.Digits(),
    lambda t: t.pre_tokenizers.Digits(individual_digits=True),
    lambda t: t.pre_tokenizers.Split("a (", "isolated", invert=True),
    lambda t: t.pre_tokenizers.Split(pattern=t.Regex(r'\s+"'), behavior="isolated"),
    lambda t: t.pre_tokenizers.Split(t.Regex(tokenizers_twins.GPT4), "removed", True),
    sequence_of_all,
    lambda t: t.pre_tokenizers.Split("a", "merged_with_next", True),
    lambda t: t.pre_tokenizers.Split("", "removed"),
    lambda t: t.pre_tokenizers.Punctuation(),
    lambda t: t.pre_tokenizers.Punctuation(behavior="merged_with_previous"),
    lambda t: t.pre_tokenizers.Whitespace(),
    lambda t: t.pre_tokenizers.WhitespaceSplit(),
    lambda t: t.pre_tokenizers.BertPreTokenizer(),
    lambda t: t.pre_tokenizers.CharDelimiterSplit('"'),
    lambda t: t.pre_tokenizers.FixedLength(),
    lambda t: t.pre_tokenizers.FixedLength(length=3),
    lambda t: t.pre_tokenizers.Metaspace(),
    lambda t: t.pre_tokenizers.Metaspace("_", "first", split=False),
    lambda t: t.pre_tokenizers.Sequence([t.pre_tokenizers.Punctuation("contiguous"), t.pre_tokenizers.ByteLevel()]),
    lambda t: t.normalizers.NFC(),
    lambda t: t.normalizers.Sequence([t.normalizers.NFC(), t.normalizers.Sequence([])]),
    lambda t: t.normalizers.unicode_normalizer_from_str("nfc"),
    lambda t: t.normalizers.unicode_normalizer_from_str("nfkd"),
    lambda t: t.normalizers.NFD(),
    lambda t: t.normalizers.NFKC(),
    lambda t: t.normalizers.Lowercase(),
    lambda t: t.normalizers.StripAccents(),
    lambda t: t.normalizers.Nmt(),
    lambda t: t.normalizers.ByteLevel(),
    lambda t: t.normalizers.Strip(),
    lambda t: t.normalizers.Strip(left=False, right=False),
    lambda t: t.normalizers.Prepend("▁"),
    lambda t: t.normalizers.Replace('a"', "b"),
    lambda t: t.normalizers.Replace(t.Regex(r"\s+"), content=""),
    lambda t: t.normalizers.Sequence([t.normalizers.NFKC(), t.normalizers.Strip(), t.normalizers.Prepend("x")]),
    lambda t: t.decoders.ByteLevel(),
    lambda t: t.decoders.Sequence([t.decoders.ByteLevel()]),
    lambda t: t.processors.ByteLevel(),
    lambda t: t.processors.ByteLevel(trim_offsets=False, add_prefix_space=False),
    lambda t: t.processors.RobertaProcessing(("<b>", 2), ("<a>", 1), add_prefix_space=False),
    lambda t: t.processors.BertProcessing(("<b>", 2), ("<a>", 1)),
    template,
    lambda t: t.processors.TemplateProcessing(),
    lambda t: template(t, single=["<a>:3", "$1", "$"], pair="$a $B:4 <x>", special_tokens=[("<a>", 1), SPECIAL]),
    lambda t: t.processors.Sequence([t.processors.ByteLevel(), template(t)]),
]
SPECIAL = {"id": "<x>", "ids": [1, 2], "tokens": ["p", "q"]}


@pytest.mark.parametrize("number", range(len(COMPONENTS)))
def test_components_are_written_as_by_tokenizers(number):
    expected, found = COMPONENTS[number](theirs), COMPONENTS[number](ours)
    assert repr(found) == repr(expected)
    assert str(found) == str(expected)
    assert found.__getstate__() == expected.__getstate__()
    for again in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found), copy.copy(found)):
        assert type(again) is type(found)
        assert again.__getstate__() == expected.__getstate__()
    revived = COMPONENTS[number](ours)
    revived.__setstate__(found.__getstate__())
    assert repr(revived) == repr(expected)
    options = {name for name in dir(expected) if inspect.isgetsetdescriptor(getattr(type(expected), name, None))}
    for option in options - {"cls", "dropout"}:
        answers = [outcome(partial(getattr, made, option), t) for made, t in ((found, ours), (expected, theirs))]
        assert answers[0] == answers[1]


BAD = [None, 1, -1, 2**64, 1.5, "x", b"x", [], [1], ["a"], {}, {"a": 1}, (), ("a",), ("a", 1), True, "\ud800", object()]
TAKING = [
    lambda t, bad: t.models.BPE(bad, []),
    lambda t, bad: t.models.BPE({"a": 0, "ab": 1, "b": 2}, bad),
    lambda t, bad: t.models.BPE({"a": bad}, []),
    lambda t, bad: t.models.BPE({}, [], unk_token=bad),
    lambda t, bad: t.models.BPE({}, [], ignore_merges=bad),
    lambda t, bad: t.models.BPE(VOCAB, MERGES).token_to_id(bad),
    lambda t, bad: t.models.BPE(VOCAB, MERGES).id_to_token(bad),
    lambda t, bad: t.pre_tokenizers.ByteLevel(add_prefix_space=bad),
    lambda t, bad: t.pre_tokenizers.Digits(bad),
    lambda t, bad: t.pre_tokenizers.Split(bad, "isolated"),
    lambda t, bad: t.pre_tokenizers.Split("a", bad),
    lambda t, bad: t.pre_tokenizers.Split("a", "isolated", bad),
    lambda t, bad: changed(t.pre_tokenizers.Split("a", "isolated"), behavior=bad),
    lambda t, bad: t.pre_tokenizers.Punctuation(bad),
    lambda t, bad: changed(t.pre_tokenizers.Punctuation(), behavior=bad),
    lambda t, bad: t.pre_tokenizers.CharDelimiterSplit(bad),
    lambda t, bad: changed(t.pre_tokenizers.CharDelimiterSplit("a"), delimiter=bad),
    lambda t, bad: t.pre_tokenizers.FixedLength(bad),
    lambda t, bad: changed(t.pre_tokenizers.FixedLength(), length=bad),
    lambda t, bad: t.pre_tokenizers.Metaspace(bad),
    lambda t, bad: t.pre_tokenizers.Metaspace(prepend_scheme=bad),
    lambda t, bad: changed(t.pre_tokenizers.Metaspace(), split=bad),
    lambda t, bad: changed(t.pre_tokenizers.Metaspace(), replacement=bad),
    lambda t, bad: changed(t.pre_tokenizers.Metaspace(), prepend_scheme=bad),
    lambda t, bad: t.pre_tokenizers.Whitespace(bad),
    lambda t, bad: t.pre_tokenizers.Whitespace().pre_tokenize_str(bad),
    lambda t, bad: t.pre_tokenizers.Sequence(bad),
    lambda t, bad: t.pre_tokenizers.Sequence([bad]),
    lambda t, bad: t.normalizers.Sequence(bad),
    lambda t, bad: t.normalizers.NFC().normalize_str(bad),
    lambda t, bad: t.normalizers.Lowercase(bad),
    lambda t, bad: t.normalizers.Strip(bad),
    lambda t, bad: changed(t.normalizers.Strip(), left=bad),
    lambda t, bad: changed(t.normalizers.Strip(), right=bad),
    lambda t, bad: t.normalizers.Prepend(bad),
    lambda t, bad: changed(t.normalizers.Prepend("a"), prepend=bad),
    lambda t, bad: t.normalizers.Replace(bad, "a"),
    lambda t, bad: t.normalizers.Replace("a", bad),
    lambda t, bad: changed(t.normalizers.Replace("a", "b"), content=bad),
    lambda t, bad: changed(t.normalizers.Replace("a", "b"), pattern=bad),
    lambda t, bad: t.decoders.Sequence(bad),
    lambda t, bad: t.decoders.ByteLevel().decode(bad),
    lambda t, bad: t.processors.Sequence(bad),
    lambda t, bad: t.processors.TemplateProcessing(single=bad),
    lambda t, bad: t.processors.TemplateProcessing(pair=bad),
    lambda t, bad: t.processors.TemplateProcessing(special_tokens=bad),
    lambda t, bad: t.processors.TemplateProcessing(special_tokens=[bad]),
    lambda t, bad: t.processors.RobertaProcessing(bad, ("a", 1)),
    lambda t, bad: t.processors.BertProcessing(("a", 1), bad),
    lambda t, bad: t.processors.ByteLevel(trim_offsets=bad),
    lambda t, bad: t.AddedToken(bad),
    lambda t, bad: t.AddedToken("a", lstrip=bad),
    lambda t, bad: t.Tokenizer(bad),
    lambda t, bad: changed(tokenizer(t), model=bad),
    lambda t, bad: changed(tokenizer(t), normalizer=bad).normalizer,
    lambda t, bad: changed(tokenizer(t), pre_tokenizer=bad).pre_tokenizer,
    lambda t, bad: changed(tokenizer(t), post_processor=bad).post_processor,
    lambda t, bad: changed(tokenizer(t), decoder=bad).decoder,
    lambda t, bad: changed(tokenizer(t), encode_special_tokens=bad).encode_special_tokens,
    lambda t, bad: tokenizer(t).add_tokens(bad),
    lambda t, bad: tokenizer(t).add_tokens([bad]),
    lambda t, bad: tokenizer(t).add_special_tokens(bad),
    lambda t, bad: tokenizer(t).token_to_id(bad),
    lambda t, bad: tokenizer(t).id_to_token(bad),
    lambda t, bad: tokenizer(t).get_vocab_size(bad),
    lambda t, bad: tokenizer(t).decode(bad),
    lambda t, bad: tokenizer(t).decode([5, bad]),
    lambda t, bad: tokenizer(t).decode([5], bad),
    lambda t, bad: tokenizer(t).decode_batch(bad),
    lambda t, bad: tokenizer(t).encode(bad),
    lambda t, bad: tokenizer(t).encode("a b", bad),
    lambda t, bad: tokenizer(t).encode(bad, is_pretokenized=True),
    lambda t, bad: tokenizer(t).encode("a b", is_pretokenized=bad),
    lambda t, bad: tokenizer(t).encode_batch(bad),
    lambda t, bad: tokenizer(t).encode_batch([bad]),
    lambda t, bad: tokenizer(t).encode_batch([("a", bad)]),
    lambda t, bad: tokenizer(t).encode_batch([bad], is_pretokenized=True),
    lambda t, bad: after(tokenizer(t), do("enable_truncation", bad)).truncation,
    lambda t, bad: after(tokenizer(t), do("enable_truncation", 5, stride=bad)).truncation,
    lambda t, bad: after(tokenizer(t), do("enable_truncation", 5, strategy=bad)).truncation,
    lambda t, bad: after(tokenizer(t), do("enable_truncation", 5, direction=bad)).truncation,
    lambda t, bad: after(tokenizer(t), do("enable_padding", pad_id=bad)).padding,
    lambda t, bad: after(tokenizer(t), do("enable_padding", pad_token=bad)).padding,
    lambda t, bad: after(tokenizer(t), do("enable_padding", length=bad)).padding,
    lambda t, bad: after(tokenizer(t), do("enable_padding", direction=bad)).padding,
    lambda t, bad: after(tokenizer(t), do("enable_padding", pad_to_multiple_of=bad)).padding,
    lambda t, bad: tokenizer(t).num_special_tokens_to_add(bad),
    lambda t, bad: tokenizer(t).post_process(bad),
    lambda t, bad: t.Tokenizer.from_str(bad),
    lambda t, bad: t.Tokenizer.from_file(bad),
    lambda t, bad: t.Tokenizer.from_buffer(bad),
    lambda t, bad: tokenizer(t).save(bad) if not isinstance(bad, str) else None,
    lambda t, bad: t.Encoding.merge(bad),
    lambda t, bad: t.Encoding.merge([bad]),
    lambda t, bad: tokenizer(t).encode("a b").char_to_token(bad),
    lambda t, bad: tokenizer(t).encode("a b").token_to_chars(bad),
    lambda t, bad: tokenizer(t).encode("a b").word_to_tokens(bad),
    lambda t, bad: after(tokenizer(t).encode("a b"), do("pad", bad)),
    lambda t, bad: after(tokenizer(t).encode("a b"), do("pad", 5, direction=bad)),
    lambda t, bad: after(tokenizer(t).encode("a b"), do("truncate", bad)),
    lambda t, bad: after(tokenizer(t).encode("a b"), do("truncate", 2, bad)),
    lambda t, bad: after(tokenizer(t).encode("a b"), do("set_sequence_id", bad)),
    lambda t, bad: t.decoders.DecodeStream().step(tokenizer(t), bad),
    lambda t, bad: t.decoders.DecodeStream(bad).step(tokenizer(t), 5),
    lambda t, bad: t.trainers.BpeTrainer(vocab_size=bad).vocab_size,
    lambda t, bad: t.trainers.BpeTrainer(special_tokens=bad).special_tokens,
    lambda t, bad: t.trainers.BpeTrainer(limit_alphabet=bad).limit_alphabet if bad is not None else None,
    lambda t, bad: t.trainers.BpeTrainer(initial_alphabet=bad).initial_alphabet,
    lambda t, bad: tokenizer(t).train_from_iterator(["a"], bad) if bad is not None else None,
]


def comparable(value):
    """What is left of a value when the module it is of is forgotten."""
    if isinstance(value, theirs.Encoding | ours.Encoding):
        return value
    if type(value).__module__.startswith(("fastlm", "tokenizers", "builtins")) and hasattr(value, "__getstate__"):
        return repr(value) if not isinstance(value, str | int | float | list | dict | tuple | None) else value
    return value


@pytest.mark.parametrize("number", range(len(TAKING)))
def test_bad_arguments_are_refused_as_by_tokenizers(number, capfd):
    taking = TAKING[number]
    for bad in BAD:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected, found = (outcome(lambda t=t, bad=bad: comparable(taking(t, bad)), t) for t in (theirs, ours))
        assert found == expected or found == "NotImplementedError", (bad, found, expected)


CALLS = [
    lambda t: t.pre_tokenizers.ByteLevel().pre_tokenize_str("hello wörld 12"),
    lambda t: t.pre_tokenizers.ByteLevel(False).pre_tokenize_str(" a  b"),
    lambda t: sequence_of_all(t).pre_tokenize_str("caa12 b"),
    lambda t: [repr(step) for step in sequence_of_all(t)],
    lambda t: sequence_of_all(t)[3],
    lambda t: sequence_of_all(t)[-1],
    lambda t: len(t.normalizers.Sequence([t.normalizers.NFC()])),
    lambda t: sorted(t.pre_tokenizers.ByteLevel.alphabet()),
    lambda t: t.normalizers.Sequence([t.normalizers.NFC()]).normalize_str("e\u0301"),
    lambda t: t.normalizers.Sequence([]).normalize_str("e\u0301"),
    lambda t: t.normalizers.Sequence([t.normalizers.NFD(), t.normalizers.StripAccents()]).normalize_str("ÄÖ É"),
    lambda t: t.normalizers.Strip(right=False).normalize_str(" \u3000a "),
    lambda t: t.normalizers.Prepend("▁").normalize_str(""),
    lambda t: t.normalizers.Replace(" ", "▁").normalize_str(" a  b"),
    lambda t: t.normalizers.Replace(t.Regex("("), "▁"),
    lambda t: t.normalizers.ByteLevel().normalize_str("é\n"),
    lambda t: t.normalizers.Nmt().normalize_str("a\x00\x01\u200b"),
    lambda t: t.decoders.ByteLevel().decode(["Ġa", "é", "日", "Ã", "©"]),
    lambda t: t.decoders.Sequence([t.decoders.ByteLevel(), t.decoders.ByteLevel()]).decode(["Ġa", "é", "日"]),
    lambda t: t.decoders.Sequence([]).decode(["a", "b"]),
    lambda t: t.pre_tokenizers.Split(t.Regex("("), "isolated"),
    lambda t: t.Encoding().__getstate__(),
    lambda t: t.Encoding.merge([tokenizer(t).encode("a b"), tokenizer(t).encode("the")]),
    lambda t: t.Encoding.merge([tokenizer(t).encode("a b"), tokenizer(t).encode("the")], growing_offsets=False),
    lambda t: after(tokenizer(t).encode("a b c"), do("pad", 8), do("pad", 9, direction="left", pad_id=7)),
    lambda t: after(tokenizer(t).encode("the a b c"), do("truncate", 4, stride=1), do("truncate", 0)),
    lambda t: after(tokenizer(t).encode("the a b c"), do("truncate", 4, 3, "left"), do("pad", 5)),
    lambda t: after(tokenizer(t).encode("the a b c"), do("truncate", 2, 2)),
    lambda t: after(tokenizer(t).encode("the a"), do("set_sequence_id", 2)),
    lambda t: after(tokenizer(t).encode("the a"), do("set_sequence_id", 2)).sequence_ids,
    lambda t: after(tokenizer(t).encode("the a"), do("set_sequence_id", 1)).char_to_token(1, 1),
    lambda t: [len(tokenizer(t).encode("the a")), tokenizer(t).encode("the a").n_sequences],
    lambda t: repr(tokenizer(t).encode("the a")),
    lambda t: template(t).process(tokenizer(t).encode("a b"), tokenizer(t).encode("the")),
    lambda t: template(t).process(tokenizer(t).encode("a b"), add_special_tokens=False),
    lambda t: template(t, single="$A $B").process(tokenizer(t).encode("a b")),
    lambda t: [template(t).num_special_tokens_to_add(pair) for pair in (True, False)],
    lambda t: t.processors.Sequence([template(t), template(t)]).process(tokenizer(t).encode("a b")),
    lambda t: changed(tokenizer(t), decoder=None).decode([65, 66, 290]),
    lambda t: tokenizer(t).encode(np.str_("ab")),
    lambda t: tokenizer(t).encode_batch(np.array(["a", "b"])),
    lambda t: tokenizer(t).decode(np.array([65, 66], np.uint32)),
    lambda t: tokenizer(t).decode(np.array([65.0])),
    lambda t: tokenizer(t).decode([True, 66]),
    lambda t: tokenizer(t).decode([10**6, 66]),
    lambda t: tokenizer(t).decode_batch(np.array([[65, 66]])),
    lambda t: changed(tokenizer(t), foo=1),
    lambda t: after(tokenizer(t), do("enable_truncation", 3), do("no_truncation")).truncation,
    lambda t: after(tokenizer(t), do("enable_padding", length=4), do("no_padding")).padding,
    lambda t: changed(after(tokenizer(t), do("enable_truncation", 3)), post_processor=template(t)).encode("the a b c"),
    lambda t: after(changed(tokenizer(t), post_processor=template(t)), do("enable_truncation", 3, stride=3)),
    lambda t: after(changed(tokenizer(t), post_processor=template(t)), do("enable_truncation", 0)).encode("the a"),
    lambda t: repr(tokenizer(t)),
    lambda t: str(tokenizer(t)),
    lambda t: t.Tokenizer.from_file("no/such/file"),
    lambda t: tokenizer(t).save("no/such/directory/file"),
    lambda t: t.models.BPE.from_file("no", "file"),
    lambda t: t.models.BPE({"a": 0, "b": 1}, [("a", "b")]),
    lambda t: t.models.BPE({"a": 0}, [("a", "b")]),
    lambda t: t.models.BPE({"a": 0}, None),
    lambda t: t.models.BPE({"a": 0, "b": 1, "ab": 2, "ba": 3}, [("a", "b"), ("b", "a"), ("a", "b")]).__getstate__(),
    lambda t: changed(t.pre_tokenizers.ByteLevel(), add_prefix_space=1),
    lambda t: changed(t.pre_tokenizers.ByteLevel(), add_prefix_space=False).add_prefix_space,
    lambda t: changed(t.models.BPE(), ignore_merges=True).ignore_merges,
    lambda t: changed(t.models.BPE(), foo=True),
    lambda t: [t.AddedToken("a") == t.AddedToken("a", lstrip=True), t.AddedToken("a") == "a", str(t.AddedToken("a"))],
    lambda t: [
        repr(t.AddedToken("a", special=True)),
        repr(t.AddedToken()),
        repr(t.AddedToken(content="<>", rstrip=True)),
    ],
    lambda t: t.AddedToken("a", True),
    lambda t: pickle.loads(pickle.dumps(t.AddedToken("a", normalized=False))).__getstate__(),
    lambda t: (
        [e.name for e in t.SplitDelimiterBehavior] + [t.OffsetType.BYTE.value, t.OffsetReferential.ORIGINAL.value]
    ),
    lambda t: t.trainers.BpeTrainer(vocab_size=300, special_tokens=["<a>", t.AddedToken("<b>")]).special_tokens,
    lambda t: sorted(t.trainers.BpeTrainer(initial_alphabet=["a", "bc", ""]).initial_alphabet),
    lambda t: t.trainers.BpeTrainer(300),
]


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_calls_answer_as_by_tokenizers(number, capfd):
    expected = outcome(lambda: comparable(CALLS[number](theirs)), theirs)
    assert outcome(lambda: comparable(CALLS[number](ours)), ours) == expected


def test_components_that_are_changed_take_effect():
    results = []
    for t in (theirs, ours):
        made = tokenizer(t)
        found = [made.encode("hello the").tokens]
        made.pre_tokenizer.add_prefix_space = True
        found.append(made.encode("hello the").tokens)
        made.normalizer = t.normalizers.NFC()
        found.append(made.encode("e\u0301").tokens)
        made.normalizer = t.normalizers.Sequence([t.normalizers.Prepend("x"), t.normalizers.Replace("e", "é")])
        found.append(made.encode("the the").tokens)
        made.normalizer[0].prepend = "yy"
        made.normalizer[1].content = "z"
        found.append([made.encode("the the").tokens, made.encode("the the").offsets])
        made.add_special_tokens(["hello"])
        found.append(made.encode("hello the").tokens)
        made.encode_special_tokens = True
        found.append(made.encode("hello the").tokens)
        made.model.ignore_merges = True
        found.append(made.encode("hello the").tokens)
        made.model = t.models.BPE({"h": 0}, [])
        found.append([made.encode("hello the").tokens, made.get_vocab_size()])
        results.append(found)
    assert results[0] == results[1]


def test_added_tokens_are_numbered_as_by_tokenizers():
    results = []
    for t in (theirs, ours):
        made = t.Tokenizer(t.models.BPE({"a": 0, "b": 5}, []))
        made.pre_tokenizer = t.pre_tokenizers.ByteLevel(add_prefix_space=False)
        found = [made.add_tokens(["q", "w", "q", ""]), made.add_special_tokens(["q", "a", t.AddedToken("z")])]
        found += [made.add_tokens([t.AddedToken("q", lstrip=True)]), made.get_vocab(), made.get_vocab_size()]
        found += [{token_id: repr(token) for token_id, token in made.get_added_tokens_decoder().items()}]
        found += [made.decode([2, 0, 5]), made.encode("a q b w").tokens, made.to_str()]
        results.append(found)
    assert results[0] == results[1]


def test_added_tokens_are_named_as_the_normalizer_has_them():
    results = []
    for t in (theirs, ours):
        made, found = tokenizer(t), []
        names = ["\u1100\u1161", "e\u0301"]
        made.add_tokens([t.AddedToken(names[0]), t.AddedToken(names[1], normalized=False, special=True)])
        made.add_special_tokens([t.AddedToken("a\u0301", normalized=True)])
        ids = [made.token_to_id(name) for name in [*names, "a\u0301"]]
        for normalizer in (None, t.normalizers.NFC(), t.normalizers.NFD(), t.normalizers.Prepend("x"), None):
            made.normalizer = normalizer
            found += [made.id_to_token(token_id) for token_id in ids] + [made.encode("".join(names)).tokens]
            found += [made.decode(ids, skip) for skip in (True, False)] + [made.to_str(), made.get_vocab()]
        results.append(found)
    assert results[0] == results[1]


def test_streams_decode_as_by_tokenizers():
    ids = tokenizer(ours).encode("a 😀 b \u0301中文 the").ids
    results = []
    for t in (theirs, ours):
        made = tokenizer(t)
        stream = t.decoders.DecodeStream()
        found = [stream.step(made, token_id) for token_id in [*ids, 10**6, 195, 65]]
        found.append([t.decoders.DecodeStream(ids=ids[:3]).step(made, ids[3:]), stream.step(made, [65, 66])])
        results.append(found)
    assert results[0] == results[1]


def test_models_are_written_and_read_as_by_tokenizers(tmp_path):
    for prefix in (None, "x"):
        for t, folder in ((theirs, tmp_path / "theirs"), (ours, tmp_path / "ours")):
            folder.mkdir(exist_ok=True)
            files = t.models.BPE(VOCAB, MERGES).save(str(folder), prefix)
            assert [len(files), *map(str, sorted(folder.iterdir()))] == [2, *sorted(map(str, folder.iterdir()))]
            again = ours.models.BPE(*files)
            assert again.__getstate__() == theirs.models.BPE.from_file(*files).__getstate__()
            assert ours.models.BPE.read_file(*files) == theirs.models.BPE.read_file(*files)
    for path in (tmp_path / "ours").iterdir():
        assert path.read_text() == (tmp_path / "theirs" / path.name).read_text()


def json_of(**changes):
    return {**json.loads(tokenizer(ours).to_str()), **changes}


def json_of_model(**changes):
    content = json_of()
    content["model"] = {**content["model"], **changes}
    return content


TOKEN = {"id": 5, "content": "<x>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
BYTES = {"add_prefix_space": True, "trim_offsets": True}
PAD = {"direction": "Left", "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
FILES = [
    json_of(),
    json_of(version="2.0"),
    json_of(version=None),
    json_of(foo=1),
    {name: value for name, value in json_of().items() if name in ("version", "model")},
    {name: value for name, value in json_of().items() if name != "version"},
    {name: value for name, value in json_of().items() if name != "model"},
    json_of(truncation={"max_length": 3}),
    json_of(truncation={"max_length": 3, "strategy": "LongestFirst", "stride": 0}),
    json_of(truncation={"max_length": 3, "strategy": "OnlyFirst", "stride": 3, "direction": "Left"}),
    json_of(truncation={"max_length": -3, "strategy": "OnlyFirst", "stride": 3, "direction": "Left"}),
    json_of(padding={"strategy": "BatchLongest", **PAD, "pad_to_multiple_of": 8}),
    json_of(padding={"strategy": {"Fixed": 3}, **PAD}),
    json_of(padding={"strategy": "BatchLongest"}),
    json_of(added_tokens=None),
    json_of(added_tokens=[TOKEN]),
    json_of(added_tokens=[{**TOKEN, "special": True}]),
    json_of(added_tokens=[{**TOKEN, "special": False, "content": "the"}, {**TOKEN, "special": True, "id": 1}]),
    json_of(added_tokens=[{"content": "<x>", "special": True}]),
    json_of(pre_tokenizer={"type": "ByteLevel"}),
    json_of(pre_tokenizer={"type": "ByteLevel", **BYTES}),
    json_of(pre_tokenizer={"type": "Nothing"}),
    json_of(pre_tokenizer={"type": "Punctuation"}),
    json_of(pre_tokenizer={"type": "Punctuation", "behavior": "Contiguous"}),
    json_of(pre_tokenizer={"type": "Punctuation", "behavior": "contiguous"}),
    json_of(pre_tokenizer={"type": "Whitespace", "foo": 1}),
    json_of(pre_tokenizer={"type": "WhitespaceSplit"}),
    json_of(pre_tokenizer={"type": "BertPreTokenizer"}),
    json_of(pre_tokenizer={"type": "CharDelimiterSplit", "delimiter": "-"}),
    json_of(pre_tokenizer={"type": "CharDelimiterSplit", "delimiter": "--"}),
    json_of(pre_tokenizer={"type": "FixedLength"}),
    json_of(pre_tokenizer={"type": "FixedLength", "length": 2}),
    json_of(pre_tokenizer={"type": "FixedLength", "length": -2}),
    json_of(pre_tokenizer={"type": "Metaspace", "replacement": "_"}),
    json_of(pre_tokenizer={"type": "Metaspace", "replacement": "__"}),
    json_of(pre_tokenizer={"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": False}),
    json_of(pre_tokenizer={"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"}),
    json_of(pre_tokenizer={"type": "Metaspace", "replacement": "_", "add_prefix_space": True}),
    json_of(pre_tokenizer={"type": "Metaspace", "replacement": "_", "add_prefix_space": False}),
    json_of(
        pre_tokenizer={"type": "Metaspace", "replacement": "_", "add_prefix_space": True, "prepend_scheme": "first"}
    ),
    json_of(pre_tokenizer=None),
    json_of(pre_tokenizer={"type": "Digits"}),
    json_of(pre_tokenizer={"type": "Split", "pattern": {"Regex": "a"}, "behavior": "isolated", "invert": False}),
    json_of(pre_tokenizer={"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Isolated"}),
    json_of(pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", **BYTES}]}),
    json_of(post_processor={"type": "ByteLevel"}),
    json_of(post_processor={"type": "RobertaProcessing", "sep": ["a", 1], "cls": ["b", 2], **BYTES}),
    json_of(post_processor=json.loads(template(ours).__getstate__())),
    json_of(decoder={"type": "ByteLevel", **BYTES}),
    json_of(decoder={"type": "ByteLevel"}),
    json_of(decoder=None),
    json_of(normalizer={"type": "Sequence", "normalizers": []}),
    json_of(normalizer={"normalizers": [{"type": "NFKC"}]}),
    json_of(normalizer={"strip_left": True, "strip_right": False}),
    json_of(normalizer={"type": "Strip", "strip_left": True}),
    json_of(normalizer={"prepend": "a"}),
    json_of(normalizer={"type": "Prepend", "prepend": 1}),
    json_of(normalizer={"pattern": {"String": "a"}, "content": "b"}),
    json_of(normalizer={"type": "Replace", "pattern": {"Regex": "("}, "content": "b"}),
    json_of(normalizer={"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"}),
    json_of(normalizer={"type": "Replace", "pattern": "a", "content": "b"}),
    json_of(normalizer={"type": "lowercase"}),
    json_of(normalizer={"type": "Lowercase", "foo": 1}),
    json_of(normalizer={"type": "ByteLevel"}),
    json_of(normalizer=[]),
    json_of_model(merges=["h e"]) if ("h", "e") in MERGES else json_of_model(merges=[]),
    json_of_model(merges=["#version: 0.2", " ".join(MERGES[0])]),
    json_of_model(merges=[" ".join(MERGES[0]), list(MERGES[1])]),
    json_of_model(merges=[list(MERGES[0]), " ".join(MERGES[1])]),
    json_of_model(merges=["a  b"]),
    json_of_model(merges=[["a"]]),
    json_of_model(merges=[["a", "\u4e2d"]]),
    json_of_model(type="Nothing"),
    json_of_model(type=None),
    json_of_model(vocab={"a": 2**32}, merges=[]),
    json_of_model(vocab={"a": -1}, merges=[]),
    json_of_model(vocab=None),
    json_of_model(foo=3, cache_capacity=4),
    json_of_model(ignore_merges=None),
    json_of(model={"vocab": {"a": 0}, "merges": []}),
    json_of(model={"type": "BPE", "vocab": {"a": 0}}),
]


@pytest.mark.parametrize("number", range(len(FILES)))
def test_files_are_read_as_by_tokenizers(number):
    text = json.dumps(FILES[number])
    expected = outcome(lambda: theirs.Tokenizer.from_str(text).to_str(), theirs)
    assert outcome(lambda: ours.Tokenizer.from_str(text).to_str(), ours) == expected


@pytest.mark.parametrize("text", ["", "x", "[]", "{", "1", '{"model": 3}', "[" * 100_000, '{"model": {}}', "\ufeff{}"])
def test_what_is_no_tokenizer_is_refused(text):
    for read in (lambda: ours.Tokenizer.from_str(text), lambda: ours.Tokenizer.from_buffer(text.encode())):
        with pytest.raises(ValueError, match=r"."):
            read()


def model_of_characters(t):
    """A model with tokens that spell no bytes."""
    return t.models.BPE({"▁": 0, "a": 1}, [])


def is_refused(cls):
    return "raises NotImplementedError" in (cls.__doc__ or "")


def test_what_is_not_byte_level_is_refused_by_name():
    refused = []
    for module in ("", *SUBMODULES):
        found = getattr(ours, module) if module else ours
        for name, cls in vars(found).items():
            if inspect.isclass(cls) and is_refused(cls):
                refused.append(name)
                with pytest.raises(NotImplementedError, match=name):
                    cls()
    assert len(refused) >= 24
    for bad in (
        lambda: ours.models.BPE({}, [], dropout=0.1),
        lambda: changed(tokenizer(ours), model=ours.models.BPE({"a": 0}, [], byte_fallback=True)).encode("a"),
        lambda: ours.models.BPE({}, [], end_of_word_suffix="</w>"),
        lambda: ours.models.BPE({"a": 0, "b": 0}, []),
        lambda: ours.pre_tokenizers.FixedLength(0),
        lambda: ours.Tokenizer(ours.models.BPE({"日": 0}, [])).encode("a"),
        lambda: ours.Tokenizer(ours.models.BPE(VOCAB, MERGES, unk_token="a")).encode("a"),
        lambda: changed(
            tokenizer(ours), pre_tokenizer=ours.pre_tokenizers.Digits(), model=model_of_characters(ours)
        ).encode("a"),
        lambda: ours.Tokenizer.from_str(json.dumps(json_of(normalizer={"type": "Precompiled"}))),
        lambda: ours.Tokenizer.from_str(json.dumps(json_of_model(type="WordPiece"))),
        lambda: ours.ByteLevelBPETokenizer(VOCAB, MERGES, dropout=0.1),
    ):
        with pytest.raises(NotImplementedError):
            bad()
