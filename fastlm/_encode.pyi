from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from fastlm._special import SpecialFinder
from fastlm._types import Int64Array, UInt8Array, UInt16Array, UInt32Array
from fastlm._utf8 import Utf8

SCRATCH_WORDS: int

Cuts: TypeAlias = SpecialFinder | Int64Array | None

class Encoder:
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
        scanner: int,
        find_ends: Callable[[bytes], Int64Array],
        compiled: Any,
    ) -> None: ...
    def encode(self, text: str | bytes | Utf8, cuts: Cuts = None) -> list[int]: ...
    def encode_to_numpy(self, text: str | bytes | Utf8, cuts: Cuts = None) -> UInt32Array: ...
    def encode_batch_flat(
        self, texts: Sequence[str | bytes | Utf8], cuts: Cuts | list[Cuts] = None
    ) -> tuple[UInt32Array, Int64Array]: ...
    def encode_between(
        self, text: str | bytes | Utf8, cuts: Int64Array, out: UInt16Array | UInt32Array
    ) -> tuple[UInt16Array | UInt32Array, Int64Array]: ...
    def encode_upto(self, text: str | bytes | Utf8, limit: int, cuts: Cuts = None) -> list[int]: ...
    def count(self, text: str | bytes | Utf8, cuts: Cuts = None) -> int: ...
