from collections.abc import Callable

from fastlm._types import Bytes, Int32Array, Int64Array
from fastlm.merging._merge_list import MergeList
from fastlm.merging._words import cells_of as cells_of

TIE_BREAKS: tuple[str, ...]

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
        known: MergeList | None = None,
    ) -> None: ...
    def add(self, text: Bytes, starts: Int64Array, counts: Int64Array) -> None: ...
    def learn(self, progress: Callable[[int], object] | None = None) -> tuple[Int32Array, Int32Array]: ...
