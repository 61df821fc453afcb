from collections.abc import Iterable
from typing import Any

import numpy as np

from fastlm._types import Int64Array, UInt8Array

class Decoder:
    def __init__(self, token_bytes: UInt8Array, token_offsets: Int64Array) -> None: ...
    def decode_bytes(self, ids: Iterable[int] | np.ndarray[Any, np.dtype[np.integer[Any]]]) -> bytes: ...

def as_ids(ids: Iterable[int] | np.ndarray[Any, np.dtype[np.integer[Any]]]) -> Int64Array: ...
