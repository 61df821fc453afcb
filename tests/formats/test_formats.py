"""Files: what is written is read back, by us and by others; what is damaged is refused with its place."""

import contextlib
import errno
import hashlib
import json
import os
import random

import pytest

import fastlm
from fastlm.files.atomic import replacing, write_files
from fastlm.formats import gpt2, native, tokenizer_json
from fastlm.pretokenize.patterns import PATTERNS
from tests import texts

TEXT = "\n".join(texts.DOCUMENTS) + "<|user|>"


@pytest.fixture
def saved(trained, tmp_path):
    trained.save(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def test_each_format_gives_back_the_tokenizer(trained, saved):
    assert sorted(os.listdir(saved)) == ["merges.txt", "tokenizer.fastlm", "tokenizer.json", "vocab.json"]
    special = list(trained.special_tokens)
    for name, loaded in {
        "directory": fastlm.load(saved),
        "native": fastlm.load(saved / native.FILE),
        "Hugging Face": fastlm.load(saved / tokenizer_json.FILE),
        "GPT-2": fastlm.load(saved / gpt2.VOCAB, pattern="gpt2", special_tokens=special),
        "from_files": fastlm.Tokenizer.from_files(saved / gpt2.VOCAB, saved / gpt2.MERGES, special),
    }.items():
        assert loaded.vocabulary.fingerprint == trained.vocabulary.fingerprint, name
        assert loaded.encode(TEXT) == trained.encode(TEXT), name


def test_a_directory_falls_back_from_format_to_format(trained, saved):
    for name in (native.FILE, tokenizer_json.FILE):
        os.remove(saved / name)
        loaded = fastlm.load(saved, **({} if name == native.FILE else {"pattern": "gpt2"}))
        assert loaded.merges == trained.merges
    with pytest.raises(ValueError, match="does not say how text is split: give pattern="):
        fastlm.load(saved)
    os.remove(saved / gpt2.VOCAB)
    with pytest.raises(FileNotFoundError, match="holds none of"):
        fastlm.load(saved)


def test_pattern_and_special_tokens_only_where_the_file_has_none(saved):
    for option in ({"pattern": "gpt2"}, {"special_tokens": ["<s>"]}):
        with pytest.raises(ValueError, match="holds pattern and special tokens itself"):
            fastlm.load(saved, **option)


def test_hugging_face_reads_it_with_the_same_ids(trained, saved):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers judges its own format")
    theirs = tokenizers.Tokenizer.from_file(str(saved / tokenizer_json.FILE))
    assert theirs.encode(TEXT).ids == trained.encode(TEXT)
    assert theirs.decode(trained.encode(TEXT), skip_special_tokens=False) == TEXT
    rng = random.Random(4)
    strings = [texts.random_string(rng) for _ in range(2000)]
    for text, theirs_of_it in zip(strings, theirs.encode_batch(strings), strict=True):
        assert theirs_of_it.ids == trained.encode(text), text


def test_a_pattern_of_ones_own_is_kept(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers judges its own format")
    pattern = r"[a-z]+|\d{1,2}| ?[^\sa-z\d]+|\s+"
    with pytest.warns(UserWarning, match="no scanner"):
        tokenizer = fastlm.train_bpe(texts.DOCUMENTS[:3], 400, ["<s>"], pattern=pattern)
    tokenizer.save(tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / tokenizer_json.FILE))
    text = texts.DOCUMENTS[0] + "12345 <s> Ünïcode"
    for name in (native.FILE, tokenizer_json.FILE):
        loaded = fastlm.load(tmp_path / name)
        assert loaded.pattern == pattern
        assert loaded.encode(text) == tokenizer.encode(text) == theirs.encode(text).ids


@pytest.mark.filterwarnings("ignore:no scanner for the pattern")
def test_a_sequence_of_ones_own_is_kept(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers judges its own format")
    pattern = r'["\\d", "[a-z]+(?!.)|\\s"]'
    tokenizer = fastlm.train_bpe(texts.DOCUMENTS[:3], 400, ["<s>"], pattern=pattern)
    tokenizer.save(tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / tokenizer_json.FILE))
    text = texts.DOCUMENTS[0] + "12345 ab6 <s> Ünïcode"
    for name in (native.FILE, tokenizer_json.FILE):
        loaded = fastlm.load(tmp_path / name)
        assert loaded.pattern == pattern
        assert loaded.encode(text) == tokenizer.encode(text) == theirs.encode(text).ids


@pytest.mark.filterwarnings("ignore:no scanner for the pattern")
def test_digits_of_hugging_face(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers judges its own format")
    tokenizer = fastlm.train_bpe(texts.DOCUMENTS, 600, pattern="starcoder")
    tokenizer.save(tmp_path)
    content = json.loads((tmp_path / tokenizer_json.FILE).read_text())
    digits = {"type": "Digits", "individual_digits": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, byte_level]}
    (tmp_path / tokenizer_json.FILE).write_text(json.dumps(content))
    assert fastlm.load(tmp_path / tokenizer_json.FILE).pattern == "starcoder"
    digits["individual_digits"] = False
    (tmp_path / tokenizer_json.FILE).write_text(json.dumps(content))
    runs = fastlm.load(tmp_path / tokenizer_json.FILE)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / tokenizer_json.FILE))
    for text in (*texts.DOCUMENTS, "a12 345b", "1\u0661\u00bd!", "\U00011de0\U00016ff4 1"):
        assert runs.encode(text) == theirs.encode(text).ids


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_hugging_face_splits_by_every_named_pattern(tmp_path, name):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers judges its own format")
    tokenizer = fastlm.train_bpe(texts.DOCUMENTS, 600, ["<|endoftext|>"], pattern=name)
    tokenizer.save(tmp_path)
    assert fastlm.load(tmp_path / native.FILE).pattern == name
    # ByteLevel splits as GPT-2 does, whichever way that was spelled
    expected = "gpt2" if PATTERNS[name].scanner == "gpt2" else name
    assert fastlm.load(tmp_path / tokenizer_json.FILE).pattern == expected
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / tokenizer_json.FILE))
    rng = random.Random(6)  # tests/test_exactness.py splits more strings
    strings = [*texts.DOCUMENTS, "a\n  ", "a \n", "x\n \n\t", *(texts.random_string(rng) for _ in range(1000))]
    for text, theirs_of_it in zip(strings, theirs.encode_batch(strings), strict=True):
        ids = tokenizer.encode(text)
        assert ids == theirs_of_it.ids, text
        assert list(tokenizer.encode_iterable(iter(text))) == ids


