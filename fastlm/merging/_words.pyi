from typing import final

from fastlm._types import Bytes, Int32Array, Int64Array

HEADER_CELLS: int

def cells_of(starts: Int64Array) -> int: ...

@final
class Words:
    def __init__(self, cells: int, byte_symbols: Int32Array) -> None: ...
    def add(self, text: Bytes, starts: Int64Array, counts: Int64Array) -> None: ...
