"""Bytes of a file as it is stored, and of the text in it: decompressed, and valid where what is not is skipped."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from io import BufferedIOBase, RawIOBase
from typing import IO, Any, cast

from fastlm.corpus.skipped import Faults

# read from a decompressor at once, whatever is asked for: so what is read of a damaged file is always the same
CHUNK_BYTES = 1 << 20

COMPRESSIONS = (".gz", ".zst", ".xz")


class Counted(RawIOBase):
    """A file that counts the bytes read from it."""

    def __init__(self, file: IO[bytes] | RawIOBase | BufferedIOBase) -> None:
        self._file = cast(Any, file)
        self.consumed = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read: int = self._file.readinto(buffer) or 0
        self.consumed += read
        return read

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))


class Limited(RawIOBase):
    """The next `size` bytes of a file. Raises ValueError where it ends before."""

    def __init__(self, file: RawIOBase, size: int, name: str) -> None:
        self._file, self._left, self._name = file, size, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = self._file.readinto(memoryview(buffer)[: self._left]) or 0
        self._left -= read
        if not read and self._left and len(buffer):
            raise ValueError(f"{self._name}: ends {self._left} bytes before the place up to which it was to be read")
        return read


class _InChunks(RawIOBase):
    """A stream of the chunks that `_next` returns until it is empty."""

    def __init__(self) -> None:
        self._chunk = memoryview(b"")

    def _next(self) -> bytes:
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._chunk:
            self._chunk = memoryview(self._next())
        size = min(len(buffer), len(self._chunk))
        buffer[:size] = self._chunk[:size]
        self._chunk = self._chunk[size:]
        return size


class Decompressed(_InChunks):
    """The content of a compressed file; `suffix` is one of COMPRESSIONS.

    Where the file is cut short or damaged, `faults` meets that with the decompressed byte, and the content ends there.
    Raises ValueError where the library for it is missing.
    """

    def __init__(self, file: RawIOBase, suffix: str, name: str, faults: Faults) -> None:
        super().__init__()
        self._name, self._faults = name, faults
        self._read, self._errors = _decompressor(file, suffix)
        self._done = 0

    def _next(self) -> bytes:
        try:
            chunk = self._read(CHUNK_BYTES)
        except self._errors as error:
            # pyarrow has OSError for data too; an error of reading has a number
            if isinstance(error, OSError) and error.errno is not None:
                raise
            self._faults.meet("damaged file", f"{self._name}: decompressed byte {self._done}", str(error))
            return b""
        self._done += len(chunk)
        return chunk


def _decompressor(file: RawIOBase, suffix: str) -> tuple[Callable[[int], bytes], tuple[type[Exception], ...]]:
    """A function that reads so many decompressed bytes, or fewer, and what it raises for what is damaged."""
    if suffix == ".gz":
        import gzip
        import zlib

        return gzip.GzipFile(fileobj=cast(Any, file)).read1, (EOFError, zlib.error, gzip.BadGzipFile)
    if suffix == ".xz":
        import lzma

        return lzma.LZMAFile(cast(Any, file)).read1, (EOFError, lzma.LZMAError)
    pyarrow = needed("pyarrow", ".zst files")
    # zstandard's own stream takes a file that is cut short for a whole one
    stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
    return stream.read, (OSError,)


class ValidUtf8(_InChunks):
    """The content of a file without the bytes that are not UTF-8, which `faults` counts."""

    def __init__(self, file: RawIOBase, name: str, faults: Faults) -> None:
        super().__init__()
        self._file, self._name, self._faults = file, name, faults
        self._tail = b""
        self._at_end = False

    def _next(self) -> bytes:
        while not self._at_end:
            read = self._file.read(CHUNK_BYTES)
            self._at_end = not read
            text = self._tail + (read or b"")
            try:
                _, size = codecs.utf_8_decode(text, "strict", self._at_end)
                self._tail = text[size:]
                valid = text[:size]
            except UnicodeDecodeError:
                decoded, size = codecs.utf_8_decode(text, "ignore", self._at_end)
                self._tail = text[size:]
                valid = decoded.encode()
                self._faults.meet("byte that is not UTF-8", self._name, "not UTF-8", size - len(valid))
            if valid:
                return valid
        return b""


def needed(module: str, reader: str) -> Any:
    """An optional library. Raises ValueError that says how to install it."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.split(".")[0]
        raise ValueError(f"reading {reader} needs {name}: pip install 'fastlm[data]'") from None
