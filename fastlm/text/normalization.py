"""Unicode normalization form C of str, as Hugging Face's `tokenizers` computes it. The work is in _normalize."""

from __future__ import annotations

from fastlm._types import Int64Array
from fastlm.text._normalize import normalized, normalized_with_origins


def is_nfc(text: str) -> bool:
    """Whether a text is in form C."""
    return normalized(text, "NFC") is text


def nfc(text: str) -> str:
    """The text in form C (Unicode Standard Annex 15): the given object itself if it is so already."""
    result = normalized(text, "NFC")
    return result.decode() if isinstance(result, bytes) else text


def nfc_with_origins(text: str) -> tuple[str, Int64Array]:
    """The text in form C, and where its characters come from.

    A composed character comes from the first character that it replaces. If a character becomes
    longer, the added characters come from the character before, as in tokenizers.

    Returns:
        The normalized text.
        int64 (characters of the result,): the index of a character of `text`.
    """
    result, origins = normalized_with_origins(text, "NFC")
    return result.decode(), origins
