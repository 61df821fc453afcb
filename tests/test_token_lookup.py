"""Look-ups in a Tokenizer: tokens, ids, the end of a text, and the mapping of the vocabulary."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tiktoken
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm.formats.tokenizer_json import FILE
from fastlm.pretokenize.patterns import find_pattern
from fastlm.text.byte_level import CHAR_OF_BYTE
from fastlm.vocabulary.vocabulary import AddedToken, Rules, vocabulary_from_tokens
from tests import texts

BYTES = {i: bytes([i]) for i in range(256)}


def test_every_token_is_found_by_its_bytes(trained):
    for token_id, token in trained.vocab.items():
        assert trained.token_to_id(token) == token_id
        assert trained.id_to_token(token_id) == token
        assert token in trained
        assert trained.id_to_token(np.uint16(token_id)) == token


@given(st.one_of(texts.strings(6), st.binary(max_size=6)))
def test_tokens_are_found_as_by_a_search(trained, token):
    spelled = token.encode("utf-8", "surrogatepass") if isinstance(token, str) else token
    expected = next((i for i, known in trained.vocab.items() if known == spelled), None)
    assert trained.token_to_id(token) == expected
    assert (token in trained) == (expected is not None)


@given(st.integers())
def test_ids_are_found_as_by_a_search(trained, token_id):
    assert trained.id_to_token(token_id) == trained.vocab.get(token_id)


def test_the_same_as_tiktoken(trained):
    special = trained.special_tokens
    ranks = {token: i for i, token in trained.vocab.items() if i not in special.values()}
    pattern = r"\S+|\s+"
    theirs = tiktoken.Encoding("test", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    assert trained.n_vocab == theirs.n_vocab
    assert trained.eot_token == theirs.eot_token
    for token in (*ranks, *special):
        assert trained.token_to_id(token) == theirs.encode_single_token(token)
    for token in ("no token", b"\xff\xff"):
        assert trained.token_to_id(token) is None
        with pytest.raises(KeyError):
            theirs.encode_single_token(token)


def test_the_same_as_tokenizers(trained, tmp_path):
    """Its tokens are spelled with a character for each byte, but for special tokens."""
    trained.save(tmp_path, ["tokenizer.json"])
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / FILE))
    assert len(trained) == trained.vocab_size == theirs.get_vocab_size()
    for token_id, token in trained.vocab.items():
        spelled = theirs.id_to_token(token_id)
        if spelled not in trained.special_tokens:
            assert "".join(CHAR_OF_BYTE[byte] for byte in token) == spelled
        assert theirs.token_to_id(spelled) == trained.token_to_id(token)
    assert trained.id_to_token(len(trained)) is theirs.id_to_token(len(trained)) is None


def test_unused_ids_and_tokens_with_equal_bytes():
    """The order of choice: a str means an added token, bytes an ordinary token, the lowest id first."""
    tokens = BYTES | {300: b"ab", 301: b"ab", 299: b"ab", 310: b"x<"}
    added = [AddedToken("ab", 299), AddedToken("x<", 310)]
    tokenizer = fastlm.Tokenizer.from_vocabulary(vocabulary_from_tokens(tokens, [], added, find_pattern("gpt2")))
    assert (tokenizer.token_to_id("ab"), tokenizer.token_to_id(b"ab")) == (299, 300)
    assert tokenizer.token_to_id("x<") == tokenizer.token_to_id(b"x<") == 310
    assert (tokenizer.n_vocab, len(tokenizer), tokenizer.vocab_size) == (311, 260, 260)
    assert tokenizer.id_to_token(298) is None
    assert 298 not in tokenizer.vocab


@pytest.mark.parametrize("wrong", [5, None, 1.5, ["a"], bytearray(b"a"), np.int64(5)])
def test_other_types_are_no_tokens(trained, wrong):
    with pytest.raises(TypeError, match=f"token must be a str or bytes, got {type(wrong).__name__}; ids are the keys"):
        trained.token_to_id(wrong)
    with pytest.raises(TypeError, match="token must be a str or bytes"):
        wrong in trained  # noqa: B015 - the error is tested


@pytest.mark.parametrize("wrong", ["5", None, 1.5, True, b"a"])
def test_other_types_are_no_ids(trained, wrong):
    with pytest.raises(TypeError, match=f"token_id must be an int, got {type(wrong).__name__}"):
        trained.id_to_token(wrong)


@pytest.mark.parametrize(
    ("special", "rules", "expected"),
    [
        (["<|endoftext|>"], Rules(), "<|endoftext|>"),
        (["<|im_end|>", "</s>", "<|end_of_text|>"], Rules(), "<|end_of_text|>"),
        (["</s>", "<|endoftext|>"], Rules(), "<|endoftext|>"),
        (["<|endoftext|>", "[EOS]"], Rules(begin=(256,), end=(256, 257)), "[EOS]"),
    ],
)
def test_the_token_that_ends_a_text(special, rules, expected):
    vocabulary = vocabulary_from_tokens(BYTES, [], special, find_pattern("gpt2"), rules)
    tokenizer = fastlm.Tokenizer.from_vocabulary(vocabulary)
    assert tokenizer.id_to_token(tokenizer.eot_token) == expected.encode()


def test_a_vocabulary_without_an_end_of_text_names_its_special_tokens():
    with pytest.raises(KeyError, match="no token that ends a text; its special tokens: '<a>', '<b>'"):
        _ = fastlm.Tokenizer(BYTES, [], ["<a>", "<b>"]).eot_token
    with pytest.raises(KeyError, match="its special tokens: none"):
        _ = fastlm.Tokenizer(BYTES, []).eot_token


def test_the_vocabulary_is_one_dict_that_refuses_changes(trained):
    vocab = trained.vocab
    assert trained.vocab is vocab
    assert isinstance(vocab, dict)
    before = dict(vocab)
    for change in (
        lambda: vocab.__setitem__(0, b""),
        lambda: vocab.__delitem__(0),
        lambda: vocab.clear(),
        lambda: vocab.pop(0),
        lambda: vocab.popitem(),
        lambda: vocab.setdefault(5000, b""),
        lambda: vocab.update({0: b""}),
    ):
        with pytest.raises(TypeError, match="read-only"):
            change()
    changed = vocab
    changed |= {0: b"changed"}
    assert changed[0] == b"changed"
    assert trained.vocab is vocab
    assert vocab == before


def test_copies_of_the_vocabulary_are_ordinary_dicts(trained):
    vocab = trained.vocab
    for copied in (dict(vocab), vocab.copy(), vocab | {}, copy.copy(vocab), copy.deepcopy(vocab)):
        assert type(copied) is dict
        assert copied == vocab
    spelled = pickle.dumps(vocab)
    assert type(pickle.loads(spelled)) is dict
    assert b"fastlm" not in spelled
    assert pickle.loads(spelled) == vocab


def test_a_tokenizer_is_true_and_not_iterable(trained):
    assert trained
    with pytest.raises(TypeError, match="not iterable"):
        iter(trained)


def test_tokenizer_config_tells_transformers_the_end_of_text(tmp_path):
    transformers = pytest.importorskip("transformers")
    for special, eos in ((["<|endoftext|>", "<|user|>"], "<|endoftext|>"), (["</s>"], "</s>"), (["<a>"], None)):
        tokenizer = fastlm.train_bpe(["the cat sat on the mat"], 262, special)
        folder = tmp_path / special[0].strip("<|>/")
        (path,) = tokenizer.save(folder, ["transformers"])
        assert path == folder / "tokenizer_config.json"
        assert json.loads(path.read_text())["eos_token"] == eos
        tokenizer.save(folder, ["tokenizer.json"])
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        assert theirs.eos_token == eos
        assert theirs.eos_token_id == (None if eos is None else tokenizer.eot_token)
        assert len(theirs) == len(tokenizer)
        assert theirs("the cat").input_ids == tokenizer.encode("the cat")


def test_the_command_writes_tokenizer_config(tmp_path):
    from fastlm import cli

    (tmp_path / "text").write_text("the cat sat on the mat")
    command = ["train-tokenizer", str(tmp_path / "text"), "--vocab-size", "262", "--out", str(tmp_path / "out")]
    assert cli.main(command) == 0
    content = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert content["eos_token"] == "<|endoftext|>"
    assert cli.main(command) == 0, "a tokenizer of fastlm is replaced"
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "tokenizer_config.json").write_text("{}")
    assert cli.main([*command[:-1], str(tmp_path / "foreign")]) == 1
    assert Path(tmp_path / "foreign" / "tokenizer_config.json").read_text() == "{}"
