from fastlm._types import UInt32Array, UInt64Array

MAX_MERGES: int
MULTIPLIERS: tuple[int, ...]

class MergeTable:
    byte_ids: UInt32Array
    byte_pairs: UInt32Array
    slots: UInt32Array
    merges: UInt64Array
    shift: int
    multiplier: int
    row_bits: int
    address: int
    def __init__(self, left: UInt32Array, right: UInt32Array, new: UInt32Array, byte_ids: UInt32Array) -> None: ...

def byte_pair_ranks(left: UInt32Array, right: UInt32Array, byte_ids: UInt32Array) -> UInt32Array: ...
