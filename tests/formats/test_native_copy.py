"""fastlm.load(path, cache=True): a copy in the native format."""

import logging

import pytest

import fastlm
from fastlm import formats


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("FASTLM_CACHE", str(folder))
    return folder


@pytest.fixture
def refuse_to_read(monkeypatch):
    """Makes the readers of all formats but the native one fail."""

    def fail(*_):
        raise AssertionError("the file was read")

    def start():
        for module in (formats.tiktoken, formats.tokenizer_json, formats.gpt2, formats.minbpe, formats.tekken):
            monkeypatch.setattr(module, "read", fail)

    return start


@pytest.mark.parametrize("name", ["tokenizer.json", "gpt2", "tiktoken"])
def test_the_copy_is_read_instead_of_the_file(name, trained, tmp_path, cache, refuse_to_read):
    ordinary = fastlm.train_bpe(["the cat sat on the mat"] * 3, 265)
    tokenizer = trained if name == "tokenizer.json" else ordinary
    path = tokenizer.save(tmp_path / "saved", [name])[0]
    options = {} if name == "tokenizer.json" else {"pattern": "gpt2"}
    first = fastlm.load(path, cache=True, **options)
    refuse_to_read()
    second = fastlm.load(path, cache=True, **options)
    assert second.vocabulary.fingerprint == first.vocabulary.fingerprint
    assert second.vocabulary.carried == first.vocabulary.carried
    assert len(list(cache.iterdir())) == 1


def test_nothing_is_kept_unless_it_is_requested(trained, tmp_path, cache):
    fastlm.load(trained.save(tmp_path / "saved", ["tokenizer.json"])[0])
    fastlm.load(trained.save(tmp_path / "native")[0], cache=True)
    assert not cache.exists()


def test_a_changed_file_is_read(tmp_path, cache):
    path = fastlm.train_bpe(["aaaa"], 257).save(tmp_path, ["tokenizer.json"])[0]
    fastlm.load(path, cache=True)
    other = fastlm.train_bpe(["bbbb"], 257)
    other.save(tmp_path, ["tokenizer.json"])
    assert fastlm.load(path, cache=True).vocabulary.fingerprint == other.vocabulary.fingerprint


def test_other_options_have_another_copy(tmp_path, cache):
    path = fastlm.train_bpe(["aaaa"], 257).save(tmp_path, ["tiktoken"])[0]
    for special in (["<|a|>"], ["<|b|>"], {"<|b|>": 300}, iter(["<|a|>"])):
        expected = ["<|a|>"] if not isinstance(special, list | dict) else list(special)
        tokenizer = fastlm.load(path, pattern="gpt2", special_tokens=special, cache=True)
        assert list(tokenizer.special_tokens) == expected
    assert fastlm.load(path, pattern="cl100k_base", cache=True).pattern == "cl100k_base"
    assert len(list(cache.iterdir())) == 4


def test_a_damaged_copy_is_written_again(trained, tmp_path, cache, caplog):
    path = trained.save(tmp_path / "saved", ["tokenizer.json"])[0]
    fastlm.load(path, cache=True)
    copy = next(cache.iterdir())
    content = copy.read_bytes()
    copy.write_bytes(content[:-40] + b"x" + content[-39:])
    with caplog.at_level(logging.WARNING):
        assert fastlm.load(path, cache=True).vocabulary.fingerprint == trained.vocabulary.fingerprint
    assert "checksum" in caplog.text
    assert copy.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_a_warning(trained, tmp_path, monkeypatch, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("FASTLM_CACHE", str(blocked))
    path = trained.save(tmp_path / "saved", ["tokenizer.json"])[0]
    with caplog.at_level(logging.WARNING):
        assert fastlm.load(path, cache=True).vocabulary.fingerprint == trained.vocabulary.fingerprint
    assert str(blocked) in caplog.text