def test_a_file_of_hugging_faces_own(data, gpt2):
    tokenizer = fastlm.load(data / "vectors" / "gpt2.tokenizer.json")
    assert tokenizer.merges == gpt2.merges
    assert tokenizer.vocab == gpt2.vocab


def test_special_tokens_that_spell_like_others_are_refused(tmp_path):
    tokenizer = fastlm.Tokenizer({i: bytes([i]) for i in range(256)}, [], ["é"])
    with pytest.raises(ValueError, match=r"would both be spelled 'é' in vocab\.json and tokenizer\.json"):
        tokenizer.save(tmp_path, ["gpt2"])
    assert os.listdir(tmp_path) == []
    # without being asked for, formats that cannot hold the vocabulary are left out
    assert [path.name for path in tokenizer.save(tmp_path)] == os.listdir(tmp_path) == [native.FILE]
    assert fastlm.load(tmp_path).encode("é\u00e9") == tokenizer.encode("éé")


# --- damage ---


def test_every_changed_byte_of_the_native_file_is_noticed(saved):
    path = saved / native.FILE
    content = path.read_bytes()
    rng = random.Random(1)
    for _ in range(1500):
        at = rng.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :])
        with pytest.raises(ValueError, match=r"tokenizer\.fastlm"):
            fastlm.load(path)
    for length in range(0, len(content), len(content) // 200):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"tokenizer\.fastlm"):
            fastlm.load(path)


def forged(body: bytes) -> bytes:
    """A body with the right checksum, as an attacker would give it."""
    return body + hashlib.sha256(body).digest()


@pytest.mark.filterwarnings("ignore:no scanner for the pattern")
def test_a_forged_native_file_cannot_reach_outside_its_arrays(saved):
    path = saved / native.FILE
    body = path.read_bytes()[:-32]
    rng = random.Random(2)
    header_end = 16 + int.from_bytes(body[8:16], "little")
    loaded = refused = 0
    for n in range(3000):
        changed = bytearray(body)
        for _ in range(rng.randrange(1, 4)):
            # headers and offsets more often than token bytes
            at = rng.randrange(8, header_end) if n % 2 else rng.randrange(8, len(body))
            changed[at] = rng.randrange(256)
        path.write_bytes(forged(bytes(changed)))
        try:
            fastlm.load(path).encode("some text to encode 123")
            loaded += 1
        except (ValueError, MemoryError):
            refused += 1
    assert refused > 2000
    assert loaded + refused == 3000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"content": "<|endoftext|>", "id": 0', b'"content": "<|endoftext|>", "id": Infinity'),
        (b'"content": "<|endoftext|>"', b'"content": 1'),
        (b'"single_word"', b'"unknown"'),
        (b'"begin": []', b'"begin": [99999]'),
        (b'"begin": []', b'"begin": {}, "more": []'),
        (b'"normalization": null', b'"normalization": "NFKC"'),
        (b'{"pattern"', b"[" * 99_999),
        (b'{"pattern"', b'{"carried": 1, "pattern"'),
        (b'"siblings": {', b'"siblings": [1], "more": {'),
        (b'"siblings": {', b'"siblings": {"a": 1, '),
    ],
)
def test_a_forged_header_is_refused(saved, old, new):
    path = saved / native.FILE
    body = path.read_bytes()[:-32]
    end = 16 + int.from_bytes(body[8:16], "little")
    header = body[16:end].replace(old, new)
    assert header != body[16:end]
    path.write_bytes(forged(body[:8] + len(header).to_bytes(8, "little") + header + body[end:]))
    with pytest.raises(ValueError, match=r"tokenizer\.fastlm: "):
        fastlm.load(path)


