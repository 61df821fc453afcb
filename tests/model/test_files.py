"""A model's own folder: what is saved is loaded, and nothing else is."""

import errno
import io
import json
import os
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import fastlm  # noqa: E402
from fastlm.files import atomic  # noqa: E402
from fastlm.model.config import SpecialTokenIds  # noqa: E402
from fastlm.model.files import load_model, save_model  # noqa: E402
from fastlm.model.hf import export_llama  # noqa: E402
from fastlm.model.parameters import parameter_shapes  # noqa: E402
from fastlm.model.safetensors_file import DTYPES, write_safetensors  # noqa: E402
from tests.model.models import TINY, made, same_weights  # noqa: E402

VARIANTS = {
    "plain": TINY,
    "tied": replace(TINY, tie_embeddings=True),
    "grouped, normed": replace(TINY, num_heads=4, num_kv_heads=2, d_head=6, qk_norm=True, rope_layout="interleaved"),
    "post": replace(TINY, norm="post", rope_theta=5e5),
    "bare": replace(TINY, norm="none", rope_theta=None, ffn="silu", norm_eps=1e-6),
}


@pytest.fixture(scope="module")
def small() -> fastlm.Tokenizer:
    return fastlm.train_bpe(["a tokenizer of few tokens"], 270, ["<|endoftext|>"])


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_model_comes_back_as_it_was(tmp_path, config, dtype):
    model = made(config, dtype)
    save_model(model, tmp_path / "model")
    assert {file.name for file in (tmp_path / "model").iterdir()} == {"model.safetensors", "model.json"}
    before = torch.get_rng_state()
    loaded = load_model(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.config == config
    assert same_weights(loaded, model)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert {name: parameter.shape for name, parameter in loaded.named_parameters()} == {
        name: parameter.shape for name, parameter in model.named_parameters()
    }
    ids = torch.arange(32).reshape(2, 16)
    assert torch.equal(loaded(ids), model(ids))


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_the_weights_that_are_kept_are_those_of_the_model(config):
    parameters = {name: tuple(parameter.shape) for name, parameter in made(config).state_dict().items()}
    if config.tie_embeddings:
        del parameters["lm_head.weight"]
    assert parameter_shapes(config) == parameters


def test_another_type_and_a_compiled_model(tmp_path):
    model = made(TINY)
    save_model(torch.compile(model, backend="eager"), tmp_path)
    assert same_weights(load_model(tmp_path, dtype=torch.bfloat16), model.bfloat16())


def test_weights_do_not_follow_the_file(tmp_path):
    save_model(made(TINY), tmp_path)
    loaded = load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert same_weights(loaded, made(TINY))


def test_the_fingerprint_travels_with_the_weights(tmp_path, small, trained):
    save_model(made(TINY), tmp_path / "a", small)
    model = load_model(tmp_path / "a", small)
    assert model.tokenizer_fingerprint == small.vocabulary.fingerprint
    save_model(model, tmp_path / "b")
    other = fastlm.train_bpe(["other text"], 262, ["<|endoftext|>"])
    with pytest.raises(ValueError, match=rf"/b was trained with the tokenizer .* {other.vocabulary.fingerprint}"):
        load_model(tmp_path / "b", other)
    with pytest.raises(ValueError, match="was trained with"):
        save_model(model, tmp_path / "c", other)
    with pytest.raises(ValueError, match="knows 300 ids; the tokenizer has 1000"):
        save_model(made(TINY), tmp_path / "c", trained)
    assert not (tmp_path / "c").exists()
    save_model(made(TINY), tmp_path / "d")
    assert load_model(tmp_path / "d", small).tokenizer_fingerprint is None


def rewritten(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(version=2), "version is 2; expected 1"),
        (lambda c: c.pop("tokenizer"), "expected an object of version, config and tokenizer"),
        (lambda c: c.update(more=1), "expected an object of version, config and tokenizer"),
        (lambda c: c.update(tokenizer=5), "tokenizer is 5"),
        (lambda c: c.update(tokenizer="0" * 64), "checksum does not match"),
        (lambda c: c.update(config=[1]), r"config is \[1\]"),
        (lambda c: c["config"].update(norm="middle"), "norm is 'middle'; expected one of pre, post, none"),
        (lambda c: c["config"].update(d_model="8"), "d_model is '8'"),
        (lambda c: c["config"].update(hidden=8), "unknown field 'hidden'"),
        (lambda c: c["config"].pop("d_ff"), "d_ff"),
        (lambda c: c["config"].update(norm_eps=1e-6), "checksum does not match"),
        (lambda c: c["config"].update(context_length=17), "checksum does not match"),
        (lambda c: c["config"].update(num_layers=1), "'layers.1.attn.k_proj.weight' belongs to nothing"),
        (lambda c: c["config"].update(num_layers=3), "'layers.2.attn.k_proj.weight' is missing"),
        (lambda c: c["config"].update(num_layers=1 << 30), "num_layers is 1073741824"),
        (
            lambda c: c["config"].update(d_ff=1 << 30),
            r"w1.weight' has the shape \[12, 8\]; expected \[1073741824",
        ),
        (lambda c: c["config"].update(tie_embeddings=True), "'lm_head.weight' belongs to nothing"),
    ],
)
def test_another_description_is_refused(tmp_path, change, message):
    save_model(made(TINY), tmp_path)
    rewritten(tmp_path / "model.json", change)
    with pytest.raises(ValueError, match=message) as error:
        load_model(tmp_path)
    assert str(error.value).startswith(str(tmp_path / "model."))


