from collections.abc import Iterable

from fastlm._types import Bytes, Int64Array

class TokenFinder:
    tokens: tuple[bytes, ...]
    longest: int
    def __init__(self, tokens: Iterable[bytes], ids: Iterable[int] | None = None) -> None: ...
    def find(self, text: Bytes) -> Int64Array: ...
    def first(self, text: str) -> bytes | None: ...
