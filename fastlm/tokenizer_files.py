"""load: a tokenizer from files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from fastlm.pretokenize.patterns import PatternLike
from fastlm.tokenizer import Tokenizer

# files of a model's folder that need not be fetched
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_TIKTOKEN_ENCODINGS = ("gpt2", "r50k_base", "p50k_base", "p50k_edit", "cl100k_base", "o200k_base", "o200k_harmony")


def load(
    path: str | os.PathLike[str],
    *,
    pattern: PatternLike | None = None,
    special_tokens: Iterable[str] | Mapping[str, int] | None = None,
    revision: str | None = None,
    download: bool = False,
    token: str | None = None,
    cache: bool = False,
) -> Tokenizer:
    """Loads a tokenizer from a file, a directory, or the local cache of the Hugging Face Hub.

    The content of a file, not its name, tells the format. In a directory, the first of these is read:
    `tokenizer.fastlm`; `tokenizer.json`; `vocab.json` with `merges.txt`; the only `.tiktoken`, `tekken.json` or
    `.model` file. A name such as "openai-community/gpt2" that is no path is sought in the cache that huggingface_hub
    keeps (`HF_HOME`, `HF_HUB_CACHE`). Nothing is downloaded without `download=True`.

    Args:
        path: The file or directory, its address in an object store, such as s3://bucket/name, or the name of a model.
        pattern: The pattern. Rank files (`.tiktoken`) and `vocab.json` with `merges.txt` do not have one, so it must be
            given, unless the file is a published one, which is recognised by its content.
        special_tokens: Special tokens, for the same formats; with their ids if these are not the next free ones.
        revision: Branch, tag or commit of a model; None for "main".
        download: Fetch the tokenizer files of a model, or their newest version, into the cache first. Needs the extra
            `[hub]`.
        token: Access token of a private model, for a download.
        cache: Keep a copy in the native format, in the folder `FASTLM_CACHE` or the user's folder for caches, and read
            the copy while the file and the options stay the same. It has a checksum.

    Raises:
        OSError: A file cannot be read, or a model is not in the cache or cannot be fetched.
        ValueError: A file is malformed, or it is not clear which file to read; the message says which file and where.
    """
    from fastlm import formats
    from fastlm.files import hub
    from fastlm.files.remote import RemotePath, fetched, location

    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or a path, got {type(path).__name__}")
    place = path if "://" not in os.fspath(path) else location(path)
    if isinstance(place, RemotePath):
        names = [] if place.exists() else [name for name in place.names() if not name.endswith(_WEIGHTS)]
        with fetched(place, names or None) as local:
            return load(local, pattern=pattern, special_tokens=special_tokens)
    path = place
    try:
        found = hub.resolve(path, revision, download=download, token=token)
    except FileNotFoundError as error:
        name = os.fspath(path)
        if hint := _hint(name):
            text = error if name == "gpt2" else f"{name}: no such file or folder"
            raise FileNotFoundError(f"{text}; {hint}") from None
        raise
    try:
        return Tokenizer.from_vocabulary(formats.load(found, pattern, special_tokens, cache=cache))
    except FileNotFoundError:
        if Path(path).exists():
            raise
        raise hub.missing(os.fspath(path), revision, "tokenizer file") from None


def _hint(name: str) -> str:
    """Advice for an encoding of tiktoken or a pattern in the place of a path; "" for other names."""
    from fastlm.pretokenize.patterns import ALIASES, PATTERNS

    if name in _TIKTOKEN_ENCODINGS:
        return f"for the encoding {name!r} of tiktoken, use fastlm.compat.tiktoken.get_encoding({name!r})"
    if name in PATTERNS or name in ALIASES:
        return f"{name!r} is a pattern, which Tokenizer and train_bpe take: pattern={name!r}"
    return ""