def test_a_native_file_with_more_than_its_arrays(saved):
    path = saved / native.FILE
    body = path.read_bytes()[:-32]
    path.write_bytes(forged(body + bytes(64)))
    with pytest.raises(ValueError, match=r"tokenizer\.fastlm: 64 bytes follow the last array"):
        fastlm.load(path)
    path.write_bytes(forged(body[:8] + (1 << 40).to_bytes(8, "little") + body[16:]))
    with pytest.raises(ValueError, match=rf"the header would end at byte {(1 << 40) + 16} of {len(body)}"):
        fastlm.load(path)
    path.write_bytes(b"\x1f\x8b" + body[2:])
    with pytest.raises(ValueError, match=r"tokenizer\.fastlm: .*gzip"):
        native.read(path)
    path.write_bytes(b"unknown " + body[8:])
    with pytest.raises(ValueError, match=r"not a fastlm tokenizer file of version 2 \(it begins with b'unknown '\)"):
        native.read(path)


def test_a_negative_size_is_no_array(saved):
    path = saved / native.FILE
    body = path.read_bytes()[:-32]
    end = 16 + int.from_bytes(body[8:16], "little")
    header = json.loads(body[16:end])
    for name in header["entries"]:
        encoded = json.dumps(header | {"entries": header["entries"] | {name: -1}}).encode()
        path.write_bytes(forged(body[:8] + len(encoded).to_bytes(8, "little") + encoded + body[end:]))
        with pytest.raises(
            ValueError, match=rf"tokenizer\.fastlm: array {name} of -1 entries at byte \d+ does not fit"
        ):
            fastlm.load(path)


@pytest.mark.parametrize("size", [2**20, 2**40, 2**63, -1, "x", None, 1.5])
def test_declared_sizes_are_checked_before_anything_is_allocated(saved, size):
    path = saved / native.FILE
    body = path.read_bytes()[:-32]
    end = 16 + int.from_bytes(body[8:16], "little")
    header = json.loads(body[16:end])
    header["entries"]["merge_left"] = size
    encoded = json.dumps(header).encode()
    path.write_bytes(forged(body[:8] + len(encoded).to_bytes(8, "little") + encoded + body[end:]))
    with pytest.raises(ValueError, match=r"tokenizer\.fastlm: "):
        fastlm.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1, column 1"),
        (b"[1, 2]", "expected an object"),
        (b'{"a": 1', "line 1, column"),
        (b'{"a": "1"}', "token 'a' has id '1', expected a non-negative integer"),
        (b'{"a": -1}', "token 'a' has id -1"),
        (b'{"a": true}', "token 'a' has id True"),
        (b'{"a": 1.0}', "token 'a' has id 1.0"),
        (b'{"a": 1, "b": 1}', "id 1 is given twice, the second time to 'b'"),
        (b'{"a": 1, "a": 2}', "key 'a' is given twice"),
        (b'{"a b": 1}', r"token of id 1: ' ' in 'a b' spells no byte \(is it a special token\?\)"),
        (b'{"a\xff": 1}', "byte 3 is not UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"[" * 100_000, "nested too deeply|line 1"),
        (b'{"a": ' + b"1" * 5000 + b"}", "Exceeds the limit"),
    ],
)
def test_malformed_vocab_json(saved, content, message):
    (saved / gpt2.VOCAB).write_bytes(content)
    with pytest.raises(ValueError, match=rf"(?s)vocab\.json.*({message})"):
        fastlm.Tokenizer.from_files(saved / gpt2.VOCAB, saved / gpt2.MERGES)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a", "expected two tokens with one space between"),
        ("a b c", "expected two tokens with one space between"),
        ("a  b", "expected two tokens with one space between"),
        ("", "expected two tokens with one space between"),
        ("a \u4e2d", "spells no byte"),
        ("a\tb", "expected two tokens"),
    ],
)
def test_malformed_merges_txt(saved, line, message):
    path = saved / gpt2.MERGES
    lines = path.read_text("utf-8").split("\n")
    lines.insert(5, line)
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(ValueError, match=rf"merges\.txt, line 6: .*{message}"):
        fastlm.load(saved / gpt2.VOCAB, pattern="gpt2")


