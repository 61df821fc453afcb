from collections.abc import Callable, Sequence
from typing import Any

from fastlm._types import Int64Array, UInt8Array, UInt32Array, UInt64Array

SHARED_CONSTANTS: dict[str, int]

def utf8_bytes(text: str | bytes) -> bytes: ...
def merge_table(left: UInt32Array, right: UInt32Array, new: UInt32Array) -> tuple[UInt64Array, int]: ...

class Encoder:
    def __init__(
        self,
        token_bytes: UInt8Array,
        token_offsets: Int64Array,
        left: UInt32Array,
        right: UInt32Array,
        new: UInt32Array,
        byte_ids: UInt32Array,
        special_tokens: Sequence[bytes],
        special_ids: Sequence[int],
        scanner: int,
        find_ends: Callable[[bytes], Int64Array],
        compiled: Any,
    ) -> None: ...
    def encode(self, text: str | bytes) -> list[int]: ...
    def encode_to_numpy(self, text: str | bytes) -> UInt32Array: ...
    def encode_batch_flat(self, texts: Sequence[str | bytes]) -> tuple[UInt32Array, Int64Array]: ...
    def count(self, text: str | bytes) -> int: ...
