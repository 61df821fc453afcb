from collections.abc import Sequence
from typing import TypeAlias

from fastlm._loop import EncodingLoop
from fastlm._special import SpecialFinder
from fastlm._types import Int64Array, UInt16Array, UInt32Array
from fastlm._utf8 import Utf8

Cuts: TypeAlias = SpecialFinder | Int64Array | None

class Encoder(EncodingLoop):
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
