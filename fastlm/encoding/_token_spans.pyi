from fastlm._types import Bytes, Int64Array, UInt8Array, UInt32Array

def token_spans(
    text: Bytes,
    ids: UInt32Array,
    lengths: Int64Array,
    is_spelled: UInt8Array | None,
    in_bytes: Int64Array | None,
    in_characters: Int64Array | None,
) -> None: ...
