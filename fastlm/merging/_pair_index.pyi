from typing import final

from fastlm.merging._symbols import Symbols

@final
class PairIndex:
    def __init__(self, size: int, symbols: Symbols, max_token_length: int) -> None: ...
