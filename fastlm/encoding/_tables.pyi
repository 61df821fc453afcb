from typing import Any

from fastlm._types import Int64Array
from fastlm.encoding._token_table import TokenTable
from fastlm.vocabulary.vocabulary import Vocabulary

class EncodeTables:
    tokens: TokenTable
    def __init__(self, vocabulary: Vocabulary, kernel: Any, whole_tokens: Int64Array) -> None: ...
