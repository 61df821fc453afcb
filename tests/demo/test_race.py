"""The race of the demo: only libraries with equal ids take part."""

import pytest

from fastlm import train_bpe
from fastlm.demo import race
from tests import texts


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(texts.DOCUMENTS, 300)


def test_installed_libraries_race(tokenizer):
    pytest.importorskip("tiktoken")
    pytest.importorskip("tokenizers")
    results = race.race(tokenizer, [text for text in texts.DOCUMENTS if "<|" not in text])
    assert [result.name for result in results] == ["fastlm", "tiktoken", "tokenizers"]
    assert all(result.seconds > 0 and result.remark == "" for result in results)


def test_other_ids_do_not_race(tokenizer, monkeypatch):
    def wrong(tokenizer):
        return lambda text: tokenizer.encode_ordinary(text) if text != "b" else [0]

    def missing(tokenizer):
        raise ModuleNotFoundError(name="tokenizers")

    monkeypatch.setattr(race, "_tiktoken", wrong)
    monkeypatch.setattr(race, "_tokenizers", missing)
    ours, tiktoken, tokenizers = race.race(tokenizer, ["a", "b"])
    assert ours.seconds is not None
    assert (tiktoken.seconds, tiktoken.remark) == (None, "other ids in document 1")
    assert (tokenizers.seconds, tokenizers.remark) == (None, "not installed")


def test_the_table():
    results = [
        race.Result("fastlm", 0.5),
        race.Result("tiktoken", 2.0),
        race.Result("tokenizers", None, "not installed"),
    ]
    assert race.table(results, 10**6).splitlines() == [
        f"  fastlm           2.0 MB/s  {'█' * 24}",
        f"  tiktoken         0.5 MB/s  {'█' * 6}  fastlm is 4.0 times as fast",
        "  tokenizers  not installed",
    ]


def test_the_sample_is_bounded():
    assert race.sample(["ab", "cde", "f"], 4) == ["ab", "cd"]
    assert race.sample(["ab"], 10) == ["ab"]
