from fastlm._types import Int64Array, UInt8Array

FIRST_ENTRIES: int

class TokenTable:
    def __init__(self, token_bytes: UInt8Array, offsets: Int64Array, ids: Int64Array) -> None: ...
    def find(self, token: bytes) -> int: ...
