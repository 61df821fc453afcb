from collections.abc import Set

from fastlm._types import Bytes, Int64Array, UInt8Array

SINGLE_WORD: int
LSTRIP: int
RSTRIP: int
WORD: int
WHITESPACE: int

def with_options(
    text: Bytes, rows: Int64Array, options: UInt8Array, ids: Int64Array, recognised: Set[int], kinds: UInt8Array
) -> int: ...
