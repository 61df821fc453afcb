from typing import final

from fastlm._types import Int32Array

@final
class Symbols:
    def __init__(self, size: int, byte_symbols: Int32Array) -> None: ...
