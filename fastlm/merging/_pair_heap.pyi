from typing import final

from fastlm.merging._pair_index import PairIndex
from fastlm.merging._symbols import Symbols

@final
class PairHeap:
    def __init__(self, index: PairIndex, symbols: Symbols, smallest_symbols: bool) -> None: ...
