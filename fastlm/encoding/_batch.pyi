from collections.abc import Sequence

from fastlm._types import Int64Array, UInt32Array
from fastlm.encoding._encoder import Encoder
from fastlm.pretokenize.cutting import Cuts
from fastlm.text._utf8 import Utf8

class Share:
    threads: int
    def __init__(
        self,
        encoder: Encoder,
        texts: Sequence[str | bytes | Utf8],
        cuts: Cuts | list[Cuts],
        threads: int,
        lists: bool = False,
    ) -> None: ...
    def encode(self, number: int) -> None: ...
    def gather(self) -> int: ...
    def copy(self) -> None: ...
    def result_arrays(self) -> tuple[UInt32Array, Int64Array]: ...
    def result_lists(self) -> list[list[int]]: ...
