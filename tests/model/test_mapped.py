"""Weights of mapped files: the same as copies, and no more memory than they need."""

import json

import pytest

torch = pytest.importorskip("torch")

from fastlm.model.files import load_model, save_model  # noqa: E402
from fastlm.model.hf import export_llama, import_llama  # noqa: E402
from fastlm.model.safetensors_file import mapped_tensors, write_safetensors  # noqa: E402
from tests.model.models import same_weights  # noqa: E402
from tests.model.variants import model_of  # noqa: E402

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("stored", DTYPES, ids=str)
@pytest.mark.parametrize("wanted", [None, *DTYPES], ids=str)
@pytest.mark.parametrize("architecture", [None, "llama", "phi3"])
def test_mapped_weights_are_those_of_copies(tmp_path, stored, wanted, architecture):
    """phi3 joins matrices, whose parts are views of the mapped file."""
    model = model_of("grouped", stored)
    if architecture is None:
        save_model(model, tmp_path)
        read = load_model
    else:
        export_llama(model, tmp_path, architecture=architecture)
        read = import_llama
    mapped, copied = (read(tmp_path, dtype=wanted, mapped=value) for value in (True, False))
    assert mapped.lm_head.weight.dtype == (wanted or stored)
    assert same_weights(mapped, copied)


def test_converted_weights_are_in_one_piece_of_memory(tmp_path):
    model = model_of("plain", torch.bfloat16)
    save_model(model, tmp_path)
    converted = load_model(tmp_path, dtype=torch.float32, mapped=True)
    storages = {weight.untyped_storage().data_ptr(): weight.untyped_storage() for weight in converted.parameters()}
    (storage,) = storages.values()
    needed = sum(weight.nbytes for weight in converted.parameters())
    assert needed <= storage.nbytes() < needed + 64 * (1 + len(list(converted.parameters())))
    assert all(weight.data_ptr() % 64 == 0 for weight in converted.parameters())


def test_only_matrices_stay_mapped(tmp_path):
    save_model(model_of("biased"), tmp_path)
    mapped = load_model(tmp_path, mapped=True)
    size = (tmp_path / "model.safetensors").stat().st_size
    for name, weight in mapped.named_parameters():
        assert (weight.untyped_storage().nbytes() == size) == (weight.dim() == 2), name


def test_tensors_of_a_file_that_is_not_aligned(tmp_path):
    """Other writers pad neither the header nor tensors."""
    tensors = {"wide": torch.arange(6.0).reshape(2, 3), "narrow": torch.arange(4).bfloat16(), "none": torch.empty(0, 3)}
    header = {
        "__metadata__": {"format": "pt"},
        "wide": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "narrow": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
        "none": {"dtype": "F32", "shape": [0, 3], "data_offsets": [32, 32]},
        "other": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [32, 33]},
    }
    content = b"".join(tensors[name].view(-1).view(torch.uint8).numpy().tobytes() for name in tensors) + b"\0"
    for padding in range(8):
        text = json.dumps(header).encode() + b" " * padding
        (tmp_path / "file").write_bytes(len(text).to_bytes(8, "little") + text + content)
        found = mapped_tensors(tmp_path / "file")
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(found[name], tensor), (name, padding)


def test_tensors_of_a_file_that_fastlm_writes(tmp_path):
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([True, False]), "c": torch.tensor(3)}
    with open(tmp_path / "file", "wb") as file:
        write_safetensors(file, tensors, {})
    found = mapped_tensors(tmp_path / "file")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
