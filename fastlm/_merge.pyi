from collections.abc import Callable

from fastlm._types import Bytes, Int32Array, Int64Array

TIE_BREAKS: tuple[str, ...]

class MergeLearner:
    def __init__(
        self,
        text: Bytes,
        starts: Int64Array,
        counts: Int64Array,
        num_merges: int,
        byte_symbols: Int32Array,
        tie_break: str,
        *,
        min_count: int = 1,
        max_token_length: int | None = None,
    ) -> None: ...
    def learn(self, progress: Callable[[int], object] | None = None) -> tuple[Int32Array, Int32Array]: ...
