"""The Hub's local cache: huggingface_hub judges which folder a name means."""

import sys

import pytest

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


def test_a_download_without_huggingface_hub_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install 'fastlm\[hub\]'"):
        hub.download("gpt2")


def test_a_missing_name_is_told_where_it_was_sought(cache):
    assert str(hub.missing("gpt2", "v1")).startswith(
        f"gpt2: no such file or folder, and the Hub cache {cache} has no model of this name at revision 'v1'; fetch it"
    )
