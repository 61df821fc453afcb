from fastlm._types import Int32Array

class Symbols:
    def __init__(self, size: int, byte_symbols: Int32Array) -> None: ...
