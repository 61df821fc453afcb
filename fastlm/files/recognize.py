"""Recognizes files that are not tokenizer files, so that errors can name them and the way out."""

from __future__ import annotations

START_BYTES = 512
"""The number of bytes from which a file is recognized."""

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", "unzstd"),
    b"\xfd7zXZ\x00": ("xz", "unxz"),
    b"BZh": ("bzip2", "bunzip2"),
}
_BINARY = {
    b"PK\x03\x04": "a zip archive or a PyTorch file",
    b"GGUF": "a GGUF model file",
    b"PAR1": "a Parquet file",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
}
_BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "begins with a byte order mark (BOM): save it as UTF-8 without one",
    b"\xff\xfe\x00\x00": "is in UTF-32: save it as UTF-8",
    b"\x00\x00\xfe\xff": "is in UTF-32: save it as UTF-8",
    b"\xff\xfe": "is in UTF-16: save it as UTF-8",
    b"\xfe\xff": "is in UTF-16: save it as UTF-8",
}
_LFS_POINTER = "is a Git LFS pointer, not the file itself: run `git lfs pull`, or download the file"
_STARTS = (
    {b"version https://git-lfs.github.com/": _LFS_POINTER}
    | _BYTE_ORDER_MARKS
    | dict.fromkeys((b"{\x00", b"[\x00", b"\x00{", b"\x00["), "is in UTF-16: save it as UTF-8")
    | {
        magic: f"is compressed with {name}: decompress it first, for example with {program}"
        for magic, (name, program) in _COMPRESSED.items()
    }
    | {magic: f"is {name}, not a tokenizer file" for magic, name in _BINARY.items()}
)
_WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")
_SERVER_MESSAGES = (b"Entry not found", b"Repository not found", b"Invalid username or password", b"Access to model ")


def foreign_content(start: bytes) -> str | None:
    """Recognizes content that is not a tokenizer file.

    Args:
        start: The first START_BYTES bytes of a file, or all of a smaller one.

    Returns:
        The kind of the file and the remedy, as the end of a sentence about it; None if nothing is recognized.
    """
    for magic, advice in _STARTS.items():
        if start.startswith(magic):
            return advice
    if start[257:262] == b"ustar":
        return "is a tar archive: unpack it first"
    if start[:512].lstrip().lower().startswith(_WEB_PAGE):
        return "is a web page: download the file itself (on a hub, the link named raw or download)"
    if start.startswith(_SERVER_MESSAGES):
        return f"is the error message of a server: {start[:80].decode(errors='replace')!r}"
    if _is_sentencepiece(start):
        return (
            "is a SentencePiece model: fastlm reads byte-level BPE only, for example the tokenizer.json of a model "
            "that has one"
        )
    return None


def refuse_foreign(start: bytes) -> None:
    """Raises ValueError naming the kind of a file, if it is recognized as another kind than a tokenizer file."""
    found = foreign_content(start[:START_BYTES])
    if found is not None:
        raise ValueError(f"the file {found}")


def _is_sentencepiece(start: bytes) -> bool:
    """Whether content begins with a piece of a SentencePiece ModelProto: field 1, with a text and a score in it."""
    if len(start) < 4 or start[0] != 0x0A:
        return False
    length, at = _varint(start, 1)
    if length < 3 or start[at : at + 1] != b"\n":
        return False
    text_length, text_at = _varint(start, at + 1)
    after = text_at + text_length
    return after < at + length and start[after : after + 1] in (b"\x15", b"\x18")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A protobuf varint and the offset after it."""
    value = shift = 0
    while at < len(content) and shift < 35:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    return value, at
