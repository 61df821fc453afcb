"""tokenizer.json of Hugging Face's `tokenizers`, for byte-level BPE.

A file is parsed once into components, plain frozen dataclasses. A Vocabulary is made of these, and
`fastlm.compat.tokenizers` takes its components from them. What `tokenizers` 0.23 refuses is refused when a file is
read, and so is any component that fastlm does not follow exactly.
"""

from __future__ import annotations

import json
import os

from fastlm.files.reading import read_text
from fastlm.formats.tokenizer_json.document import parse_document
from fastlm.formats.tokenizer_json.vocabularies import content_of, vocabulary_of
from fastlm.vocabulary.vocabulary import Vocabulary

__all__ = ["FILE", "content_of", "parse_document", "read", "vocabulary_of", "write"]

FILE = "tokenizer.json"


def write(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Name -> content of the file. Raises ValueError for a vocabulary that cannot be spelled in it."""
    return {FILE: json.dumps(content_of(vocabulary), ensure_ascii=False, indent=1).encode()}


def read(path: str | os.PathLike[str]) -> Vocabulary:
    """Reads a file.

    Args:
        path: The file.

    Returns:
        Its vocabulary.

    Raises:
        OSError: If the file cannot be read.
        ValueError: Naming the file and the component that is malformed or not supported.
    """
    text = read_text(path)
    try:
        return vocabulary_of(parse_document(text))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
