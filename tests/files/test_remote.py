"""Addresses of object stores, in fsspec's store in memory; and addresses that are refused."""

import inspect
import os
from pathlib import Path

import numpy as np
import pytest

import fastlm
from fastlm import cli
from fastlm.corpus.manifest import read_manifest
from fastlm.corpus.remote_shards import cached_shards, local_shards
from fastlm.corpus.verify import verify_shards
from fastlm.files.atomic import replacing, write_files
from fastlm.files.remote import RemotePath, fetched, is_address, local_path, location

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store():
    """The address of an empty store."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield "memory://store"
    system.store.clear()


def content(folder):
    return {name: (folder / name).read_bytes() for name in folder.names()}


def test_locations():
    assert location("some/path") == Path("some/path")
    assert location(Path("some/path")) == Path("some/path")
    assert location("file:///some/path") == Path("/some/path")
    assert location("memory://a/b") == RemotePath("memory://a/b/")
    assert str(location("memory://a/b") / "c") == "memory://a/b/c"
    assert (location("memory://a/b.npy").name, location("memory://a/b.npy").suffix) == ("b.npy", ".npy")
    assert location("memory://a/b").parent == location("memory://a")
    assert [is_address(name) for name in ("memory://a", "file:///a", "a", Path("a"), None)] == [True, *[False] * 4]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ftp://host/x", "ftp://host/x: the scheme 'ftp' is not supported; expected a path, or one of s3://, gs://"),
        ("s4://bucket/x", "the scheme 's4' is not supported"),
        (Path("s3://bucket/x"), "s3:/bucket/x: expected an address such as s3://bucket/name, as a str"),
        ("s3:/bucket/x", "s3:/bucket/x: expected an address such as"),
        ("memory://", "memory://: expected a bucket after memory://"),
    ],
)
def test_addresses_that_are_refused(name, message, tmp_path, monkeypatch, trained):
    """By every function that writes, before it makes anything."""
    monkeypatch.chdir(tmp_path)
    calls = [
        lambda: location(name),
        lambda: trained.save(name),
        lambda: fastlm.encode_corpus(trained, ["text"], name),
        lambda: fastlm.train_bpe(["text"], 300, checkpoint=name),
    ]
    if isinstance(name, Path):
        calls += [lambda: write_files(name, {"a": b""}), lambda: replacing(name).__enter__()]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()
    assert not os.listdir()


COMMANDS_WITH_OUTPUT = sorted(
    name
    for name, command in cli.COMMANDS.items()
    if {"out", "checkpoint"} & inspect.signature(command).parameters.keys()
)


@pytest.mark.parametrize("command", COMMANDS_WITH_OUTPUT)
@pytest.mark.parametrize("address", ["nope://bucket/out", "s3:/bucket/out"])
def test_commands_refuse_addresses_of_other_schemes(command, address, tmp_path, monkeypatch, trained, capsys):
    monkeypatch.chdir(tmp_path)
    trained.save("tokenizer")
    Path("text").write_text("some text " * 50)
    tokenizer = ["--tokenizer", "tokenizer"]
    arguments = {
        "encode": ["text", *tokenizer],
        "train-tokenizer": ["text", "--vocab-size", "300"],
        "export": ["model"],
        "import": ["model"],
        "demo": [],
        "report": [],
        "run": ["embedded"],
    }.get(command)
    if arguments is None:
        pytest.skip(f"{command} has tests of its own")
    before = sorted(os.listdir())
    assert cli.main([command, *arguments, "--out", address]) == 1
    printed = capsys.readouterr().err
    assert address in printed or f"{address.replace('//', '/')}: expected an address such as" in printed
    assert sorted(os.listdir()) == before


def test_a_checkpoint_of_counts_is_local(store, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="checkpoint must be a path of this machine, got the address memory://store/c"):
        fastlm.train_bpe(["text"], 300, checkpoint=f"{store}/c")
    assert not os.listdir()
    with pytest.raises(ValueError, match="out must be a path"):
        local_path(store, "out")


def test_files_of_a_store(store, tmp_path):
    folder = location(f"{store}/folder")
    assert not folder.exists()
    assert folder.names() == []
    write_files(folder, {"b": b"second", "a": lambda path: path.write_bytes(b"first")})
    assert content(folder) == {"a": b"first", "b": b"second"}
    write_files(folder, {"c": b"third"}, remove=["a", "missing"])
    assert folder.sizes() == {"b": 6, "c": 5}
    with replacing(folder / "b") as file:
        file.write(b"again")
    assert (folder / "b").read_bytes() == b"again"

    def fail(path):
        raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        write_files(folder, {"d": b"fourth", "e": fail})
    assert folder.names() == ["b", "c"]
    with fetched(folder) as copy:
        assert sorted(path.name for path in copy.iterdir()) == ["b", "c"]
    assert not copy.exists()
    with fetched(folder / "b") as copy:
        assert copy.read_bytes() == b"again"
    with pytest.raises(FileNotFoundError, match="memory://store/none"), fetched(location(f"{store}/none")):
        pass
    with pytest.raises(FileNotFoundError, match="memory://store/folder/none"):
        (folder / "none").read_bytes()
    with pytest.raises(FileNotFoundError, match="memory://store/folder/none"):
        (folder / "none").unlink()
    (folder / "none").unlink(missing_ok=True)


def test_a_scheme_whose_library_is_missing(monkeypatch):
    def url_to_fs(address, **options):
        raise ImportError("Install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    with pytest.raises(ValueError, match=r"^gs://bucket/name: needs a library: pip install "):
        location("gs://bucket/name")


def test_an_error_of_a_library_names_the_address(store, monkeypatch):
    path = location(f"{store}/name")

    def fail(*arguments, **options):
        raise KeyError("internal detail")

    monkeypatch.setattr(type(path._system), "pipe_file", fail)
    with pytest.raises(OSError, match=r"internal detail.*memory://store/name"):
        path.write_bytes(b"content")


def test_a_write_that_is_lost_is_an_error(store, monkeypatch):
    path = location(f"{store}/name")
    monkeypatch.setattr(type(path._system), "pipe_file", lambda *arguments, **options: None)
    with pytest.raises(OSError, match="no object after a write of 7 bytes"):
        path.write_bytes(b"content")


def test_a_tokenizer(store, trained, tmp_path):
    files = trained.save(f"{store}/tokenizer")
    assert str(files[0]) == f"{store}/tokenizer/tokenizer.fastlm"
    assert fastlm.load(f"{store}/tokenizer").vocabulary.fingerprint == trained.vocabulary.fingerprint
    assert fastlm.load(f"{store}/tokenizer/tokenizer.json").encode("some text") == trained.encode("some text")
    trained.save(tmp_path / "local")
    assert content(location(f"{store}/tokenizer")) == {
        path.name: path.read_bytes() for path in (tmp_path / "local").iterdir()
    }
    # another tokenizer in the same folder removes what would contradict it
    other = fastlm.train_bpe(["completely other text"], 262, ["<|endoftext|>"])
    other.save(f"{store}/tokenizer", ["fastlm"])
    assert location(f"{store}/tokenizer").names() == ["tokenizer.fastlm"]
    with pytest.raises(FileNotFoundError, match="memory://store/none"):
        fastlm.load(f"{store}/none")


@pytest.mark.parametrize("shard_format", ["npy", "bin", "megatron"])
def test_shards_are_those_of_a_file_system(store, trained, tmp_path, shard_format, monkeypatch):
    monkeypatch.setenv("FASTLM_CACHE", str(tmp_path / "cache"))
    documents = [f"document {number} with some text" for number in range(2000)]
    options = {"format": shard_format, "shard_tokens": 3000, "validation_fraction": 0.2, "end_of_text": "<|endoftext|>"}
    expected = fastlm.encode_corpus(trained, documents, tmp_path / "local", **options)
    manifest = fastlm.encode_corpus(trained, documents, f"{store}/ids", **options)
    assert manifest == expected
    folder = location(f"{store}/ids")
    local = {path.name: path.read_bytes() for path in (tmp_path / "local").iterdir()}
    assert content(folder) == local
    assert verify_shards(folder) == expected
    copy = cached_shards(folder)
    assert local_shards(f"{store}/ids") == str(copy)
    assert local_shards("ids") == "ids"
    assert verify_shards(copy) == expected
    assert fastlm.encode_corpus(trained, documents, f"{store}/ids", resume=True, **options) == expected
    with pytest.raises(FileExistsError, match="memory://store/ids"):
        fastlm.encode_corpus(trained, documents, f"{store}/ids", **options)
    name = next(name for name in folder.names() if name.endswith((".npy", ".bin")))
    changed = bytearray((folder / name).read_bytes())
    changed[-1] ^= 1
    (folder / name).write_bytes(bytes(changed))
    with pytest.raises(ValueError, match=f"memory://store/ids/{name}: its sha256 is"):
        verify_shards(folder)
    (copy / name).unlink()
    with pytest.raises(ValueError, match=f"memory://store/ids/{name}: its sha256 is"):
        cached_shards(folder)
    assert not (copy / name).exists()
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"memory://store/ids/{name}"):
        verify_shards(folder)


def test_a_job_that_fails_at_its_start_leaves_nothing(store, trained):
    def broken():
        raise RuntimeError("no documents")
        yield

    with pytest.raises(RuntimeError, match="no documents"):
        fastlm.encode_corpus(trained, broken(), f"{store}/ids")
    assert location(f"{store}/ids").names() == []


@pytest.mark.parametrize("shard_format", ["npy", "bin", "megatron"])
def test_a_job_resumes_from_the_store_alone(store, trained, tmp_path, monkeypatch, shard_format):
    """The local files are gone after each interruption, as on another machine."""
    monkeypatch.setattr("fastlm.corpus.job_folder.CHECKPOINT_SECONDS", 0.0)
    documents = [f"document {number} with some text" for number in range(120)]
    options = {"format": shard_format, "shard_tokens": 400, "validation_fraction": 0.2}
    expected = fastlm.encode_corpus(trained, documents, tmp_path / "local", **options)

    class StopError(Exception):
        pass

    monkeypatch.setattr("fastlm.corpus.documents.GatheredDocuments.is_enough", property(lambda self: True))

    def until(number):
        for k, document in enumerate(documents):
            if k == number:
                raise StopError
            yield document

    for stop in (5, 6, 40, 41, 119):
        with pytest.raises(StopError):
            fastlm.encode_corpus(trained, until(stop), f"{store}/ids", resume=True, num_threads=1, **options)
        names = location(f"{store}/ids").names()
        assert "manifest.json" not in names
        assert "unfinished/state.json" in names
    assert [name for name in names if name.startswith("unfinished/train-")]
    manifest = fastlm.encode_corpus(trained, until(len(documents)), f"{store}/ids", resume=True, **options)
    assert manifest.splits == expected.splits
    found = content(location(f"{store}/ids"))
    assert not [name for name in found if name.startswith("unfinished/")]
    assert verify_shards(location(f"{store}/ids")) == manifest


def test_a_lost_part_of_a_checkpoint_is_refused(store, trained, monkeypatch):
    monkeypatch.setattr("fastlm.corpus.job_folder.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("fastlm.corpus.documents.GatheredDocuments.is_enough", property(lambda self: True))

    def broken():
        yield from [f"document {number}" for number in range(20)]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fastlm.encode_corpus(trained, broken(), f"{store}/ids", num_threads=1)
    folder = location(f"{store}/ids/unfinished")
    part = [name for name in folder.names() if name.startswith("train-00000.npy.")][3]
    (folder / part).unlink()
    with pytest.raises(ValueError, match=r"train-00000\.npy: \d+ bytes; the checkpoint expects \d+"):
        fastlm.encode_corpus(trained, broken(), f"{store}/ids", num_threads=1, resume=True)


def test_commands(store, trained, tmp_path, capfdbinary, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("some text " * 500)
    assert cli.main(["train-tokenizer", "text", "--vocab-size", "262", "--out", f"{store}/tokenizer"]) == 0
    assert cli.main(["train-tokenizer", "text", "--vocab-size", "262", "--out", f"{store}/tokenizer"]) == 0
    arguments = ["--tokenizer", f"{store}/tokenizer"]
    assert cli.main(["encode", "text", *arguments, "--out", f"{store}/ids"]) == 0
    assert cli.main(["verify", f"{store}/ids"]) == 0
    assert cli.main(["count", "text", *arguments]) == 0
    capfdbinary.readouterr()
    assert cli.main(["decode", f"{store}/ids", *arguments]) == 0
    assert capfdbinary.readouterr().out == Path("text").read_bytes()
    assert cli.main(["verify", f"{store}/none"]) == 1
    assert b"memory://store/none/manifest.json" in capfdbinary.readouterr().err
    assert sorted(os.listdir()) == ["text"]


def test_file_addresses_are_paths(trained, tmp_path):
    trained.save(f"file://{tmp_path}/tokenizer")
    assert fastlm.load(f"file://{tmp_path}/tokenizer").vocabulary.fingerprint == trained.vocabulary.fingerprint
    manifest = fastlm.encode_corpus(trained, ["text"], f"file://{tmp_path}/ids")
    assert read_manifest(tmp_path / "ids") == manifest


def test_a_model_and_its_exports(store, tmp_path):
    torch = pytest.importorskip("torch")
    from fastlm.model import ModelConfig
    from fastlm.model.files import load_model, save_model
    from fastlm.training.checkpoint import load_checkpoint, save_checkpoint
    from tests.model.models import made, same_weights

    shape = ModelConfig(vocab_size=300, context_length=12, d_model=16, num_layers=1, num_heads=2, d_ff=24)
    model = made(shape)
    save_model(model, f"{store}/model")
    assert location(f"{store}/model").names() == ["model.json", "model.safetensors"]
    assert same_weights(load_model(f"{store}/model"), model)
    assert cli.main(["export", f"{store}/model", "--out", f"{store}/llama"]) == 0
    assert cli.main(["import", f"{store}/llama", "--out", f"{store}/back"]) == 0
    assert same_weights(load_model(f"{store}/back"), model)
    optimizer = torch.optim.AdamW(model.parameters())
    save_checkpoint(model, optimizer, 7, f"{store}/checkpoint.safetensors")
    assert load_checkpoint(f"{store}/checkpoint.safetensors", made(shape), torch.optim.AdamW(model.parameters())) == 7


def test_a_training_run(store, tmp_path, monkeypatch):
    """Stopped after a checkpoint and resumed from the store; the data is there too."""
    pytest.importorskip("torch")
    import dataclasses

    from fastlm.model.files import load_model
    from fastlm.training import train
    from fastlm.training.log import read_log
    from fastlm.training.loop import TrainingRun
    from tests.model import tiny
    from tests.model.models import same_weights

    monkeypatch.setenv("FASTLM_CACHE", str(tmp_path / "cache"))
    tokenizer = fastlm.train_bpe(["the cat sat on the mat"] * 5, 268, ["<|endoftext|>"])
    documents = [f"the cat {number} sat on the mat" for number in range(400)]
    fastlm.encode_corpus(tokenizer, documents, f"{store}/ids", end_of_text="<|endoftext|>", validation_fraction=0.2)
    shape = dataclasses.replace(tiny.MODEL, vocab_size=300)
    changes = {"model": shape, "train_data": (f"{store}/ids",), "validation_data": (), "data_dtype": None}
    local = tiny.config(tmp_path / "runs", **changes)
    train(local)
    remote = dataclasses.replace(local, out=f"{store}/run")
    real = TrainingRun._update

    class StopError(Exception):
        pass

    def update(self, step, *arguments):
        if step == 7:
            raise StopError
        return real(self, step, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "_update", update)
        with pytest.raises(StopError):
            train(remote)
    names = location(f"{store}/run").names()
    assert "checkpoints/step-00000004.safetensors" in names
    assert not [name for name in names if name.startswith("model/")]
    assert b"memory://store/run" in location(f"{store}/run/config.toml").read_bytes()
    assert str(train(remote)) == f"{store}/run/model"
    assert same_weights(load_model(f"{store}/run/model"), load_model(Path(local.out) / "model"))
    with fetched(location(f"{store}/run/log.jsonl")) as log:
        assert [line.get("loss") for line in read_log(log)] == [
            line.get("loss") for line in read_log(Path(local.out) / "log.jsonl")
        ]


def test_bz2_and_lz4(tmp_path, trained):
    pyarrow = pytest.importorskip("pyarrow")
    import bz2

    text = b"some text of a corpus " * 10_000
    (tmp_path / "a.txt").write_bytes(text)
    (tmp_path / "b.txt.bz2").write_bytes(bz2.compress(text))
    with pyarrow.CompressedOutputStream(str(tmp_path / "c.txt.lz4"), "lz4") as file:
        file.write(text)
    expected = fastlm.encode_corpus(trained, tmp_path / "a.txt", tmp_path / "plain")
    for name in ("b.txt.bz2", "c.txt.lz4"):
        found = fastlm.encode_corpus(trained, tmp_path / name, tmp_path / name.replace(".", "-"))
        assert np.array_equal(found.map(tmp_path / name.replace(".", "-"))[0], expected.map(tmp_path / "plain")[0])
        damaged = tmp_path / f"damaged-{name}"
        damaged.write_bytes((tmp_path / name).read_bytes()[:-20])
        with pytest.raises(ValueError, match=f"damaged-{name}: decompressed byte"):
            fastlm.encode_corpus(trained, damaged, tmp_path / "never")