def test_merges_that_begin_with_a_hash_are_merges(saved, trained):
    path = saved / gpt2.MERGES
    path.write_text("#version: 0.2\n# a\n#version x\n", "utf-8")
    assert gpt2.read_merges(path) == [(b"#", b"a"), (b"#version", b"x")]
    path.write_text("# a\r\n", "utf-8")
    assert gpt2.read_merges(path) == [(b"#", b"a")]


def test_merges_as_strings_are_read(saved, trained):
    path = saved / tokenizer_json.FILE
    content = json.loads(path.read_text("utf-8"))
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    path.write_text(json.dumps(content), "utf-8")
    assert fastlm.load(path).merges == trained.merges


@pytest.mark.parametrize("name", [gpt2.VOCAB, gpt2.MERGES, tokenizer_json.FILE])
def test_random_damage_is_refused_or_harmless(saved, name):
    """Text formats have no checksum: a change may give another vocabulary, but never a crash or another exception."""
    path = saved / name
    content = path.read_bytes()
    rng = random.Random(3)
    for n in range(400):
        at = rng.randrange(len(content))
        if n % 4 == 0:
            changed = content[:at]
        elif n % 4 == 1:
            changed = content[:at] + content[at + rng.randrange(1, 200) :]
        else:
            changed = content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
        path.write_bytes(changed)
        try:
            if name == tokenizer_json.FILE:
                fastlm.load(path).decode([1, 2, 3])
            else:
                fastlm.load(saved / gpt2.VOCAB, pattern="gpt2").decode([1, 2, 3])
        except (ValueError, KeyError):
            continue


# --- writing ---


class Failing:
    """Makes the k-th call of some functions of `os` fail as a full disk does."""

    def __init__(self, monkeypatch, names):
        self.calls, self.fail_at = 0, 0
        for name in names:
            monkeypatch.setattr(os, name, self.wrapped(getattr(os, name)))

    def wrapped(self, function):
        def call(*args, **kwargs):
            self.calls += 1
            if self.calls == self.fail_at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*args, **kwargs)

        return call


def test_a_failure_at_any_step_leaves_no_partial_file(trained, tmp_path, monkeypatch):
    target = tmp_path / "tokenizer"
    trained.save(target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    other = fastlm.train_bpe(texts.DOCUMENTS[:3], 300)
    failing = Failing(monkeypatch, ["fsync", "replace"])
    for step in range(1, 100):
        failing.calls, failing.fail_at = 0, step
        saved_at_last = False
        with contextlib.suppress(OSError):
            other.save(target)
            saved_at_last = True
        if saved_at_last:
            break
        after = {path.name: path.read_bytes() for path in target.iterdir()}
        assert after.keys() == before.keys()
        if step <= 4:  # the files' contents are on disk before the first rename
            assert after == before
        assert fastlm.load(target).encode("loads") in (trained.encode("loads"), other.encode("loads"))
    else:
        pytest.fail("the save never succeeded")
    assert step > 8


def test_a_file_that_fails_while_it_is_written(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def write_half():
        with replacing(path) as file:
            file.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_half()
    assert os.listdir(tmp_path) == ["out"]
    assert path.read_bytes() == b"old"
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["out"]


def test_only_regular_files_are_replaced(trained, tmp_path):
    os.mkfifo(tmp_path / "vocab.json")
    with pytest.raises(OSError, match="Not a regular file"):
        trained.save(tmp_path)
    assert os.listdir(tmp_path) == ["vocab.json"]


def test_unwritable_places(trained, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        trained.save(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        write_files(tmp_path / "file" / "below", {"a": b""})
