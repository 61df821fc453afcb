"""Batches, and configurations."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from fastlm.training import TrainingConfig, get_batch, load_config  # noqa: E402
from fastlm.training.data import TokenFiles, document_ids, window_starts  # noqa: E402
from tests.model import tiny  # noqa: E402


def test_get_batch_draws_starts_uniformly_and_targets_follow_inputs():
    torch.manual_seed(1)
    dataset = np.arange(100)
    counts = np.zeros(100)
    for _ in range(500):
        inputs, targets = get_batch(dataset, 32, 7, "cpu")
        assert inputs.shape == targets.shape == (32, 7)
        assert inputs.dtype == targets.dtype == torch.int64
        assert torch.equal(inputs + 1, targets)
        assert torch.equal(inputs, inputs[:, :1] + torch.arange(7))
        counts += np.bincount(inputs[:, 0], minlength=100)
    assert not counts[93:].any()
    expected = 500 * 32 / 93
    assert np.abs(counts[:93] - expected).max() < 5 * math.sqrt(expected * (1 - 1 / 93))


def test_get_batch_says_what_is_wrong(tmp_path):
    np.save(tmp_path / "ids.npy", np.arange(9, dtype=np.uint16))
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    assert get_batch(mapped, 2, 8, "cpu")[1].tolist() == [[*range(1, 9)]] * 2
    with pytest.raises(ValueError, match="9 ids; a context of 9"):
        get_batch(mapped, 2, 9, "cpu")
    with pytest.raises(TypeError, match="float64"):
        get_batch(np.zeros(20), 2, 9, "cpu")
    with pytest.raises((RuntimeError, AssertionError)):
        get_batch(mapped, 2, 8, "cuda:99")


def test_starts_depend_on_seed_and_step_only_and_are_uniform():
    assert window_starts(3, 5, 8, 1000).tolist() == window_starts(3, 5, 8, 1000).tolist()
    # pinned: another sequence would be another run
    assert window_starts(0, 1, 4, 1000).tolist() == [638, 101, 93, 64]
    starts = np.concatenate([window_starts(7, step, 64, 50) for step in range(400)])
    expected = 400 * 64 / 50
    assert np.abs(np.bincount(starts, minlength=50) - expected).max() < 5 * math.sqrt(expected * 0.98)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(1, 6), st.data())
def test_windows_over_files_are_those_of_one_sequence(tmp_path_factory, lengths, context, data):
    directory = tmp_path_factory.mktemp("files")
    whole = np.arange(sum(lengths), dtype=np.uint16)
    paths = []
    for number, (length, end) in enumerate(zip(lengths, np.cumsum(lengths), strict=True)):
        part = whole[end - length : end]
        if number % 3 == 2 and length:
            part.astype("<u2").tofile(path := directory / f"{number}.bin")
        else:
            np.save(path := directory / f"{number}.npy", part.astype([np.uint16, np.uint32][number % 2]))
        paths.append(str(path))
    if len(whole) <= context:
        with pytest.raises(ValueError, match=f"{len(whole)} ids"):
            TokenFiles(paths, 1000, context, data_dtype="uint16")
        return
    files = TokenFiles(paths, 1000, context, data_dtype="uint16")
    starts = np.array(data.draw(st.lists(st.integers(0, files.num_starts - 1), min_size=1, max_size=9)))
    expected = starts[:, None] + np.arange(context + 1)
    assert np.array_equal(files.windows(starts).numpy(), expected)
    spread = files.windows(files.spread(None)).numpy()
    assert np.array_equal(spread[:, :-1].ravel(), np.arange(len(spread) * context))
    assert len(spread) == (len(whole) - 1) // context


def test_files_of_other_ids_are_refused(tmp_path):
    for name, array in {
        "float": np.zeros(50),
        "signed": np.zeros(50, np.int64),
        "square": np.zeros((50, 2), np.uint16),
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(ValueError, match=f"{name}.npy: .*expected a sequence of uint16 or uint32"):
            TokenFiles([str(tmp_path / f"{name}.npy")], 10, 4)
    (tmp_path / "odd.bin").write_bytes(b"123")
    (tmp_path / "empty.bin").touch()
    (tmp_path / "text.npy").write_text("no array")
    for name in ("odd.bin", "empty.bin", "text.npy"):
        with pytest.raises(ValueError, match=name):
            TokenFiles([str(tmp_path / name)], 10, 4, data_dtype="uint16")
    with pytest.raises(OSError, match=r"nothing\.npy"):
        TokenFiles([str(tmp_path / "nothing.npy")], 10, 4)
    np.save(tmp_path / "high.npy", np.array([1] * 20 + [10] + [1] * 20, np.uint16))
    files = TokenFiles([str(tmp_path / "high.npy")], 10, 4)
    for check in (lambda: files.windows(np.array([3, 18])), files.check):
        with pytest.raises(ValueError, match=r"high.npy: id 10 at position 20; .* vocab_size, 10"):
            check()


def test_a_fingerprint_tells_data_apart(tmp_path):
    ids = tiny.ids(100_000)
    np.save(tmp_path / "a.npy", ids)
    np.save(tmp_path / "b.npy", ids.astype(np.uint32))
    ids[50_000:52_000] += 1
    np.save(tmp_path / "c.npy", ids)
    ids[50_000:52_000] -= 1
    ids[77_777] += 1
    np.save(tmp_path / "d.npy", ids)
    first, same, *others = (TokenFiles([str(tmp_path / f"{n}.npy")], 100, 4).fingerprint() for n in "abcd")
    assert first == same
    assert len({first, *others}) == 3


def test_the_end_of_text_begins_a_document():
    ids = torch.tensor([[5, 0, 6, 7, 0, 0, 8], [0, 1, 2, 3, 4, 5, 6]])
    assert document_ids(ids, 0).tolist() == [[0, 1, 1, 1, 2, 3, 3], [1] * 7]


def test_a_configuration_goes_to_toml_and_back(tmp_path):
    config = tiny.config(tmp_path / "run", out='a "quoted" \\ out \x7f\t', max_gradient_norm=None, tensorboard=True)
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())
    assert load_config(path) == config
    changed = load_config(path, {"steps": 99, "model": {"rope_theta": None}})
    assert (changed.steps, changed.model.rope_theta, changed.model.d_model) == (99, None, 16)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 0, "steps is 0; expected a positive integer"),
        ("steps", 1.5, "steps is 1.5; expected an integer"),
        ("steps", True, "steps is True; expected an integer"),
        ("learning_rate", float("nan"), "learning_rate is nan"),
        ("optimizer", "sgd", "optimizer is 'sgd'; expected one of adamw, muon"),
        ("min_learning_rate", 1.0, "min_learning_rate is 1.0; expected from 0 to learning_rate"),
        ("train_data", "file.npy", "train_data is 'file.npy'; expected a list of texts"),
        ("train_data", (), "expected at least one file or folder"),
        ("train_data", ("a\0b",), "expected text without NUL and surrogates"),
        ("out", "\udc80", "expected text without NUL and surrogates"),
        ("tokenizer", "none", r"tokenizer is 'none', which means no value in a file; expected another name"),
        ("end_of_text", "none", "end_of_text is 'none'; expected an integer or 'auto' or none"),
        ("data_dtype", "uint8", "data_dtype is 'uint8'; expected one of uint16, uint32, int32 or none"),
        ("learning_rate", 10**400, "learning_rate is 1000.*; expected a positive number"),
        ("compile", "yes", "compile is 'yes'; expected true or false"),
        ("end_of_text", 40, "end_of_text is 40; expected an id below vocab_size"),
        ("seed", -1, "seed is -1"),
        ("warmup_steps", 13, "warmup_steps is 13"),
    ],
)
def test_wrong_fields_are_named(tmp_path, field, value, message):
    with pytest.raises(ValueError, match=message):
        tiny.config(tmp_path / "run", **{field: value})


def test_files_of_configurations_are_refused_with_file_and_field(tmp_path):
    path = tmp_path / "config.toml"
    text = tiny.config(tmp_path / "run").to_toml()
    for changed, message in [
        (text.replace("steps = 12", "steps = 12\nstep = 3"), "unknown field 'step'"),
        (text.replace("steps = 12\n", "", 1), "field 'steps' is missing"),
        (text.replace("d_model = 16", "d_model = 15"), "model: d_model is 15"),
        (text.replace("d_model = 16", "width = 15"), "model: unknown field 'width'"),
        (text.replace("[model]", "[model"), "not TOML"),
        (
            "model = 3\n" + text[: text.index("[model]")],
            "model is 3; expected the name of a preset or a table",
        ),
    ]:
        path.write_text(changed)
        with pytest.raises(ValueError, match=message) as error:
            load_config(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize(("name", "tokens"), [("tinystories", 327_680_000), ("tinystories-low-resource", 40_960_000)])
def test_configurations_that_are_shipped_train_on_as_many_tokens_as_the_handout_says(pytestconfig, name, tokens):
    config = load_config(pytestconfig.rootpath / "configs" / f"{name}.toml")
    assert isinstance(config, TrainingConfig)
    assert config.steps * config.batch_size * config.model.context_length == tokens
    shape = {"vocab_size": 10_000, "context_length": 256, "d_model": 512, "d_ff": 1344, "num_layers": 4}
    assert config.model.to_dict().items() >= {**shape, "num_heads": 16, "rope_theta": 10_000.0}.items()
