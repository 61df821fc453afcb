from collections.abc import Callable

from fastlm._types import Bytes, Int32Array, Int64Array
from fastlm.bpe_training._apply_merges import KnownMerges

TIE_BREAKS: tuple[str, ...]

def cells_of(starts: Int64Array) -> int: ...

class MergeLearner:
    merged: tuple[Int32Array, Int32Array]
    def __init__(
        self,
        cells: int,
        num_merges: int,
        byte_symbols: Int32Array,
        tie_break: str,
        *,
        min_count: int = 1,
        max_token_length: int | None = None,
        known: KnownMerges | None = None,
    ) -> None: ...
    def add(self, text: Bytes, starts: Int64Array, counts: Int64Array) -> None: ...
    def learn(self, progress: Callable[[int], object] | None = None) -> tuple[Int32Array, Int32Array]: ...
