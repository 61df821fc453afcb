"""Rank files: read from local folders, checked, and never downloaded.

A published file is searched for in the folders that the environment variables TIKTOKEN_CACHE_DIR and DATA_GYM_CACHE_DIR
name. Its file name is the SHA-1 of its address, the name that tiktoken gives to a download. If its SHA-256 is given,
its original name is accepted too, because the hash distinguishes it from other files with that name.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from fastlm.files.atomic import write_files
from fastlm.files.reading import decoded, parse_json
from fastlm.formats.gpt2 import spelled_merges_of, spelled_vocab_of, unspell
from fastlm.formats.tiktoken import MalformedRankError, content_of, parse
from fastlm.vocabulary.vocabulary import BYTE_ORDER

CACHE_VARIABLES = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")


def read_file(blobpath: str) -> bytes:
    """Reads a local file.

    Args:
        blobpath: The path of the file.

    Returns:
        The content.

    Raises:
        OSError: The file cannot be read, or the path is an address. Nothing is downloaded.
    """
    if "://" in blobpath:
        raise FileNotFoundError(_how_to_get(blobpath, None))
    return Path(blobpath).read_bytes()


def check_hash(data: bytes, expected_hash: str) -> bool:
    """Whether data has an expected SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest() == expected_hash


def read_file_cached(blobpath: str, expected_hash: str | None = None) -> bytes:
    """Reads a local file, or the local copy of a published file.

    Args:
        blobpath: The path of the file, or its address.
        expected_hash: SHA-256 of the content, in hexadecimal; None for no check.

    Returns:
        The content.

    Raises:
        FileNotFoundError: The file is missing. The message says which file to put in which folder.
        ValueError: The content has another SHA-256. The file is not changed.
    """
    path = Path(blobpath) if "://" not in blobpath else _copy_of(blobpath, expected_hash)
    if path is None:
        raise FileNotFoundError(_how_to_get(blobpath, expected_hash))
    content = path.read_bytes()
    if expected_hash and not check_hash(content, expected_hash):
        raise ValueError(
            f"Hash mismatch for {path}, read for {blobpath}: expected SHA-256 {expected_hash}, found "
            f"{hashlib.sha256(content).hexdigest()}"
        )
    return content


def data_gym_to_mergeable_bpe_ranks(
    vocab_bpe_file: str,
    encoder_json_file: str,
    vocab_bpe_hash: str | None = None,
    encoder_json_hash: str | None = None,
    clobber_one_byte_tokens: bool = False,
) -> dict[bytes, int]:
    """Reads the ranks of GPT-2's two files.

    Args:
        vocab_bpe_file: Path or address of vocab.bpe.
        encoder_json_file: Path or address of encoder.json.
        vocab_bpe_hash: SHA-256 of vocab.bpe; None for no check.
        encoder_json_hash: SHA-256 of encoder.json; None for no check.
        clobber_one_byte_tokens: Whether single bytes have the ids of encoder.json.

    Returns:
        Token -> rank.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file has another SHA-256 or is malformed.
        AssertionError: The two files describe different vocabularies.
    """
    # the first line is always the version, even if it looks like a merge
    _, _, lines = decoded(read_file_cached(vocab_bpe_file, vocab_bpe_hash)).partition("\n")
    ranks = {bytes([byte]): rank for rank, byte in enumerate(BYTE_ORDER)}
    for left, right in spelled_merges_of(lines, vocab_bpe_file):
        ranks[unspell(left + right)] = len(ranks)
    encoder = spelled_vocab_of(parse_json(decoded(read_file_cached(encoder_json_file, encoder_json_hash))))
    ids = {unspell(token): token_id for token, token_id in encoder.items()}
    for special in (b"<|endoftext|>", b"<|startoftext|>"):
        ids.pop(special, None)
    if clobber_one_byte_tokens:
        ranks.update({token: token_id for token, token_id in ids.items() if len(token) == 1})
    if ranks != ids:
        raise AssertionError(f"{vocab_bpe_file} and {encoder_json_file} describe different vocabularies")
    return ranks


def dump_tiktoken_bpe(bpe_ranks: dict[bytes, int], tiktoken_bpe_file: str) -> None:
    """Writes a rank file atomically.

    Args:
        bpe_ranks: Token -> rank.
        tiktoken_bpe_file: The path of the file.

    Raises:
        OSError: The file cannot be written.
        NotImplementedError: The path is an address.
    """
    path = Path(tiktoken_bpe_file)
    if "://" in tiktoken_bpe_file:
        raise NotImplementedError(f"{tiktoken_bpe_file}: only local files are written")
    write_files(path.parent, {path.name: content_of(bpe_ranks)})


def load_tiktoken_bpe(tiktoken_bpe_file: str, expected_hash: str | None = None) -> dict[bytes, int]:
    """Reads a rank file.

    Args:
        tiktoken_bpe_file: Path or address of the file.
        expected_hash: SHA-256 of the file, in hexadecimal; None for no check.

    Returns:
        Token -> rank.

    Raises:
        FileNotFoundError: The file is missing. The message says which file to put in which folder.
        ValueError: The file has another SHA-256, or a line is malformed.
    """
    content = read_file_cached(tiktoken_bpe_file, expected_hash)
    try:
        return parse(content, tiktoken_bpe_file)
    except MalformedRankError as error:
        raise ValueError(f"Error parsing line {error.line!r} in {tiktoken_bpe_file}") from error


def _folders() -> list[Path]:
    return [Path(folder) for name in CACHE_VARIABLES if (folder := os.environ.get(name))]


def _names(address: str) -> tuple[str, str]:
    return hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest(), address.rsplit("/", 1)[-1]


def _copy_of(address: str, expected_hash: str | None) -> Path | None:
    """The path of the local copy of a published file; None if there is no copy."""
    # Files of two addresses may have the same name. Only a hash shows which of them a folder contains.
    names = _names(address)[: 2 if expected_hash else 1]
    candidates = [folder / name for folder in _folders() for name in names]
    return next((path for path in candidates if path.is_file()), None)


def _how_to_get(address: str, expected_hash: str | None) -> str:
    key, name = _names(address)
    folders = " or ".join(map(str, _folders())) or "a folder that the environment variable TIKTOKEN_CACHE_DIR names"
    lines = [
        f"{address} is not on this machine, and fastlm fetches nothing.",
        f"Download it and put it as {f'{name} (or {key})' if expected_hash else key} into {folders}.",
    ]
    if expected_hash:
        lines.append(f"Its SHA-256 must be {expected_hash}.")
    left = Path(tempfile.gettempdir(), "data-gym-cache", key)
    if left.is_file():
        lines.append(f"tiktoken seems to have fetched it before, to {left}: set TIKTOKEN_CACHE_DIR={left.parent}.")
    return "\n".join(lines)
