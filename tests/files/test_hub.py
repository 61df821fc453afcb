"""The Hub's local cache: huggingface_hub judges which folder a name means."""

import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

import pytest

import fastlm
from fastlm.files import hub

REPOS = ["gpt2", "openai-community/gpt2", "a/b.c-d_e"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return tmp_path / "hub"


def add(cache, repo_id, commit, refs):
    model = cache / f"models--{repo_id.replace('/', '--')}"
    snapshot = model / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer.json").write_text("{}")
    for name in refs:
        path = model / "refs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)
    return snapshot


@pytest.mark.parametrize("repo_id", REPOS)
def test_the_same_folder_as_huggingface_hub(cache, repo_id):
    library = pytest.importorskip("huggingface_hub")
    main = add(cache, repo_id, "1" * 40, ["main", "refs/pr/1"])
    other = add(cache, repo_id, "2" * 40, ["v1.0"])
    for revision in (None, "main", "refs/pr/1", "v1.0", "1" * 40, "2" * 40, "v2", "3" * 40):
        found = hub.cached_snapshot(repo_id, revision)
        expected = library.try_to_load_from_cache(repo_id, "tokenizer.json", cache_dir=cache, revision=revision)
        assert (found and str(found / "tokenizer.json")) == expected
    assert hub.cached_snapshot(repo_id) == main
    assert hub.cached_snapshot(repo_id, "v1.0") == other


@pytest.mark.parametrize(
    "repo_id", [*REPOS, "a/b/c", "-a", "a-", "a..b", "a--b", "a/.b", "", "a" * 97, "x.git", "/abs", "é"]
)
def test_names_that_huggingface_hub_accepts(repo_id):
    library = pytest.importorskip("huggingface_hub.utils")
    if not repo_id.isascii() and version("huggingface_hub").startswith("0."):
        pytest.skip("huggingface_hub before 1.0 accepts letters of all scripts")
    try:
        library.validate_repo_id(repo_id)
        expected = True
    except library.HFValidationError:
        expected = False
    assert hub.is_repo_id(repo_id) == expected


def test_environment_variables_in_the_librarys_order(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert hub.cache_folder() == tmp_path / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert hub.cache_folder() == tmp_path / "x" / "huggingface" / "hub"
    monkeypatch.setenv("HF_HOME", "~/h")
    assert hub.cache_folder() == tmp_path / "h" / "hub"
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", "/old")
    assert str(hub.cache_folder()) == "/old"
    monkeypatch.setenv("HF_HUB_CACHE", "$HOME/new")
    assert hub.cache_folder() == tmp_path / "new"


def test_a_reference_cannot_lead_out_of_the_cache(cache):
    add(cache, "gpt2", "1" * 40, [])
    (cache / "models--gpt2" / "refs").mkdir()
    (cache / "models--gpt2" / "refs" / "main").write_text("../../..")
    assert hub.cached_snapshot("gpt2") is None
    for revision in ("../main", "", "/etc"):
        with pytest.raises(ValueError, match="revision must be a branch, tag or commit"):
            hub.cached_snapshot("gpt2", revision)
    with pytest.raises(ValueError, match="cannot be the name of a model on the Hub"):
        hub.cached_snapshot("../gpt2")


@pytest.fixture
def cached_tokenizer(cache, trained):
    """The names and revisions of a model with `trained`, and with a smaller vocabulary at another revision."""
    trained.save(add(cache, "org/name", "1" * 40, ["main"]), formats=["tokenizer.json"])
    trained.truncated(300).save(add(cache, "org/name", "2" * 40, ["small"]), formats=["tokenizer.json"])
    return trained


def test_load_reads_the_cache(cached_tokenizer, monkeypatch, tmp_path):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    found = fastlm.load("org/name")
    assert found.vocabulary.fingerprint == cached_tokenizer.vocabulary.fingerprint
    assert fastlm.load("org/name", revision="1" * 40).vocab_size == cached_tokenizer.vocab_size
    assert fastlm.load(Path("org/name"), revision="small").vocab_size == 300


def test_a_path_that_exists_comes_before_the_cache(cached_tokenizer, monkeypatch, tmp_path):
    cached_tokenizer.truncated(400).save(tmp_path / "cwd" / "org" / "name")
    monkeypatch.chdir(tmp_path / "cwd")
    assert fastlm.load("org/name").vocab_size == 400
    with pytest.raises(ValueError, match="revision is for a model of the Hub, and org/name is a local path"):
        fastlm.load("org/name", revision="main")
    with pytest.raises(ValueError, match="download is for a model of the Hub, and org/name is a local path"):
        fastlm.load("org/name", download=True)


def test_a_model_that_the_cache_lacks_is_named(cached_tokenizer, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^org/other: no such file or folder, and the Hub cache .* no model"):
        fastlm.load("org/other")
    with pytest.raises(FileNotFoundError, match="has no model of this name at revision 'v9'; fetch it with `hf down"):
        fastlm.load("org/name", revision="v9")
    with pytest.raises(FileNotFoundError, match="No such file or directory: 'a/b/c'"):
        fastlm.load("a/b/c")
    with pytest.raises(ValueError, match=r"revision must be a branch, tag or commit, got '../main'"):
        fastlm.load("org/name", revision="../main")
    with pytest.raises(ValueError, match="token is for a download: give download=True with it"):
        fastlm.load("org/name", token="t")


def test_a_snapshot_without_a_tokenizer_file_is_named(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = add(cache, "org/name", "1" * 40, ["main"]) / "tokenizer.json"
    message = "^org/name: no such file or folder, and the Hub cache .* has no tokenizer file of this model; fetch it"
    file.unlink()
    with pytest.raises(FileNotFoundError, match=message):
        fastlm.load("org/name")
    file.symlink_to("../../blobs/of-a-download-that-was-interrupted")
    with pytest.raises(FileNotFoundError, match=message):
        fastlm.load("org/name")


def test_a_malformed_file_of_a_snapshot_is_named(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = add(cache, "org/name", "1" * 40, ["main"]) / "tokenizer.json"
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))}: "):
        fastlm.load("org/name")


def test_nothing_is_fetched_without_being_asked(cached_tokenizer, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    assert fastlm.load("org/name").vocab_size == cached_tokenizer.vocab_size
    with pytest.raises(FileNotFoundError, match="no model of this name"):
        fastlm.load("org/other")
    with pytest.raises(ValueError, match=r"downloads need huggingface_hub: pip install huggingface_hub"):
        fastlm.load("org/name", download=True)


def test_a_download_asks_huggingface_hub(cached_tokenizer, monkeypatch, tmp_path):
    library = pytest.importorskip("huggingface_hub")
    asked = {}

    def snapshot_download(repo_id, **options):
        asked.update(options, repo_id=repo_id)
        return str(hub.cached_snapshot(repo_id, options["revision"]))

    monkeypatch.setattr(library, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    assert fastlm.load("org/name", revision="small", download=True, token="t").vocab_size == 300
    assert (asked["repo_id"], asked["revision"], asked["token"]) == ("org/name", "small", "t")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "a.tiktoken", "tekken.json"):
        assert any(fnmatch(name, pattern) for pattern in asked["allow_patterns"])
    assert not any(fnmatch("model.safetensors", pattern) for pattern in asked["allow_patterns"])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("no such model\nhere is how to log in"), r"^org/name: no such model$"),
        (OSError(28, "No space left on device", "/cache"), r"^\[Errno 28\] No space left on device: '/cache'$"),
    ],
)
def test_a_download_that_fails_says_why(cached_tokenizer, monkeypatch, tmp_path, error, expected):
    def snapshot_download(repo_id, **options):
        raise error

    monkeypatch.setattr(pytest.importorskip("huggingface_hub"), "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match=expected):
        fastlm.load("org/name", download=True)


def test_no_path_is_refused():
    with pytest.raises(ValueError, match="path must not be empty"):
        fastlm.load("")


OFFLINE = """
import fastlm
print(fastlm.load("org/name", revision="small", download=True).vocab_size)
try:
    fastlm.load("org/other", download=True)
except OSError as error:
    print(type(error).__name__, error)
"""


def test_a_download_obeys_offline_mode(cached_tokenizer, cache, tmp_path):
    """huggingface_hub reads HF_HUB_OFFLINE when it is imported, so this takes a process."""
    pytest.importorskip("huggingface_hub")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = str(Path(fastlm.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", OFFLINE], env=environment, cwd=cache, capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("300\nOSError org/other: ")
    assert run.stdout.count("\n") == 2
