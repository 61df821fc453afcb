"""Arguments of wrong types: every public function raises an error that names the argument, and what it got."""

import numpy as np
import pytest

import fastlm
from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.planning.estimate import GROWTHS, Cluster, Rates, plan

BYTES = {k: bytes([k]) for k in range(256)}
RATES = Rates(
    count_bytes=3e8, add_words=8e6, merge_words=3e5, encode_bytes=2e8, token_bytes=4.2, word_bytes=9.0, write_bytes=3e8
)
CLUSTER = Cluster(cores=16, machine_cores=16, memory=64e9, disk=2e9)
WRONG = [None, 5, 1.5, "a str", b"bytes", [], {}, object(), np.zeros(2), range(3)]


def ids(wrong) -> str:
    return type(wrong).__name__


@pytest.mark.parametrize("wrong", WRONG, ids=ids)
def test_wrong_objects_are_named(tmp_path, wrong):
    found = rf"must be a \w+, got {type(wrong).__name__}$"
    with pytest.raises(TypeError, match=f"^tokenizer {found}"):
        encode_corpus(wrong, ["text"], tmp_path / "ids")
    with pytest.raises(TypeError, match=f"^vocabulary {found}"):
        fastlm.Tokenizer.from_vocabulary(wrong)
    for name in ("growth", "rates", "cluster"):
        arguments = {"growth": GROWTHS["tinystories"], "rates": RATES, "cluster": CLUSTER, name: wrong}
        with pytest.raises(TypeError, match=f"^{name} {found}"):
            plan(1e9, **arguments)


@pytest.mark.parametrize("wrong", WRONG, ids=ids)
def test_wrong_models_and_tokenizers_are_named(tmp_path, wrong):
    pytest.importorskip("torch")
    from fastlm.model.account import account
    from fastlm.model.files import load_model, save_model
    from fastlm.model.hf import export_llama, import_llama
    from fastlm.model.llama2c import export_llama2c
    from tests.model.models import made

    model = made()
    save_model(model, tmp_path / "model")
    export_llama(model, tmp_path / "llama")
    found = rf"must be a \w+, got {type(wrong).__name__}$"
    for call in (
        lambda: save_model(wrong, tmp_path / "x"),
        lambda: export_llama(wrong, tmp_path / "x"),
        lambda: export_llama2c(wrong, tmp_path / "x"),
        lambda: fastlm.generate(wrong, [1]),
    ):
        with pytest.raises(TypeError, match=f"^model {found}"):
            call()
    with pytest.raises(TypeError, match=f"^config {found}"):
        account(wrong)
    if wrong is None:
        return
    for call in (
        lambda: save_model(model, tmp_path / "x", wrong),
        lambda: load_model(tmp_path / "model", wrong),
        lambda: export_llama(model, tmp_path / "x", wrong),
        lambda: import_llama(tmp_path / "llama", wrong),
        lambda: fastlm.generate(model, [1], wrong),
    ):
        with pytest.raises(TypeError, match=f"^tokenizer {found}"):
            call()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("wrong", [None, 5, 1.5, object()], ids=ids)
def test_what_is_not_iterable_is_named(trained, tmp_path, wrong):
    found = f"got {type(wrong).__name__}"
    for call, message in (
        (lambda: trained.encode_batch(wrong), f"expected a sequence of texts or of ids, {found}"),
        (lambda: trained.decode_batch(wrong), f"expected a sequence of texts or of ids, {found}"),
        (lambda: trained.decode(wrong), f"ids must be integers, {found}"),
        (lambda: trained.decode_bytes(wrong, num_threads=2), f"ids must be integers, {found}"),
        (lambda: trained.encode_parts([wrong]), "a part must be a pair of a text and a bool, got"),
        (lambda: fastlm.Tokenizer(wrong, []), f"the vocabulary must map int to bytes, {found}"),
    ):
        with pytest.raises(TypeError, match=message):
            call()
    if wrong is not None:
        for call, message in (
            (lambda: trained.save(tmp_path, wrong), f"formats must be a list of names of formats, {found}"),
            (lambda: fastlm.Tokenizer(BYTES, [], wrong), f"special_tokens must be a list of str, {found}"),
        ):
            with pytest.raises(TypeError, match=message):
                call()


@pytest.mark.parametrize("part", ["ab", b"ab", ("a",), ("a", True, 1), 5, None, []])
def test_wrong_parts_are_named(trained, part):
    with pytest.raises(TypeError, match="a part must be a pair of a text and a bool, got "):
        trained.encode_parts([("text", True), part])


@pytest.mark.parametrize("size", [None, 1.0, "300", [300], True, 1j])
def test_a_wrong_size_is_named(trained, size):
    with pytest.raises(TypeError, match=f"vocab_size must be an int, got {type(size).__name__}"):
        trained.truncated(size)


@pytest.mark.parametrize("wrong", [None, "1e9", [], 1j, True])
def test_wrong_numbers_of_a_plan_are_named(wrong):
    found = f"must be a number, got {type(wrong).__name__}"
    for name in ("cores", "machine_cores", "memory", "disk"):
        with pytest.raises(TypeError, match=f"^{name} {found}"):
            Cluster(**{"cores": 1, "machine_cores": 1, "memory": 1e9, "disk": 1e9, name: wrong})
    for name in ("size", "vocab_size", "task_bytes"):
        arguments = {"size": 1e9, "vocab_size": 300, "task_bytes": 1e9, name: wrong}
        with pytest.raises(TypeError, match=f"^{name} {found}"):
            plan(growth=GROWTHS["tinystories"], rates=RATES, cluster=CLUSTER, **arguments)
        with pytest.raises(ValueError, match=f"^{name} is -1; expected a positive number"):
            plan(growth=GROWTHS["tinystories"], rates=RATES, cluster=CLUSTER, **arguments | {name: -1})


def test_wrong_options_of_an_encode_job_are_named(trained, tmp_path):
    for end_of_text in (5, ["<|endoftext|>"], b"<|endoftext|>"):
        with pytest.raises(TypeError, match=f"end_of_text must be a str, got {type(end_of_text).__name__}"):
            encode_corpus(trained, ["text"], tmp_path / "ids", end_of_text=end_of_text)
    with pytest.raises(TypeError, match="progress must be callable, got int"):
        encode_corpus(trained, ["text"], tmp_path / "ids", progress=5)
    assert not (tmp_path / "ids").exists()


def test_wrong_prompts_and_sizes_of_models_are_named():
    pytest.importorskip("torch")
    from fastlm.model.account import account
    from fastlm.training.data import TokenFiles
    from tests.model.models import TINY, made

    for prompt in (None, 5, b"ab", {1: 2}):
        with pytest.raises(TypeError, match=f"prompt must be a text, a list of ids, .*, got {type(prompt).__name__}"):
            fastlm.generate(made(), prompt)
    for memory in (float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"memory is .*; expected a finite number of bytes"):
            account(TINY, device_memory=memory)
    for compute in ("", "int4", [], None):
        with pytest.raises(ValueError, match=r"compute is .*; expected one of "):
            account(TINY, compute=compute)
    with pytest.raises(ValueError, match="no files of ids are given"):
        TokenFiles([], 300, 8)
