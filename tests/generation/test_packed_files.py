"""Models that decode from mapped files."""

import json

import pytest

torch = pytest.importorskip("torch")

from fastlm.generation import KernelStep, KVCache, generate  # noqa: E402
from fastlm.generation.packed_files import MappedStep, decoding_model  # noqa: E402
from fastlm.model.files import save_model  # noqa: E402
from fastlm.model.hf import export_llama  # noqa: E402
from fastlm.model.safetensors_file import read_archive, write_archive  # noqa: E402
from tests.model.variants import model_of  # noqa: E402

# rows of multiples of 64, so that float weights are read in place
WIDE = {"d_model": 64, "d_ff": 128, "num_heads": 4, "num_kv_heads": 2}
PROMPT = [5, 1, 60, 2, 9, 3, 3, 96, 7, 8, 11, 4]
KINDS = {"float32": {}, "int8": {"int8": True}, "int4": {"int4": True}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("save", [save_model, export_llama], ids=["own", "transformers"])
def test_the_tokens_are_those_of_a_step_in_memory(tmp_path, kind, save):
    model = model_of("plain", **WIDE)
    save(model, tmp_path / "model")
    for _ in range(2):  # packs, then maps what was packed
        loaded, step = decoding_model(tmp_path / "model", kind=kind)
        assert isinstance(step, MappedStep) == (kind != "float32")  # torch processes prompts in float32
        found = generate(loaded, PROMPT, max_new_tokens=12, temperature=0, step=step)
    memory = KernelStep(model, **KINDS[kind])
    cache = KVCache.empty(model, 1, 48)
    for token_id in PROMPT[:-1]:
        memory(torch.tensor([token_id]), cache)
    expected, token_id = [], PROMPT[-1]
    for _ in range(12):
        token_id = int(memory(torch.tensor([token_id]), cache).argmax())
        expected.append(token_id)
    assert found.ids == expected
    packed = tmp_path / "model" / f"fastlm.{kind}.safetensors"
    assert packed.exists() == (kind != "float32")


def test_prompts_of_several_sequences(tmp_path):
    save_model(model_of("grouped and biased"), tmp_path / "model")
    model, step = decoding_model(tmp_path / "model", kind="int8", num_threads=2)
    prompts = [PROMPT, [7], PROMPT[:9]]
    options = {"max_new_tokens": 5, "temperature": 0, "step": step}
    together = generate(model, prompts, **options)
    assert together == [generate(model, prompt, **options) for prompt in prompts]


def test_bfloat16_files_are_not_copied(tmp_path):
    save_model(model_of("plain", dtype=torch.bfloat16, **WIDE), tmp_path / "model")
    model, step = decoding_model(tmp_path / "model", kind="bfloat16")
    assert model.lm_head.weight.dtype == torch.bfloat16
    assert step.packed.matrices.half.size == model.layers[0].attn.q_proj.weight.numel()  # a view that begins there
    exact = generate(model.float(), PROMPT, max_new_tokens=8, temperature=0)
    assert generate(model.bfloat16(), PROMPT, max_new_tokens=8, temperature=0, step=step).ids == exact.ids


def test_packed_weights_of_another_size_are_not_used(tmp_path):
    """The kernel checks no bounds, and a file with a right checksum may come from anybody."""
    folder = tmp_path / "model"
    save_model(model_of("plain", **WIDE), folder)
    decoding_model(folder, kind="int4")
    path = folder / "fastlm.int4.safetensors"
    _, tensors, document = read_archive(path)
    for change in (
        {"numbers": tensors["numbers"][:-64]},
        {"scales": tensors["scales"][:-1]},
        {"scales": tensors["scales"].double()},
        {"numbers": tensors["numbers"].reshape(2, -1)},
    ):
        with open(path, "wb") as file:
            write_archive(file, {**tensors, **change}, document)
        before = path.read_bytes()
        model, step = decoding_model(folder, kind="int4")
        assert path.read_bytes() != before
        assert len(generate(model, PROMPT, max_new_tokens=3, temperature=0, step=step).ids) == 3


@pytest.mark.parametrize("damage", ["a byte", "cut short", "another version", "new weights", "another configuration"])
def test_packed_weights_that_do_not_fit_are_packed_again(tmp_path, damage):
    folder = tmp_path / "model"
    save_model(model_of("plain", **WIDE), folder)
    decoding_model(folder, kind="int8")
    path = folder / "fastlm.int8.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "a byte":
        content[-5] ^= 1
    elif damage == "cut short":
        del content[-7:]
    elif damage == "another version":
        content = content.replace(b'\\"version\\": 1', b'\\"version\\": 9')
    elif damage == "new weights":
        save_model(model_of("plain", norm_eps=1e-3, **WIDE), folder)
    else:
        config = json.loads((folder / "model.json").read_text())
        config["config"]["norm_eps"] = 0.5
        (folder / "model.json").write_text(json.dumps(config))
    path.write_bytes(content)
    model, step = decoding_model(folder, kind="int8")
    fresh = KernelStep(model, int8=True)
    for token_id in torch.tensor([[3], [4]]):
        caches = [KVCache.empty(model, 1, 8, torch.float32) for _ in range(2)]
        assert torch.equal(step(token_id, caches[0]), fresh(token_id, caches[1]))
    assert path.read_bytes() != content


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    save_model(model_of("plain", **WIDE), tmp_path / "model")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    model, step = decoding_model(tmp_path / "model", kind="int4")
    assert len(generate(model, PROMPT, max_new_tokens=3, temperature=0, step=step).ids) == 3
    assert not (tmp_path / "model" / "fastlm.int4.safetensors").exists()


def test_a_kind_that_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match="kind is 'int2'; expected float32, bfloat16, int8 or int4"):
        decoding_model(tmp_path, kind="int2")


@pytest.mark.parametrize("save", [save_model, export_llama], ids=["own", "transformers"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_embedding_is_read_from_its_file(tmp_path, save, dtype):
    save(model_of("tied", dtype), tmp_path / "model")
    model, step = decoding_model(tmp_path / "model", kind="int8")
    ids = torch.tensor([5, 0, 96, 5])
    assert torch.equal(step.file_rows(ids), model.token_embeddings(ids))
    cache, other = (KVCache.empty(model, 4, 4, torch.float32) for _ in range(2))
    assert torch.equal(step(ids, cache), KernelStep(model, int8=True)(ids, other))
    with open(step.file_rows._path, "r+b") as file:
        file.truncate(1000)
    with pytest.raises(OSError, match="safetensors: is shorter than when the model was loaded"):
        step(ids, cache)


def test_the_embedding_in_one_of_several_files(tmp_path):
    transformers = pytest.importorskip("transformers")
    export_llama(model_of("tied"), tmp_path / "one")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    theirs.save_pretrained(tmp_path / "several", max_shard_size="30KB")
    assert (tmp_path / "several" / "model.safetensors.index.json").exists()
    model, step = decoding_model(tmp_path / "several", kind="int4")
    ids = torch.arange(97)
    assert torch.equal(step.file_rows(ids), model.token_embeddings(ids))
