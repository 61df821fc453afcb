"""GGUF files: the reader of llama.cpp's `gguf` package finds in them what the model and its tokenizer are."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")

import fastlm  # noqa: E402
from fastlm.generation import generate  # noqa: E402
from fastlm.model import ModelConfig, SpecialTokenIds, TransformerLM  # noqa: E402
from fastlm.model.gguf import export_gguf, quantized_q8_0  # noqa: E402
from fastlm.model.rope_scaling import RopeScaling  # noqa: E402
from fastlm.vocabulary.vocabulary import Rules  # noqa: E402
from tests.model.models import made, some_ids  # noqa: E402

CONFIG = ModelConfig(vocab_size=300, context_length=16, d_model=32, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=64)
LLAMA3 = RopeScaling(kind="llama3", factor=8.0, original_context=1024, low_freq_factor=1.0, high_freq_factor=4.0)
TEXT = "a tokenizer of few tokens, naïve and 東京"


@pytest.fixture(scope="module")
def tokenizer() -> fastlm.Tokenizer:
    return fastlm.train_bpe([TEXT], 280, ["<|endoftext|>", "<|im_end|>"])


def fields_of(reader) -> dict:
    return {name: field.contents() for name, field in reader.fields.items()}


def numbers_of(tensor):
    """A tensor of a file in float32."""
    if tensor.tensor_type.name == "F32":
        return np.asarray(tensor.data)
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type)


@pytest.mark.parametrize(
    ("changes", "architecture"),
    [
        ({}, "llama"),
        ({"tie_embeddings": True, "rope_layout": "interleaved"}, "llama"),
        ({"attention_bias": "qkv"}, "qwen2"),
        ({"qk_norm": True, "d_head": 16}, "qwen3"),
    ],
)
def test_the_logits_of_a_file_are_the_models(tmp_path, tokenizer, changes, architecture):
    model = made(replace(CONFIG, **changes))
    export_gguf(model, tmp_path / "model.gguf", tokenizer)
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    fields = fields_of(reader)
    assert fields["general.architecture"] == architecture
    shape = {
        name: fields[f"{architecture}.{theirs}"]
        for name, theirs in {
            "vocab_size": "vocab_size",
            "context_length": "context_length",
            "d_model": "embedding_length",
            "num_layers": "block_count",
            "num_heads": "attention.head_count",
            "num_kv_heads": "attention.head_count_kv",
            "d_head": "attention.key_length",
            "d_ff": "feed_forward_length",
        }.items()
    }
    again = TransformerLM(
        **shape,
        rope_theta=fields[f"{architecture}.rope.freq_base"],
        norm_eps=fields[f"{architecture}.attention.layer_norm_rms_epsilon"],
        # as llama.cpp turns the features of these architectures
        rope_layout="interleaved" if architecture == "llama" else "half",
        attention_bias=changes.get("attention_bias", "none"),
        qk_norm="qk_norm" in changes,
    )
    tensors = {tensor.name: torch.from_numpy(numbers_of(tensor).copy()) for tensor in reader.tensors}
    tensors.setdefault("output.weight", tensors["token_embd.weight"])  # a tied output layer is not in the file
    names = {
        name: name.replace("token_embeddings", "token_embd")
        .replace("layers", "blk")
        .replace("ln1", "attn_norm")
        .replace("ln2", "ffn_norm")
        .replace("attn.output_proj", "attn_output")
        .replace("attn.q_", "attn_q_")
        .replace("attn.k_", "attn_k_")
        .replace("attn.v_", "attn_v_")
        .replace("_proj", "")
        .replace("ffn.w1", "ffn_gate")
        .replace("ffn.w2", "ffn_down")
        .replace("ffn.w3", "ffn_up")
        .replace("ln_final", "output_norm")
        .replace("lm_head", "output")
        for name in again.state_dict()
    }
    again.load_state_dict(
        {name: tensors.pop(theirs) for name, theirs in names.items()}, rope_layout=again.config.rope_layout
    )
    assert not tensors
    with torch.no_grad():
        torch.testing.assert_close(again(some_ids(CONFIG)), model(some_ids(CONFIG)), rtol=0, atol=1e-5)


def test_a_model_that_knows_no_ids_gets_those_of_the_tokenizer(tmp_path, tokenizer):
    """llama.cpp takes token 11 where a file names none."""
    end = tokenizer.special_tokens["<|endoftext|>"]
    framed = fastlm.Tokenizer.from_vocabulary(
        replace(tokenizer.vocabulary, rules=Rules(begin=(end + 1,), end=(end + 1,)))
    )
    known = SpecialTokenIds(eos=(7,))
    for given, ids, expected in (
        (tokenizer, SpecialTokenIds(), (end, end, False)),
        (framed, SpecialTokenIds(), (end + 1, end + 1, True)),
        (framed, known, (end + 1, 7, True)),
        (tokenizer, known, (None, 7, False)),
    ):
        model = made(CONFIG)
        model.special_token_ids = ids
        export_gguf(model, tmp_path / "model.gguf", given)
        fields = fields_of(gguf.GGUFReader(tmp_path / "model.gguf"))
        names = ("bos_token_id", "eos_token_id", "add_bos_token")
        assert tuple(fields.get(f"tokenizer.ggml.{name}") for name in names) == expected


def test_the_tokenizer_of_a_file_is_the_models(tmp_path, tokenizer):
    model = made(CONFIG)
    model.special_token_ids = SpecialTokenIds(bos=0, eos=(1, 0), pad=0)
    export_gguf(model, tmp_path / "model.gguf", tokenizer, chat_template="{{ messages }}")
    fields = fields_of(gguf.GGUFReader(tmp_path / "model.gguf"))
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == CONFIG.vocab_size
    assert tokens[:2] == ["<|endoftext|>", "<|im_end|>"]
    assert types[:2] == [gguf.TokenType.CONTROL] * 2
    assert set(types[2:280]) == {gguf.TokenType.NORMAL}
    assert set(types[280:]) == {gguf.TokenType.UNUSED}
    # the tokens and merges, read by another program, give the same ids
    tokenizers = pytest.importorskip("tokenizers")
    vocab = {token: number for number, token in enumerate(tokens[:280])}
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    other = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges))
    other.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert other.encode(TEXT).ids == tokenizer.encode(TEXT)
    ids = [fields[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos", "padding")]
    assert ids == [0, 1, 0]
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert fields["tokenizer.chat_template"] == "{{ messages }}"


@pytest.mark.parametrize(("kind", "error"), [("float16", 2**-11), ("bfloat16", 2**-8), ("q8_0", 1 / 127)])
def test_narrow_types(tmp_path, tokenizer, kind, error):
    model = made(CONFIG)
    export_gguf(model, tmp_path / "model.gguf", tokenizer, kind=kind)
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    assert fields_of(reader)["general.file_type"] == {"float16": 1, "bfloat16": 32, "q8_0": 7}[kind]
    for tensor in reader.tensors:
        if tensor.name == "blk.1.ffn_down.weight":
            weight = model.layers[1].ffn.w2.weight.detach().numpy()
            assert np.abs(numbers_of(tensor) - weight).max() <= error * np.abs(weight).max()
        assert (tensor.tensor_type.name == "F32") == ("norm" in tensor.name)


def test_blocks_of_8_bits_are_those_of_llama_cpp():
    numbers = np.random.default_rng(0).standard_normal((64, 96)).astype(np.float32)
    numbers[3] = 0
    numbers[4] *= 1e-3
    expected = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType.Q8_0)
    assert quantized_q8_0(numbers) == expected.tobytes()


@pytest.mark.parametrize("scaling", [LLAMA3, RopeScaling(kind="yarn", factor=4.0, original_context=4), None])
def test_scaled_positions(tmp_path, tokenizer, scaling):
    export_gguf(made(replace(CONFIG, rope_scaling=scaling)), tmp_path / "model.gguf", tokenizer)
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    fields = fields_of(reader)
    factors = [tensor for tensor in reader.tensors if tensor.name == "rope_freqs.weight"]
    assert bool(factors) == (scaling is LLAMA3)
    if factors:
        # head features turn slowly, and are divided by the whole factor
        assert numbers_of(factors[0]).tolist()[0] == 1
        assert numbers_of(factors[0]).tolist()[-1] == pytest.approx(8.0)
    assert fields.get("llama.rope.scaling.type") == ("yarn" if scaling not in (LLAMA3, None) else None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "post"}, "norm='post', only 'pre'"),
        ({"ffn": "silu"}, "ffn='silu', only 'swiglu'"),
        ({"sliding_window": 4}, "sliding_window=4, only None"),
        ({"layers_without_rope": (0,)}, r"layers_without_rope=\(0,\)"),
        ({"rope_theta": None}, "rope_theta=None"),
        ({"rope_scaling": {"kind": "dynamic", "factor": 2.0, "original_context": 8}}, "dynamic rope_scaling"),
        (
            {"rope_scaling": {"kind": "yarn", "factor": 2.0, "original_context": 8, "beta_fast": 9.0}},
            "yarn rope_scaling with its default numbers",
        ),
        ({"attention_bias": "all"}, "no architecture with attention_bias='all' and qk_norm=False"),
        ({"qk_norm": True, "qk_norm_width": "projection"}, "qk_norm_width='projection'"),
    ],
)
def test_what_llama_cpp_does_not_compute_is_refused(tmp_path, tokenizer, changes, message):
    with pytest.raises(ValueError, match=f"GGUF: .*{message}"):
        export_gguf(made(replace(CONFIG, **changes)), tmp_path / "model.gguf", tokenizer)
    assert not (tmp_path / "model.gguf").exists()


def test_other_refusals(tmp_path, tokenizer):
    with pytest.raises(ValueError, match="kind is 'q4'; expected one of float32, float16, bfloat16, q8_0"):
        export_gguf(made(CONFIG), tmp_path / "model.gguf", tokenizer, kind="q4")
    with pytest.raises(ValueError, match="has rows of 40 numbers; q8_0 needs multiples of 32"):
        export_gguf(made(replace(CONFIG, d_ff=40)), tmp_path / "model.gguf", tokenizer, kind="q8_0")
    words = fastlm.train_bpe([TEXT], 280, ["<|endoftext|>"], pattern="nanochat")
    with pytest.raises(
        ValueError, match=r"llama\.cpp does not split texts by the pattern nanochat; expected a scanner"
    ):
        export_gguf(made(CONFIG), tmp_path / "model.gguf", words)
    other = made(CONFIG)
    other.tokenizer_fingerprint = words.vocabulary.fingerprint
    with pytest.raises(ValueError, match="the one given has"):
        export_gguf(other, tmp_path / "model.gguf", tokenizer)
    assert not list(tmp_path.iterdir())


@pytest.mark.nightly  # needs xllamacpp, the library of llama.cpp
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention_bias": "qkv"},
        {"qk_norm": True, "d_head": 32},
        {"rope_scaling": replace(LLAMA3, original_context=16)},
        {"rope_scaling": RopeScaling(kind="linear", factor=4.0, original_context=64)},
        {"rope_scaling": RopeScaling(kind="yarn", factor=4.0, original_context=64)},
    ],
)
def test_llama_cpp_computes_the_models_logits(tmp_path, tokenizer, changes):
    xllamacpp = pytest.importorskip("xllamacpp")
    model = made(replace(CONFIG, vocab_size=280, context_length=256, **changes))
    export_gguf(model, tmp_path / "model.gguf", tokenizer)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(tmp_path / "model.gguf")
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 256, 1, False
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(parameters)
    request = {"prompt": TEXT, "n_predict": 20, "temperature": 0, "cache_prompt": False, "n_probs": 1}
    answer = server.handle_completions(request)
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    ids = tokenizer.encode(TEXT)
    assert answer["usage"]["prompt_tokens"] == len(ids)
    found = generate(model, ids, max_new_tokens=20, temperature=0, stop_tokens=[0]).ids
    with torch.no_grad():
        expected = model(torch.tensor([ids + found]))[0].log_softmax(-1)[len(ids) - 1 :]
    # tokens that end within a character are not listed
    place = 0
    for token in answer["choices"][0]["logprobs"]["content"]:
        if token["id"] == 0:
            break
        while found[place] != token["id"]:
            place += 1
        assert token["logprob"] == pytest.approx(float(expected[place, token["id"]]), abs=2e-3)
        place += 1
    assert place
