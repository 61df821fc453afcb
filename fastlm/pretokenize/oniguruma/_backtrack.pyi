import numpy as np
from numpy.typing import NDArray

from fastlm._types import Bytes, Int64Array

NOTE_AFTER: int
MOST_WORK: int

class WorkLimitError(Exception):
    position: int
    def __init__(self, position: int) -> None: ...

class Program:
    def __init__(
        self,
        code: NDArray[np.int32],
        literals: bytes,
        bitmaps: NDArray[np.uint8],
        astral: NDArray[np.int32],
        astral_start: NDArray[np.int32],
        groups: NDArray[np.int32],
        folds: NDArray[np.int32],
        marks: NDArray[np.int32],
        registers: int,
        first_bytes: NDArray[np.uint8] | None,
        clusters: NDArray[np.uint8] | None,
    ) -> None: ...
    def find_all(
        self, text: Bytes, ends: Int64Array, notes_from: int | None = None, counts: Int64Array | None = None
    ) -> Int64Array: ...
