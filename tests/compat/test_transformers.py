"""fastlm.compat.transformers against transformers' own fast tokenizer with the same tokenizer.json."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
import random
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlm
from fastlm.formats import tokenizer_json
from tests.compat.transformers_calls import TEMPLATE, Call, encoding_call, other_call, outcome, plain, text

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

from fastlm.compat.transformers import FastLMTokenizer  # noqa: E402 - needs transformers

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

OFFICIAL = ["gpt2", "llama3", "qwen2"]
SPECIAL = {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "chat_template": TEMPLATE}


def _template(single: list[Any], pair: list[Any], name: str, token_id: int) -> dict[str, Any]:
    known = {name: {"id": name, "ids": [token_id], "tokens": [name]}}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": known}


def _sequence(name: str, type_id: int) -> dict[str, Any]:
    return {"Sequence": {"id": name, "type_id": type_id}}


def _special(type_id: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": "<|endoftext|>", "type_id": type_id}}


def variants(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """tokenizer.json with what models change in it."""
    end_id = next(token["id"] for token in content["added_tokens"] if token["content"] == "<|endoftext|>")
    frame = _template(
        [_special(0), _sequence("A", 0), _special(0)],
        [_special(0), _sequence("A", 0), _special(0), _sequence("B", 1), _special(1)],
        "<|endoftext|>",
        end_id,
    )
    options = {"special": False, "single_word": False, "lstrip": True, "rstrip": True, "normalized": False}
    stripped = [token | (options if token["content"] == "<|user|>" else {}) for token in content["added_tokens"]]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    return {
        "plain": content,
        "framed": content | {"post_processor": frame},
        "byte level": content | {"post_processor": byte_level},
        "stripping": content | {"added_tokens": stripped, "normalizer": {"type": "NFC"}},
        "prefix": content | {"pre_tokenizer": content["pre_tokenizer"] | {"add_prefix_space": True}},
    }


@pytest.fixture(scope="session")
def files(trained: fastlm.Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("tokenizer files")
    paths = {}
    for name, content in variants(tokenizer_json.content_of(trained.vocabulary)).items():
        paths[name] = directory / f"{name}.json"
        paths[name].write_text(json.dumps(content))
    return paths


def theirs(path: Path, **options: Any) -> Any:
    backend = tokenizers.Tokenizer.from_file(str(path))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **options)


def ours(path: Path, **options: Any) -> Any:
    return FastLMTokenizer(path, **options)


def compare(mine: Any, judge: Any, call: Call) -> None:
    expected, found = outcome(lambda: call(judge)), outcome(lambda: call(mine))
    if expected in [("raises", "Exception"), ("raises", "PanicException")]:
        # the real library raises no closer type, or what no `except Exception` catches
        assert found[0] == "raises", f"{call}\nraises nothing but {expected[1]}"
        return
    assert found == expected, call


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


VARIANTS = ["plain", "framed", "byte level", "stripping", "prefix"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_calls_give_what_transformers_gives(files, variant):
    mine, judge = ours(files[variant], **SPECIAL), theirs(files[variant], **SPECIAL)
    rng = random.Random(variant)
    for _ in range(250):
        compare(mine, judge, encoding_call(rng))
    for _ in range(150):
        compare(mine, judge, other_call(rng, len(judge)))


@pytest.mark.parametrize("side", ["left", "right"])
def test_sides_of_truncation_and_padding(files, side):
    options = {**SPECIAL, "truncation_side": side, "padding_side": "left"}
    mine, judge = ours(files["framed"], **options), theirs(files["framed"], **options)
    rng = random.Random(side)
    for _ in range(150):
        compare(mine, judge, encoding_call(rng))


def test_calls_without_a_padding_token(files):
    mine, judge = ours(files["plain"]), theirs(files["plain"])
    rng = random.Random(5)
    for _ in range(150):
        compare(mine, judge, encoding_call(rng))
    assert outcome(lambda: mine.apply_chat_template([{"role": "user", "content": "x"}])) == ("raises", "ValueError")


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_vocabularies(data, name):
    path = data / "vectors" / f"{name}.tokenizer.json"
    if not path.exists():
        pytest.skip(f"no file {path}")
    special = next(token["content"] for token in json.loads(path.read_text())["added_tokens"])
    options = {"pad_token": special, "eos_token": special, "chat_template": TEMPLATE}
    mine, judge = ours(path, **options), theirs(path, **options)
    rng = random.Random(name)
    for _ in range(120):
        compare(mine, judge, encoding_call(rng))
    for _ in range(60):
        compare(mine, judge, other_call(rng, len(judge)))


@pytest.mark.parametrize(
    "options",
    [
        {"fix_mistral_regex": True},
        *(pytest.param(o, marks=pytest.mark.nightly) for o in ({}, {"fix_mistral_regex": False})),
    ],
)
def test_the_repair_of_mistral_splits(data, tmp_path, no_network, options):
    path = data / "vectors" / "llama3.tokenizer.json"
    if not path.exists():
        pytest.skip(f"no file {path}")
    (tmp_path / "tokenizer.json").symlink_to(path)
    (tmp_path / "config.json").write_text('{"model_type": "mistral", "transformers_version": "4.50.0"}')
    kinds = (FastLMTokenizer, transformers.PreTrainedTokenizerFast)
    mine, judge = (kind.from_pretrained(tmp_path, **options)("Hello WORLDfoo 12345 it's//x") for kind in kinds)
    assert plain(mine) == plain(judge)


PROPERTIES = [
    *("add_bos_token", "add_eos_token", "added_tokens_decoder", "added_tokens_encoder", "all_special_ids"),
    *("all_special_tokens", "can_save_slow_tokenizer", "is_fast", "max_len_sentences_pair"),
    *("max_len_single_sentence", "model_input_names", "model_max_length", "pad_token_type_id", "padding_side"),
    *("truncation_side", "special_tokens_map", "vocab", "vocab_size", "eos_token", "eos_token_id", "pad_token"),
    *("pad_token_id", "bos_token", "bos_token_id", "unk_token", "unk_token_id", "chat_template"),
    *("split_special_tokens", "name_or_path", "extra_special_tokens", "clean_up_tokenization_spaces"),
]


def assert_alike(mine: Any, judge: Any, calls: int = 30, seed: int = 1) -> None:
    for name in PROPERTIES:
        assert outcome(lambda: getattr(mine, name)) == outcome(lambda: getattr(judge, name)), name  # noqa: B023
    assert mine.get_vocab() == judge.get_vocab()
    assert mine.get_added_vocab() == judge.get_added_vocab()
    assert len(mine) == len(judge)
    rng = random.Random(seed)
    for _ in range(calls):
        compare(mine, judge, encoding_call(rng))


@pytest.mark.parametrize("variant", VARIANTS)
def test_properties(files, variant):
    assert_alike(ours(files[variant], **SPECIAL), theirs(files[variant], **SPECIAL))
    mine, judge = ours(files[variant], model_max_length=4), theirs(files[variant], model_max_length=4)
    assert_alike(mine, judge)
    assert plain(mine("the cat sat on it", truncation=True)) == plain(judge("the cat sat on it", truncation=True))


def test_passes_for_a_fast_tokenizer(files):
    mine = ours(files["plain"])
    assert isinstance(mine, transformers.PreTrainedTokenizerFast)
    assert isinstance(mine, transformers.PreTrainedTokenizerBase)
    assert mine.is_fast
    assert mine("the cat").is_fast


ADDED = [
    ("add_tokens", (["<new>", "sat"],), {}),
    ("add_tokens", (["the cat", "<|user|>"],), {"special_tokens": True}),
    ("add_tokens", ("<one>",), {}),
    ("add_tokens", ([],), {}),
    ("add_tokens", ([""],), {}),
    ("add_tokens", ([tokenizers.AddedToken("<m>", lstrip=True, rstrip=True, special=True)],), {}),
    ("add_tokens", ([tokenizers.AddedToken("café", single_word=True, normalized=True)],), {}),
    ("add_special_tokens", ({"bos_token": "<s>", "extra_special_tokens": ["<a>", "<b>"]},), {}),
    ("add_special_tokens", ({"pad_token": tokenizers.AddedToken("<pad>", rstrip=True)},), {}),
    ("add_special_tokens", ({"cls_token": "<|user|>"},), {}),
    ("add_special_tokens", ({"no_such_token": "<s>"},), {}),
    ("add_special_tokens", ({"extra_special_tokens": ["<c>"]},), {"replace_extra_special_tokens": False}),
    ("add_tokens", ([3],), {}),
    ("add_tokens", ({"<d>": 3},), {}),
    ("add_tokens", (["\ud800"],), {}),
]


@pytest.mark.parametrize("variant", ["plain", "stripping"])
def test_added_tokens(files, variant):
    mine, judge = ours(files[variant], **SPECIAL), theirs(files[variant], **SPECIAL)
    for seed, added in enumerate(ADDED):
        compare(mine, judge, Call(*added))
        assert_alike(mine, judge, 8, seed)
        given = "the cat<m> sat <new>  <one><a> <b> café cafés <s><pad> <d>"
        for options in ({}, {"split_special_tokens": True}):
            compare(mine, judge, Call("__call__", (given,), options))
        compare(mine, judge, Call("decode", (judge(given)["input_ids"],), {"skip_special_tokens": True}))
        again = pickle.loads(pickle.dumps(mine))
        assert_alike(again, judge, 8, seed + len(ADDED))


def test_tokens_put_around_a_text(files):
    for variant in ("plain", "framed"):
        mine, judge = (make(files[variant], bos_token="<|user|>", **SPECIAL) for make in (ours, theirs))
        for name, value in [("add_bos_token", True), ("add_eos_token", True), ("add_bos_token", False)]:
            for tokenizer in (mine, judge):
                setattr(tokenizer, name, value)
            assert_alike(mine, judge)
        mine, judge = (make(files[variant], bos_token="<s>", add_bos_token=True) for make in (ours, theirs))
        assert_alike(mine, judge)


def test_split_special_tokens_as_an_attribute(files):
    mine, judge = (make(files["plain"], split_special_tokens=True) for make in (ours, theirs))
    assert_alike(mine, judge)


@pytest.mark.parametrize("variant", VARIANTS)
def test_saved_files_load_without_fastlm(files, variant, tmp_path, no_network):
    mine = ours(files[variant], bos_token="<s>", extra_special_tokens=["<a>"], model_max_length=99, **SPECIAL)
    mine.add_tokens(["<new>", tokenizers.AddedToken("<m>", lstrip=True)])
    mine("the cat", padding="max_length", truncation=True, max_length=3)
    written = mine.save_pretrained(tmp_path)
    assert sorted(Path(name).name for name in written) == sorted(path.name for path in tmp_path.iterdir())
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "TokenizersBackend"
    judge = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert type(judge) is transformers.PreTrainedTokenizerFast
    assert type(judge.backend_tokenizer) is tokenizers.Tokenizer
    assert mine.name_or_path == ""
    again = FastLMTokenizer.from_pretrained(tmp_path)
    assert type(again) is FastLMTokenizer
    assert_alike(again, judge)
    messages = [{"role": "user", "content": "the <new> cat <m> sat"}]
    assert plain(again.apply_chat_template(messages)) == plain(judge.apply_chat_template(messages))
    rng = random.Random(2)
    for _ in range(50):
        given = text(rng)
        assert mine(given)["input_ids"] == judge(given)["input_ids"]


def test_files_saved_by_transformers_load(files, tmp_path, no_network):
    saved = theirs(files["framed"], bos_token="<s>", extra_special_tokens=["<a>"], padding_side="left", **SPECIAL)
    saved.add_tokens(["<new>"])
    saved("the cat", padding="max_length", truncation=True, max_length=3)
    saved.save_pretrained(tmp_path)
    mine, judge = (kind.from_pretrained(tmp_path) for kind in (FastLMTokenizer, transformers.PreTrainedTokenizerFast))
    assert_alike(mine, judge)
    again = FastLMTokenizer.from_pretrained(tmp_path / "tokenizer.json")
    assert again("the <new> cat")["input_ids"] == judge("the <new> cat")["input_ids"]


def test_older_directories_load(files, tmp_path, no_network):
    (tmp_path / "tokenizer.json").write_bytes(files["plain"].read_bytes())
    config = {"model_max_length": 77, "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": True}}
    config |= {"tokenizer_class": "GPT2TokenizerFast", "chat_template": TEMPLATE}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    special = {"eos_token": {"content": "<|endoftext|>", "lstrip": False, "rstrip": False, "normalized": False,
                             "single_word": False}, "additional_special_tokens": ["<|user|>", "<x>"]}  # fmt: skip
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<y>": 1002}))
    mine = FastLMTokenizer.from_pretrained(tmp_path)
    # the named class has a default unk_token, which AutoTokenizer gives and the generic class does not
    judge = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path, unk_token="<|endoftext|>")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).unk_token == "<|endoftext|>"
    assert_alike(mine, judge)


@pytest.mark.parametrize("source", ["elsewhere", None, 5, {"a": 1}])
def test_an_entry_named_source_is_kept(files, tmp_path, no_network, source):
    (tmp_path / "tokenizer.json").write_bytes(files["plain"].read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"source": source}))
    for kind in (FastLMTokenizer, transformers.PreTrainedTokenizerFast):
        loaded = kind.from_pretrained(tmp_path)
        made = kind(tokenizer_object=loaded.backend_tokenizer, source=source)
        for tokenizer in (loaded, made):
            assert tokenizer.init_kwargs["source"] == source
            tokenizer.save_pretrained(tmp_path / "saved")
            assert json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())["source"] == source


def test_nothing_is_fetched(tmp_path, no_network):
    with pytest.raises(OSError, match="gpt2"):
        FastLMTokenizer.from_pretrained("gpt2", cache_dir=tmp_path)
    with pytest.raises(OSError, match=r"holds no tokenizer\.json"):
        FastLMTokenizer.from_pretrained(tmp_path)
    for option in ({"local_files_only": False}, {"force_download": True}):
        with pytest.raises(NotImplementedError, match="nothing is fetched"):
            FastLMTokenizer.from_pretrained("gpt2", **option)


def test_what_a_tokenizer_can_be_made_from(files, trained, tmp_path):
    from_path = FastLMTokenizer(files["plain"])
    expected = from_path("the cat<|user|>")["input_ids"]
    real = tokenizers.Tokenizer.from_file(str(files["plain"]))
    for source in (trained, str(files["plain"]), from_path.backend_tokenizer, real):
        for tokenizer in (FastLMTokenizer(source), FastLMTokenizer(tokenizer_object=source)):
            assert tokenizer("the cat<|user|>")["input_ids"] == expected
    assert FastLMTokenizer(tokenizer_file=str(files["plain"]))("the cat<|user|>")["input_ids"] == expected
    with pytest.raises(TypeError):
        FastLMTokenizer(3)
    with pytest.raises(TypeError):
        FastLMTokenizer()
    with pytest.raises(FileNotFoundError):
        FastLMTokenizer(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text('{"model": {"type": "Unigram"}}')
    with pytest.raises((ValueError, NotImplementedError)):
        FastLMTokenizer(tmp_path / "bad.json")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda tokenizer: pickle.loads(pickle.dumps(tokenizer))])
def test_copies(files, again):
    mine, judge = (make(files["framed"], **SPECIAL) for make in (ours, theirs))
    for tokenizer in (mine, judge):
        tokenizer.add_tokens(["<new>"])
        tokenizer("the cat", truncation=True, max_length=2)
    copied = again(mine)
    assert type(copied) is FastLMTokenizer
    assert_alike(copied, judge)
    if again is not copy.copy:
        copied.add_tokens(["<newer>"])
        assert_alike(mine, judge)


def test_a_new_tokenizer_like_this_one_is_trained(files):
    mine, judge = (make(files["plain"], **SPECIAL) for make in (ours, theirs))
    texts = [["the cat sat on the mat", "the rat ate the cat"]] * 3
    mine, judge = (tokenizer.train_new_from_iterator(texts, 280) for tokenizer in (mine, judge))
    assert type(mine) is FastLMTokenizer
    assert_alike(mine, judge)


def _answers(tokenizer: Any, orders: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    return [tokenizer(given, **options)["input_ids"] for given, options in orders]


def orders(number: int) -> list[tuple[str, dict[str, Any]]]:
    """Calls that each want a length of their own, with and without padding and special tokens."""
    rng = random.Random(number)
    made = []
    for k in range(number):
        options: dict[str, Any] = {"truncation": True, "max_length": 3 + k % 29}
        if k % 3 == 0:
            options["padding"] = "max_length"
        if k % 5 == 0:
            options = {"split_special_tokens": k % 2 == 0}
        made.append(("the cat<|user|> sat on " * rng.choice([1, 3, 9]), options))
    return made


@pytest.mark.parametrize("threads", [8, 32])
def test_threads_share_one_tokenizer(files, threads):
    mine = ours(files["plain"], **SPECIAL)
    wanted = orders(3200)
    expected = [_answers(theirs(files["plain"], **SPECIAL), [order])[0] for order in wanted[:40]]
    alone = _answers(mine, wanted)
    assert alone[:40] == expected
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(lambda order: _answers(mine, [order])[0], wanted))
    finally:
        sys.setswitchinterval(interval)
    assert sum(a != b for a, b in zip(found, alone, strict=True)) == 0


def test_calls_leave_no_trace(files, tmp_path):
    mine = ours(files["plain"], **SPECIAL)
    mine.save_pretrained(tmp_path / "before")
    mine("the cat", padding="max_length", truncation=True, max_length=3, split_special_tokens=True)
    mine.save_pretrained(tmp_path / "after")
    for path in (tmp_path / "before").iterdir():
        assert (tmp_path / "after" / path.name).read_bytes() == path.read_bytes()


class Collator:
    """What a DataLoader's worker runs."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, texts: list[str]) -> Any:
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=5, return_tensors="np")
        return batch["input_ids"].tolist()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_use_a_tokenizer_that_was_used(files, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    collator = Collator(ours(files["framed"], **SPECIAL))
    batches = [["the cat sat", "x"], ["<|user|>", "a b c d e f g"], ["", "naïve 😀"]] * 4
    expected = [collator(batch) for batch in batches]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(collator, batches) == expected


def test_missing_transformers_is_named():
    program = (
        "import sys; sys.modules['transformers'] = None\n"
        "try:\n    import fastlm.compat.transformers\n"
        "except ImportError as error:\n    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install transformers jinja2" in result.stdout


def test_tensors_of_torch(files):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    mine, judge = (make(files["plain"], **SPECIAL) for make in (ours, theirs))
    texts = ["the cat sat", "x"]
    found, expected = (tokenizer(texts, padding=True, return_tensors="pt")["input_ids"] for tokenizer in (mine, judge))
    assert torch.equal(found, expected)


def test_nothing_is_patched():
    program = (
        "import transformers\nbackend = transformers.PreTrainedTokenizerFast\nbefore = dict(vars(backend))\n"
        "import fastlm.compat.transformers\n"
        "print(backend is transformers.PreTrainedTokenizerFast and dict(vars(backend)) == before)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "True\n"


def test_numpy_strings_and_ids(files):
    mine, judge = (make(files["plain"], **SPECIAL) for make in (ours, theirs))
    compare(mine, judge, Call("__call__", (list(np.array(["the cat", "sat"])),), {}))
    compare(mine, judge, Call("decode", (np.array([[1, 2], [3, 4]]),), {}))
