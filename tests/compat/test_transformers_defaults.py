"""FastLMTokenizer.from_pretrained has the defaults of the class that AutoTokenizer chooses."""

import json
import shutil

import pytest

from tests.conftest import DATA

transformers = pytest.importorskip("transformers", reason="transformers judges the defaults of its classes")

from fastlm.compat.transformers import FastLMTokenizer  # noqa: E402

TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
MODELS = [
    ("gpt2", "gpt2"),
    ("roberta-base", "roberta"),
    ("modernbert", "modernbert"),
    *(
        pytest.param(source, model_type, marks=pytest.mark.nightly)
        for source, model_type in [("gpt2", "gptj"), ("gpt2", None), ("gpt_neox", "gpt_neox"), ("mpt", "mpt")]
    ),
]
CONFIGS = [{}, {"eos_token": "<x>", "pad_token": None}]


def facts(tokenizer):
    found = {name: getattr(tokenizer, name) for name in TOKENS}
    return found | {
        "ids": [getattr(tokenizer, f"{name}_id") for name in TOKENS],
        "inputs": tokenizer.model_input_names,
        "side": tokenizer.padding_side,
        "size": len(tokenizer),
        "encoded": dict(tokenizer("a b", "c")),
    }


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("named", [None, "GPT2TokenizerFast", "RobertaTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize(("source", "model_type"), MODELS)
def test_defaults_are_those_of_auto_tokenizer(source, model_type, named, config, tmp_path):
    path = DATA / "tokenizers" / source / "tokenizer.json"
    if not path.exists():
        pytest.skip(f"needs {path}")
    shutil.copy(path, tmp_path / "tokenizer.json")
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    content = config | ({"tokenizer_class": named} if named else {})
    if content:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(content))
    judge, found = transformers.AutoTokenizer.from_pretrained(tmp_path), FastLMTokenizer.from_pretrained(tmp_path)
    if named == "RobertaTokenizer" and source != "roberta-base":
        # the class makes a post-processor of its own; fastlm keeps that of the file
        expected, ours = facts(judge), facts(found)
        assert {name: ours[name] for name in TOKENS} == {name: expected[name] for name in TOKENS}
        return
    assert facts(found) == facts(judge)


def test_options_of_a_call_go_before_defaults(tmp_path):
    path = DATA / "tokenizers" / "gpt2" / "tokenizer.json"
    if not path.exists():
        pytest.skip(f"needs {path}")
    shutil.copy(path, tmp_path / "tokenizer.json")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    tokenizer = FastLMTokenizer.from_pretrained(tmp_path, eos_token="!", pad_token="?")
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == ("!", "?", "<|endoftext|>")
    (tmp_path / "config.json").write_text("not JSON")
    assert FastLMTokenizer.from_pretrained(tmp_path, config=transformers.GPT2Config()).bos_token is None
