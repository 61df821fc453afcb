from collections.abc import Iterable
from typing import BinaryIO

from fastlm._types import Int64Array, UInt8Array, UInt64Array

def sort_entries(entries: UInt64Array, arena: UInt8Array) -> None: ...
def records(text: UInt8Array, starts: Int64Array, counts: Int64Array) -> UInt8Array: ...

class RunReader:
    def __init__(
        self,
        file: BinaryIO,
        name: str,
        size: int,
        checksum: int,
        buffer_bytes: int,
        *,
        words: int | None = None,
        cells: int | None = None,
    ) -> None: ...

class MergedRuns:
    def __init__(self, readers: Iterable[RunReader]) -> None: ...
    def words(self, most: int) -> tuple[UInt8Array, Int64Array, Int64Array]: ...