def test_other_weights_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "model.safetensors"
    save_model(made(TINY), tmp_path)
    weights = load_file(path)
    for changed, message in [
        (weights, "has no checksum"),
        (weights | {"ln_final.weight": torch.ones(8, dtype=torch.int8)}, "'ln_final.weight' is of I8"),
        (weights | {"ln_final.weight": torch.ones(8, dtype=torch.float16)}, "expected one type for all"),
        (weights | {"ln_final.weight": torch.ones(2, 4)}, r"has the shape \[2, 4\]; expected \[8\]"),
    ]:
        save_file(changed, path)
        with pytest.raises(ValueError, match=message):
            load_model(tmp_path)
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_model(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path)


def test_weights_of_several_types_are_not_saved(tmp_path):
    model = made(TINY)
    model.ln_final.bfloat16()
    with pytest.raises(ValueError, match=r"'ln_final.weight' is of torch.bfloat16"):
        save_model(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_special_ids_are_part_of_the_checksum(tmp_path):
    model = made(TINY)
    model.special_token_ids = SpecialTokenIds(eos=(3, 4))
    save_model(model, tmp_path)
    assert load_model(tmp_path).special_token_ids == SpecialTokenIds(eos=(3, 4))
    for change, message in [
        (lambda c: c["special_token_ids"].update(eos=[3]), "checksum does not match"),
        (lambda c: c["special_token_ids"].update(eos=[300]), "special token id is 300; expected an id below 300"),
        (lambda c: c["special_token_ids"].update(eos=3, pad=True), "special token id is True"),
        (lambda c: c["special_token_ids"].update(eos=3, pad=None), "model.json"),
        (lambda c: c.update(special_token_ids=[3]), "expected an object of bos, eos and pad"),
        (lambda c: c.pop("special_token_ids"), "checksum does not match"),
    ]:
        save_model(model, tmp_path)
        rewritten(tmp_path / "model.json", change)
        with pytest.raises(ValueError, match=message) as error:
            load_model(tmp_path)
        assert str(error.value).startswith(str(tmp_path / "model."))


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_mode_that_the_umask_says(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_model(made(TINY), tmp_path / "model")
        export_llama(made(TINY), tmp_path / "llama")
    finally:
        os.umask(before)
    for path in [*(tmp_path / "model").iterdir(), *(tmp_path / "llama").iterdir()]:
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask, path


def test_the_file_that_is_synced_takes_the_name(tmp_path, monkeypatch):
    synced = {}
    real = atomic._sync

    def sync(file):
        real(file)
        status = os.fstat(file.fileno())
        synced[status.st_ino] = status.st_size

    monkeypatch.setattr(atomic, "_sync", sync)
    save_model(made(TINY), tmp_path)
    for path in tmp_path.iterdir():
        assert synced[path.stat().st_ino] == path.stat().st_size > 0


def test_equal_weights_give_equal_bytes(tmp_path, small):
    for save in (save_model, export_llama):
        contents = set()
        for number in range(6):
            save(made(TINY), tmp_path / f"{save.__name__}-{number}", small)
            contents.add((tmp_path / f"{save.__name__}-{number}" / "model.safetensors").read_bytes())
        assert len(contents) == 1


@given(st.lists(st.tuples(st.text(max_size=5), st.sampled_from(list(DTYPES)), st.lists(st.integers(0, 3), max_size=3))))
def test_any_tensors_come_back_through_the_safetensors_package(tensors):
    torch.manual_seed(0)
    tensors = {
        name: torch.randint(0, 2, shape).to(dtype) for name, dtype, shape in tensors if not name.startswith("__meta")
    }
    file = io.BytesIO()
    write_safetensors(file, tensors, {"format": "pt", "a": "é"})
    loaded = safetensors.torch.load(file.getvalue())
    assert loaded.keys() == tensors.keys()
    assert all(loaded[k].dtype == t.dtype and torch.equal(loaded[k], t) for k, t in tensors.items())
    again = io.BytesIO()
    write_safetensors(again, dict(reversed(tensors.items())), {"format": "pt", "a": "é"})
    assert again.getvalue() == file.getvalue()


@pytest.mark.parametrize("failing", range(3))
def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch, failing):
    old = made(TINY)
    save_model(old, tmp_path)
    calls = iter(range(10))

    def sync(file):
        if next(calls) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "_sync", sync)
    new = made(replace(TINY, num_layers=1))
    if failing < 2:
        with pytest.raises(OSError, match="No space"):
            save_model(new, tmp_path)
        assert same_weights(load_model(tmp_path), old)
    else:
        save_model(new, tmp_path)
        assert same_weights(load_model(tmp_path), new)
    assert len(list(tmp_path.iterdir())) == 2
