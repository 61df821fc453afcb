from collections.abc import Callable
from typing import Any

from fastlm._types import Int64Array, UInt8Array, UInt32Array

KEPT_IDS: int
FIRST_ROOM: int
LARGEST_TABLE: int

class EncodingLoop:
    def __init__(
        self,
        token_bytes: UInt8Array,
        token_offsets: Int64Array,
        left: UInt32Array,
        right: UInt32Array,
        new: UInt32Array,
        byte_ids: UInt32Array,
        drops_unknown: bool,
        whole: Int64Array,
        scanner: object,
        find_ends: Callable[[bytes], Int64Array],
        compiled: Any,
    ) -> None: ...
