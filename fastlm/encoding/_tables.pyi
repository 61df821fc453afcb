from typing import Any

from fastlm.vocabulary.vocabulary import Vocabulary

class EncodeTables:
    def __init__(self, vocabulary: Vocabulary, kernel: Any) -> None: ...
