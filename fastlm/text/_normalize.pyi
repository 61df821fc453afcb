from fastlm._types import Int64Array
from fastlm.text._utf8 import Utf8

FORMS: tuple[str, ...]
SEGMENT_CHARS: int

def normalized(text: str | bytes | Utf8, form: str) -> str | bytes | Utf8: ...
def normalized_with_origins(text: str | bytes | Utf8, form: str) -> tuple[bytes, Int64Array]: ...
