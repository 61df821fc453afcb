"""Byte streams of stored files and of the text in them: decompressed, and without bytes that are not UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from io import BufferedIOBase, RawIOBase
from typing import IO, Any, cast

from fastlm._extras import install_command
from fastlm.corpus.skipped import SkippedRecords

# A decompressor always reads this many bytes, so that the part of a damaged file that is read is always the same.
CHUNK_BYTES = 1 << 20

COMPRESSIONS = (".gz", ".zst", ".xz", ".bz2", ".lz4")

# A file is refused if it has more than BOMB_BYTES without a place to cut, and these are more than BOMB_RATIO times its
# bytes read so far. Such a part would be in memory as a whole, and no text compresses that well.
BOMB_BYTES = 1 << 23
BOMB_RATIO = 300


class CountedStream(RawIOBase):
    """A file that counts the bytes that are read from it."""

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


class LimitedStream(RawIOBase):
    """The next `size` bytes of a file. Reading raises ValueError if the file has fewer."""

    def __init__(self, file: RawIOBase, size: int, name: str) -> None:
        self._file, self._left, self._name = file, size, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = self._file.readinto(memoryview(buffer)[: self._left]) or 0
        self._left -= read
        if not read and self._left and len(buffer):
            raise ValueError(f"{self._name}: the file ends {self._left} bytes before the end of its partition")
        return read


class _ChunkedStream(RawIOBase):
    """A stream of the chunks that `_next` returns. An empty chunk ends it."""

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


class DecompressedStream(_ChunkedStream):
    """The content of a compressed file.

    A file that is cut short or damaged, or that decompresses to one huge word or line, is recorded with the number of
    bytes decompressed so far, and the content ends there.

    Args:
        file: The compressed file.
        suffix: One of COMPRESSIONS.
        name: The name of the file, for messages.
        skipped: Records damage.
        cuts: Bytes at which a reader of the content may cut it.

    Raises:
        ValueError: where the library for the compression is not installed.
    """

    def __init__(self, file: RawIOBase, suffix: str, name: str, skipped: SkippedRecords, cuts: bytes) -> None:
        super().__init__()
        self._name, self._skipped, self._cuts = name, skipped, cuts
        self._uncut = 0  # bytes since the last place to cut
        self._stored = CountedStream(file)
        self._read, self._errors = _decompressor(self._stored, suffix)
        self._done = 0

    def _next(self) -> bytes:
        try:
            chunk = self._read(CHUNK_BYTES)
        except self._errors as error:
            # pyarrow raises OSError for damaged data too; an error of reading has a number
            if isinstance(error, OSError) and error.errno is not None:
                raise
            self._skipped.record("damaged file", f"{self._name}: decompressed byte {self._done}", str(error))
            return b""
        self._done += len(chunk)
        last_cut = max(chunk.rfind(byte) for byte in self._cuts)
        self._uncut = len(chunk) - 1 - last_cut if last_cut >= 0 else self._uncut + len(chunk)
        stored = self._stored.consumed
        if self._uncut > max(BOMB_BYTES, BOMB_RATIO * stored):
            location = f"{self._name}: decompressed byte {self._done}"
            times = f"more than {BOMB_RATIO} times the {stored} bytes read"
            message = f"{self._uncut} bytes without a place to cut, {times}"
            self._skipped.record("damaged file", location, message)
            return b""
        return chunk


def _decompressor(file: RawIOBase, suffix: str) -> tuple[Callable[[int], bytes], tuple[type[Exception], ...]]:
    """A function that reads up to a number of decompressed bytes, and the exceptions that it raises for damage."""
    if suffix == ".gz":
        import gzip
        import zlib

        return gzip.GzipFile(fileobj=cast(Any, file)).read1, (EOFError, zlib.error, gzip.BadGzipFile)
    if suffix == ".xz":
        import lzma

        return lzma.LZMAFile(cast(Any, file)).read1, (EOFError, lzma.LZMAError)
    if suffix == ".bz2":
        import bz2

        return bz2.BZ2File(cast(Any, file)).read1, (EOFError, OSError, ValueError)
    pyarrow = needed("pyarrow", f"{suffix} files")
    # the stream of the package zstandard does not report a file that is cut short
    codec = "zstd" if suffix == ".zst" else "lz4"
    stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), codec)
    return stream.read, (OSError,)


class ValidUtf8Stream(_ChunkedStream):
    """The content of a file without the bytes that are not UTF-8. `skipped` counts those bytes."""

    def __init__(self, file: RawIOBase, name: str, skipped: SkippedRecords) -> None:
        super().__init__()
        self._file, self._name, self._skipped = file, name, skipped
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
                self._skipped.record("byte that is not UTF-8", self._name, "not UTF-8", size - len(valid))
            if valid:
                return valid
        return b""


def needed(module: str, reader: str) -> Any:
    """Imports an optional library. Raises ValueError with the command that installs it."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise ValueError(f"reading {reader} needs {module.split('.')[0]}: {install_command('data')}") from None
