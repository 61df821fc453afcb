"""Copies of the shards of an object store, for programs that map them into memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastlm.corpus.manifest import MANIFEST, Manifest, read_manifest
from fastlm.files.atomic import replacing
from fastlm.files.checksum import sha256_of_file
from fastlm.files.remote import RemotePath, location
from fastlm.formats.native_copy import cache_folder


def cached_shards(folder: RemotePath) -> Path:
    """Copies a folder of shards to this machine, and returns the copy.

    The copy is in `FASTLM_CACHE` or the user's folder for caches, under the checksum of the manifest. It is made once,
    and a copy that was interrupted is completed. The sha256 of each file is checked when it is copied. Nothing removes
    the copy.

    Args:
        folder: A folder that encode_corpus wrote.

    Raises:
        OSError: The store fails, or a file cannot be written.
        ValueError: The manifest is damaged, or an object has another sha256. The message names it.
    """
    manifest = read_manifest(folder)
    content = (folder / MANIFEST).read_bytes()
    copy = cache_folder() / "shards" / hashlib.sha256(content).hexdigest()[:32]
    copy.mkdir(parents=True, exist_ok=True)
    for name, sha256 in _files(manifest).items():
        if not (copy / name).exists():
            with replacing(copy / name) as file:
                (folder / name).download(Path(file.name))
                found = sha256_of_file(Path(file.name))
                if found != sha256:
                    raise ValueError(f"{folder / name}: its sha256 is {found}; expected {sha256}")
    # the manifest comes last: it is newer than the shards, which tells that they are as it describes them
    if not (copy / MANIFEST).exists():
        with replacing(copy / MANIFEST) as file:
            file.write(content)
    return copy


def local_shards(name: str) -> str:
    """The path of a copy for an address of a folder of shards; other names are returned as they are."""
    if "://" not in name:
        return name
    found = location(name)
    return str(cached_shards(found) if isinstance(found, RemotePath) else found)


def _files(manifest: Manifest) -> dict[str, str]:
    """Name -> sha256 of the files of all shards."""
    found: dict[str, str] = {}
    for shards in manifest.splits.values():
        for shard in shards:
            found |= shard.sha256
    return found
