"""Folders of models in the local cache of the Hugging Face Hub.

Layout of the cache (huggingface_hub's guide "Understand caching"): `models--ORG--NAME/refs/REVISION` holds a commit,
and `models--ORG--NAME/snapshots/COMMIT/` the files. Nothing is fetched unless a caller asks for it.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from fastlm._extras import install_command

# ORG/NAME or NAME; a name has no leading or trailing dot or dash and no ".." or "--" (huggingface_hub's rules)
_REPO_ID = re.compile(
    r"(?!.*(?:--|\.\.))(?:[A-Za-z0-9_](?:[\w.-]{0,94}[\w])?/)?[A-Za-z0-9_](?:[\w.-]{0,94}[\w])?", re.ASCII
)
# names with these endings are files and not models
_FILE_SUFFIXES = (".json", ".txt", ".tiktoken", ".fastlm", ".model", ".bin")
_REVISION = re.compile(r"(?!.*\.\.)\w[\w./-]{0,254}", re.ASCII)


def is_repo_id(name: str) -> bool:
    """True for a string that can name a model on the Hub, such as "gpt2" or "openai-community/gpt2"."""
    return bool(_REPO_ID.fullmatch(name)) and not name.endswith(".git")


def cache_folder() -> Path:
    """The folder of the cache, by the environment variables of huggingface_hub in its order."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.path.expandvars(os.environ[name])).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(os.path.expandvars(home)).expanduser() / "hub"
    user_cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(user_cache).expanduser() / "huggingface" / "hub"


def cached_snapshot(repo_id: str, revision: str | None = None) -> Path | None:
    """The folder of a model's files in the cache, or None if the cache does not have this revision of it.

    Args:
        repo_id: Name of the model, such as "gpt2" or "openai-community/gpt2".
        revision: Branch, tag or commit; None for "main".

    Raises:
        ValueError: `repo_id` or `revision` cannot be a name on the Hub.
    """
    revision = "main" if revision is None else revision
    if not is_repo_id(repo_id):
        raise ValueError(f"{repo_id!r} cannot be the name of a model on the Hub: expected ORG/NAME or NAME")
    if not _REVISION.fullmatch(revision):
        raise ValueError(f"revision must be a branch, tag or commit, got {revision!r}")
    model = cache_folder() / f"models--{repo_id.replace('/', '--')}"
    reference = model / "refs" / revision
    commit = reference.read_text("utf-8").strip() if reference.is_file() else revision
    snapshot = model / "snapshots" / commit
    return snapshot if _REVISION.fullmatch(commit) and snapshot.is_dir() else None


def resolve(
    path: str | os.PathLike[str], revision: str | None = None, *, download: bool = False, token: str | None = None
) -> Path:
    """Finds the files that a path or the name of a model means. A path that exists comes first.

    Args:
        path: A file, a folder, or the name of a model, such as "openai-community/gpt2".
        revision: Branch, tag or commit of a model; None for "main".
        download: Fetch the tokenizer files of a model first.
        token: Access token for the download of a private model.

    Returns:
        The path, or the folder of the model in the cache.

    Raises:
        FileNotFoundError: There is no such path, and the cache does not have the model.
        ValueError: An option of a model is given for a path that exists; `revision` cannot be one; or a download
            lacks huggingface_hub.
        OSError: The model cannot be fetched.
    """
    found = Path(path)
    if token is not None and not download:
        raise ValueError("token is for a download: give download=True with it")
    if os.fspath(path) and found.exists():
        if download or revision is not None:
            option = "download" if download else "revision"
            raise ValueError(f"{option} is for a model of the Hub, and {found} is a local path")
        return found
    name = os.fspath(path)
    if not name:
        raise ValueError("path must not be empty")
    if not is_repo_id(name) or found.suffix in _FILE_SUFFIXES:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if download:
        return _download(name, revision, token)
    snapshot = cached_snapshot(name, revision)
    if snapshot is None:
        raise missing(name, revision)
    return snapshot


def _download(repo_id: str, revision: str | None, token: str | None) -> Path:
    """Fetches the tokenizer files of a model from the Hub into the cache, and returns their folder.

    Raises:
        ValueError: the package huggingface_hub is not installed.
        OSError: the model cannot be fetched.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ValueError(f"downloads need huggingface_hub: {install_command('hub')}") from None
    names = [
        "tokenizer*.json",
        "tokenizer.fastlm",
        "vocab.json",
        "merges.txt",
        "special_tokens_map.json",
        "*.tiktoken",
        "tekken.json",
    ]
    try:
        return Path(snapshot_download(repo_id, revision=revision, token=token, allow_patterns=names))
    except OSError as error:
        if error.errno is not None:
            raise
        # an error of huggingface_hub, whose message has several lines
        raise OSError(f"{repo_id}: {str(error).splitlines()[0]}") from None


def missing(repo_id: str, revision: str | None = None, file: str | None = None) -> FileNotFoundError:
    """The error for a name that is neither a path nor a model in the cache, or for a model that lacks a file there."""
    of_revision = "" if revision is None else f" at revision {revision!r}"
    absent = "model of this name" if file is None else f"{file} of this model"
    return FileNotFoundError(
        f"{repo_id}: no such file or folder, and the Hub cache {cache_folder()} has no {absent}{of_revision}"
        f"; fetch it with `hf download {repo_id}` or fastlm.load({repo_id!r}, download=True)"
    )
