from typing import final

from fastlm.merging._words import Words

@final
class Buckets:
    side: int
    size: int
    def __init__(self, words: Words, symbols: int) -> None: ...
