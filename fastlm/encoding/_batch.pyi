from collections.abc import Iterable
from types import TracebackType

from fastlm._types import Int64Array, UInt32Array
from fastlm.encoding._encoder import Encoder
from fastlm.pretokenize.text_splitter import Boundaries
from fastlm.text._utf8 import Utf8

SMALLEST_CHUNK: int
LARGEST_CHUNK: int
CHUNKS: int

class Batch:
    num_threads: int
    def __init__(
        self,
        encoder: Encoder,
        texts: Iterable[str | bytes | Utf8],
        boundaries: Boundaries | list[Boundaries],
        num_threads: int,
        as_lists: bool = False,
    ) -> None: ...
    def __enter__(self) -> Batch: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def encode(self, thread: int) -> None: ...
    def gather(self) -> int: ...
    def copy(self) -> None: ...
    def arrays(self) -> tuple[UInt32Array, Int64Array]: ...
    def lists(self) -> list[list[int]]: ...
