import numpy as np
from numpy.typing import NDArray

from fastlm._types import Int64Array, UInt32Array

BEHAVIORS: tuple[str, ...]

def split_chars(
    chars: UInt32Array, ends: Int64Array, is_member: NDArray[np.uint8], behavior: str, invert: bool = False
) -> tuple[Int64Array, NDArray[np.bool_] | None]: ...
def split_matches(
    offsets: Int64Array,
    ends: Int64Array,
    matches: Int64Array,
    counts: Int64Array,
    behavior: str,
    invert: bool = False,
) -> tuple[Int64Array, NDArray[np.bool_] | None]: ...
def split_where_class_changes(chars: UInt32Array, ends: Int64Array, is_member: NDArray[np.uint8]) -> Int64Array: ...
def utf8_and_offsets(chars: UInt32Array) -> tuple[bytes, Int64Array]: ...
def known_bytes(
    chars: UInt32Array, ends: Int64Array, byte_of: NDArray[np.int16], known: NDArray[np.bool_] | None
) -> tuple[bytes, Int64Array, bool]: ...
