from fastlm._types import Int64Array, UInt8Array, UInt32Array

def first_misspelled(
    text: UInt8Array, offsets: Int64Array, left: UInt32Array, right: UInt32Array, new: UInt32Array
) -> int: ...
