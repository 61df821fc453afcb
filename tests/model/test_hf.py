"""Folders of transformers: what we write it loads with the same logits and ids, and what it writes we load."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hypothesis import given, settings  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import fastlm  # noqa: E402
from fastlm.files import atomic  # noqa: E402
from fastlm.model import ModelConfig, SpecialTokenIds  # noqa: E402
from fastlm.model.files import load_model, save_model  # noqa: E402
from fastlm.model.hf import export_llama, import_llama  # noqa: E402
from tests import texts  # noqa: E402
from tests.model.models import TINY, llamas, made, same_weights, some_ids  # noqa: E402

transformers.logging.disable_progress_bar()
ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-5, torch.bfloat16: 3e-2, torch.float16: 3e-3}


@pytest.fixture(scope="module")
def small() -> fastlm.Tokenizer:
    return fastlm.train_bpe(["a tokenizer of few tokens"], 270, ["<|endoftext|>"])


@pytest.fixture
def exported(tmp_path, small) -> Path:
    export_llama(made(), tmp_path / "llama", small)
    return tmp_path / "llama"


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_a_float64_model_comes_back_exactly(tmp_path, layout):
    model = made(replace(TINY, rope_layout=layout), torch.float64)
    export_llama(model, tmp_path / "llama")
    loaded = import_llama(tmp_path / "llama")
    assert {tensor.dtype for tensor in (*loaded.parameters(), *loaded.buffers())} == {torch.float64}
    ids = some_ids(TINY)
    with torch.no_grad():
        # the layouts add the products of a query and a key in another order
        assert (loaded(ids) - model(ids)).abs().max() <= (0 if layout == "half" else 1e-12)
        export_llama(loaded, tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "llama" / "model.safetensors"
    ).read_bytes()


def theirs(folder: Path, **options):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model


@settings(max_examples=30)
@given(config=llamas())
def test_both_ways_over_random_shapes(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    model, ids = made(config), some_ids(config)
    export_llama(model, folder / "ours")
    loaded = theirs(folder / "ours")
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, model(ids), rtol=0, atol=1e-5)
        loaded.save_pretrained(folder / "theirs", max_shard_size="2KB")
        back, again = import_llama(folder / "ours"), import_llama(folder / "theirs")
        assert same_weights(back, again)
        assert torch.allclose(again(ids), model(ids), rtol=0, atol=1e-5)
    assert back.config == again.config
    assert back.config.rope_layout == "half"
    assert (back.config.kv_heads, back.config.head_width) == (config.kv_heads, config.head_width)


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("tied", [False, True])
def test_the_half_layout_has_the_very_same_logits(tmp_path, kv_heads, tied):
    # at widths that BLAS computes in the same order whether products are fused or not
    config = ModelConfig(
        vocab_size=512, context_length=32, d_model=64, num_layers=2, num_heads=4, num_kv_heads=kv_heads, d_ff=128,
        tie_embeddings=tied,
    )  # fmt: skip
    model, ids = made(config), some_ids(config)
    export_llama(model, tmp_path)
    with torch.no_grad():
        expected = model(ids)
        assert torch.equal(theirs(tmp_path)(ids).logits, expected)
        assert torch.equal(import_llama(tmp_path)(ids), expected)


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_types_are_kept_or_given(tmp_path, dtype):
    model, ids = made(dtype=dtype), some_ids(TINY)
    export_llama(model, tmp_path)
    loaded = theirs(tmp_path)
    assert loaded.dtype == dtype
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == str(dtype).removeprefix("torch.")
    with torch.no_grad():
        assert (loaded(ids).logits - model(ids)).abs().max() <= ROUNDING[dtype]
    assert same_weights(import_llama(tmp_path), model)
    assert same_weights(import_llama(tmp_path, dtype=torch.float32), model.float())


def test_ids_are_those_of_autotokenizer(tmp_path, trained):
    export_llama(made(replace(TINY, vocab_size=1000)), tmp_path, trained)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*texts.DOCUMENTS, "one<|endoftext|> two <|user|>\n\nnaïve 東京 🧑‍🚀"]:
        ids = trained.encode(text)
        assert loaded(text)["input_ids"] == ids
        assert loaded.decode(ids) == trained.decode(ids)
    assert loaded.bos_token_id == loaded.eos_token_id == trained.special_tokens["<|endoftext|>"]
    assert loaded.model_max_length == TINY.context_length
    generation = theirs(tmp_path).generation_config
    assert (generation.bos_token_id, generation.eos_token_id) == (loaded.bos_token_id, loaded.eos_token_id)


def test_without_a_tokenizer_no_id_is_special(tmp_path):
    export_llama(made(), tmp_path)
    config = theirs(tmp_path).config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (None, None, None)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors", "generation_config.json"}


def test_greedy_generation_is_the_same(tmp_path):
    model = made()
    export_llama(model, tmp_path)
    ids = torch.tensor([[3, 1, 4]])
    expected = theirs(tmp_path).generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    with torch.no_grad():
        while ids.shape[1] < 15:
            ids = torch.cat((ids, model(ids)[:, -1:].argmax(-1)), 1)
    assert torch.equal(ids, expected)


def test_the_fingerprint_travels(exported, tmp_path, small):
    other = fastlm.train_bpe(["other text"], 262, ["<|endoftext|>"])
    fingerprint = small.vocabulary.fingerprint
    model = import_llama(exported, small)
    assert model.tokenizer_fingerprint == fingerprint
    with pytest.raises(ValueError, match=f"of fingerprint {fingerprint}; the one given has"):
        import_llama(exported, other)
    theirs(exported).save_pretrained(tmp_path / "again")
    assert import_llama(tmp_path / "again").tokenizer_fingerprint == fingerprint
    save_model(model, tmp_path / "own")
    export_llama(load_model(tmp_path / "own"), tmp_path / "once more")
    with pytest.raises(ValueError, match="the one given has"):
        import_llama(tmp_path / "once more", other)
    with pytest.raises(ValueError, match="the model was trained with"):
        export_llama(model, tmp_path / "no", other)


def test_two_ids_swapped_in_the_tokenizer_are_noticed(exported, tmp_path):
    path = exported / "tokenizer.json"
    content = json.loads(path.read_text())
    vocab = content["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"tokenizer.json: has the fingerprint"):
        import_llama(exported)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "post"}, "norm='post', only 'pre'"),
        ({"norm": "none"}, "norm='none', only 'pre'"),
        ({"ffn": "silu"}, "ffn='silu', only 'swiglu'"),
        ({"qk_norm": True, "norm": "output"}, "norm='output', only 'pre'"),
        ({"rope_theta": None}, "rope_theta=None"),
    ],
)
def test_what_is_no_llama_is_not_exported(tmp_path, change, message):
    with pytest.raises(ValueError, match=f"LlamaForCausalLM cannot express {message}"):
        export_llama(made(replace(TINY, **change)), tmp_path / "llama")
    assert not (tmp_path / "llama").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["MistralForCausalLM"]}, r"architectures is \['MistralForCausalLM'\]"),
        ({"model_type": "qwen2"}, r"architectures is \['LlamaForCausalLM'\]"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"attention_bias": True}, r"'model.layers.0.self_attn.k_proj.bias' is missing"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is"),
        (
            {"rope_parameters": None, "rope_scaling": {"rope_type": "longrope", "factor": 2.0}},
            "rope_scaling has rope_type = 'longrope', a scaling of positions that fastlm does not compute",
        ),
        ({"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, "checksum"),
        ({"rope_scaling": 2.0}, "rope_scaling is 2.0; expected an object"),
        (
            {"rope_parameters": {"factor": 8.0, "rope_type": "llama3", "rope_theta": 1e4}},
            "rope_parameters has no low_freq_factor, which llama3 scaling needs",
        ),
        ({"torch_dtype": "int8"}, "dtype is 'int8'; expected one of"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_parameters has no factor, which yarn"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "rope_parameters has partial_rotary_factor = 0.5"),
        ({"rope_parameters": "default"}, "rope_parameters is 'default'"),
        ({"rope_theta": 5.0}, "rope_theta is 5.0; rope_parameters says 10000.0"),
        ({"rope_theta": None, "rope_parameters": None}, "rope_theta is None"),
        ({"hidden_size": "8"}, "hidden_size is '8'; expected an integer"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0"),
        ({"vocab_size": 299}, r"'lm_head.weight' has the shape \[300, 8\]|embed_tokens.weight' has the shape"),
        ({"num_hidden_layers": 1}, r"'model.layers.1.input_layernorm.weight' belongs to nothing"),
        ({"num_hidden_layers": 3}, r"'model.layers.2.input_layernorm.weight' is missing"),
        ({"tie_word_embeddings": True}, r"'lm_head.weight' differs from 'model.embed_tokens.weight'"),
        ({"rms_norm_eps": 1e-6}, "checksum"),
        ({"max_position_embeddings": 32}, "checksum"),
        ({"fastlm_tokenizer_fingerprint": None}, r"fastlm_tokenizer_fingerprint is None; model.safetensors says"),
        ({"fastlm_tokenizer_fingerprint": 7}, "fastlm_tokenizer_fingerprint is 7"),
    ],
)
def test_what_is_no_llama_is_not_imported(exported, change, message):
    path = exported / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message) as error:
        import_llama(exported)
    assert str(exported) in str(error.value)


def test_a_configuration_may_leave_out_what_transformers_knows(exported):
    path = exported / "config.json"
    content = json.loads(path.read_text())
    for name in ("rope_parameters", "architectures", "hidden_act", "mlp_bias", "num_key_value_heads", "head_dim"):
        del content[name]
    path.write_text(json.dumps(content))
    assert same_weights(import_llama(exported), made())
    del content["hidden_size"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="hidden_size is missing"):
        import_llama(exported)
    path.write_text("[]")
    with pytest.raises(ValueError, match="expected an object"):
        import_llama(exported)


def test_weights_of_another_kind_are_refused(exported):
    path = exported / "model.safetensors"
    weights = load_file(path)
    norm = "model.norm.weight"
    for changed, message in [
        ({name: weight for name, weight in weights.items() if name != norm}, f"'{norm}' is missing"),
        (weights | {"model.norm.bias": weights[norm].clone()}, "'model.norm.bias' belongs to nothing"),
        (weights | {norm: weights[norm][:4].clone()}, rf"'{norm}' has the shape \[4\]; expected \[8\]"),
        (weights | {norm: weights[norm].to(torch.int32)}, f"'{norm}' is of I32; expected one of"),
    ]:
        save_file(changed, path)
        with pytest.raises(ValueError, match=message):
            import_llama(exported)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        import_llama(exported)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("model.norm.weight"), "'model.norm.weight' is missing"),
        (lambda files: files.update({"model.more": "a.safetensors"}), "'model.more' belongs to nothing"),
        (lambda files: files.update({"lm_head.weight": "../a.safetensors"}), "expected the name of a safetensors file"),
        (lambda files: files.update({"lm_head.weight": "a.bin"}), "expected the name of a safetensors file"),
        (lambda files: files.update({"lm_head.weight": 3}), "expected the name of a safetensors file"),
        (lambda files: files.update({"lm_head.weight": files["model.norm.weight"]}), "is missing|belongs to nothing"),
    ],
)
def test_an_index_that_lies_is_refused(exported, tmp_path, change, message):
    theirs(exported).save_pretrained(tmp_path / "shards", max_shard_size="4KB")
    path = tmp_path / "shards" / "model.safetensors.index.json"
    content = json.loads(path.read_text())
    change(content["weight_map"])
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        import_llama(tmp_path / "shards")
    path.write_text("{}")
    with pytest.raises(ValueError, match="weight_map"):
        import_llama(tmp_path / "shards")


def test_weights_of_several_dtypes_get_the_one_that_transformers_computes_with(exported):
    path, config = exported / "model.safetensors", exported / "config.json"
    weights = {name: weight if "norm" in name else weight.bfloat16() for name, weight in load_file(path).items()}
    save_file(weights, path, {"format": "pt"})
    content = json.loads(config.read_text())
    for name in ("dtype", "torch_dtype"):
        for dtype in (torch.bfloat16, torch.float32):
            del content["torch_dtype"]
            config.write_text(json.dumps(content | {name: str(dtype).removeprefix("torch.")}))
            content["torch_dtype"] = None
            model, ids = import_llama(exported), some_ids(TINY)
            assert model.ln_final.weight.dtype == model.lm_head.weight.dtype == dtype
            with torch.no_grad():
                assert (theirs(exported)(ids).logits - model(ids)).abs().max() <= ROUNDING[dtype]
    config.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="expected one type for all"):
        import_llama(exported)
    assert import_llama(exported, dtype=torch.float16).ln_final.weight.dtype == torch.float16


@pytest.mark.parametrize("sharded", [False, True])
def test_a_tied_output_layer_may_be_in_the_file_too(tmp_path, sharded):
    model, ids = made(replace(TINY, tie_embeddings=True)), some_ids(TINY)
    export_llama(model, tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    if sharded:
        path.unlink()
        files = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(sorted(weights))}
        for file in set(files.values()):
            save_file({name: weights[name] for name in files if files[name] == file}, tmp_path / file)
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    else:
        save_file(weights, path, {"format": "pt"})
    with torch.no_grad():
        assert torch.equal(import_llama(tmp_path)(ids), model(ids))
    assert same_weights(import_llama(tmp_path), model)


def test_what_means_the_same_is_imported(exported):
    path = exported / "config.json"
    content = json.loads(path.read_text())
    for change in (
        {"hidden_act": "swish"},
        {"rope_scaling": {"type": "default"}},
        {"rope_scaling": None, "rope_parameters": None},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0}},
    ):
        path.write_text(json.dumps(content | change))
        assert same_weights(import_llama(exported), made())


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth", "model.gguf", "tf_model.h5"],
)
def test_weights_of_another_form_are_named(exported, name):
    (exported / "model.safetensors").rename(exported / name)
    with pytest.raises(ValueError, match=rf"/{name}: fastlm reads weights from safetensors files only; .* save_pretra"):
        import_llama(exported)


SPECIAL = [
    ({}, {}, (1, (2,), None)),  # what transformers takes where nothing is said
    ({"bos_token_id": None, "eos_token_id": None}, {}, (None, (), None)),
    ({"bos_token_id": 5, "eos_token_id": 7, "pad_token_id": 0}, {}, (5, (7,), 0)),
    ({"eos_token_id": [7, 9]}, {}, (1, (7, 9), None)),
    ({"eos_token_id": 7}, {"eos_token_id": [11, 12]}, (1, (11, 12), None)),
    ({"pad_token_id": -1, "eos_token_id": 300}, {}, (1, (), None)),
]


@pytest.mark.parametrize(("config", "generation", "expected"), SPECIAL)
def test_special_ids_travel(exported, tmp_path, config, generation, expected):
    path = exported / "config.json"
    content = json.loads(path.read_text())
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        del content[name]
    path.write_text(json.dumps(content | config))
    (exported / "generation_config.json").write_text(json.dumps(generation))
    model = import_llama(exported)
    ids = SpecialTokenIds(*expected)
    assert model.special_token_ids == ids
    save_model(model, tmp_path / "own")
    own = load_model(tmp_path / "own")
    assert own.special_token_ids == ids
    export_llama(own, tmp_path / "again")
    assert import_llama(tmp_path / "again").special_token_ids == ids
    found = theirs(tmp_path / "again").generation_config
    eos = found.eos_token_id if isinstance(found.eos_token_id, list) else [found.eos_token_id]
    assert (found.bos_token_id, eos, found.pad_token_id) == (ids.bos, list(ids.eos) or [None], ids.pad)


@pytest.mark.parametrize("value", ["2", [True], 2.0, [[3]], {}])
def test_special_ids_that_are_no_integers_are_refused(exported, value):
    (exported / "generation_config.json").write_text(json.dumps({"eos_token_id": value}))
    with pytest.raises(ValueError, match=r"generation_config.json: eos_token_id is .*; expected an integer"):
        import_llama(exported)


def test_special_ids_win_over_the_tokenizers(tmp_path):
    tokenizer = fastlm.train_bpe(["a tokenizer of few tokens"], 270, ["<|endoftext|>", "<s>", "</s>", "<pad>"])
    model = made()
    model.special_token_ids = SpecialTokenIds(bos=1, eos=(2, 7), pad=3)
    export_llama(model, tmp_path, tokenizer)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == ("<s>", "</s>", "<pad>")
    assert theirs(tmp_path).generation_config.eos_token_id == [2, 7]


@pytest.mark.parametrize(
    "ids",
    [SpecialTokenIds(eos=(0,)), SpecialTokenIds(bos=None, eos=(1, 0), pad=2), SpecialTokenIds(bos=3, eos=(0,))],
)
def test_an_export_and_import_changes_no_special_id(tmp_path, ids):
    tokenizer = fastlm.train_bpe(["a tokenizer of few tokens"], 270, ["<|endoftext|>", "<s>", "</s>", "<pad>"])
    model = made()
    model.special_token_ids = ids
    save_model(model, tmp_path / "own", tokenizer)
    export_llama(load_model(tmp_path / "own"), tmp_path / "llama", tokenizer)
    save_model(import_llama(tmp_path / "llama", tokenizer), tmp_path / "back", tokenizer)
    before, after = (json.loads((tmp_path / name / "model.json").read_text()) for name in ("own", "back"))
    assert after["special_token_ids"] == before["special_token_ids"]
    assert theirs(tmp_path / "llama").generation_config.bos_token_id == ids.bos
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "llama").bos_token_id == ids.bos


@pytest.mark.parametrize("failing", range(5))
def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch, small, failing):
    calls = iter(range(10))

    def sync(file):
        if next(calls) == failing:
            raise OSError("disk full")

    monkeypatch.setattr(atomic, "_sync", sync)
    with pytest.raises(OSError, match="disk full"):
        export_llama(made(), tmp_path, small)
    assert os.listdir(tmp_path) == []
