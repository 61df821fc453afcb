"""Encodings of models, by the name of the model."""

from __future__ import annotations

from fastlm.compat.tiktoken.core import Encoding
from fastlm.compat.tiktoken.registry import get_encoding

_MODELS = {
    "o200k_base": "o1 o3 o4-mini gpt-5 gpt-4.1 gpt-4o",
    "cl100k_base": "gpt-4 gpt-3.5-turbo gpt-3.5 gpt-35-turbo davinci-002 babbage-002 text-embedding-ada-002 "
    "text-embedding-3-small text-embedding-3-large",
    "p50k_base": "text-davinci-003 text-davinci-002 code-davinci-002 code-davinci-001 code-cushman-002 "
    "code-cushman-001 davinci-codex cushman-codex",
    "p50k_edit": "text-davinci-edit-001 code-davinci-edit-001",
    "r50k_base": "text-davinci-001 text-curie-001 text-babbage-001 text-ada-001 davinci curie babbage ada "
    "text-similarity-davinci-001 text-similarity-curie-001 text-similarity-babbage-001 text-similarity-ada-001 "
    "text-search-davinci-doc-001 text-search-curie-doc-001 text-search-babbage-doc-001 text-search-ada-doc-001 "
    "code-search-babbage-code-001 code-search-ada-code-001",
    "gpt2": "gpt2 gpt-2",
}
_PREFIXES = [
    ("o200k_base", "o1- o3- o4-mini- gpt-5 gpt-4.5- gpt-4.1- chatgpt-4o- gpt-4o-"),
    ("cl100k_base", "gpt-4- gpt-3.5-turbo- gpt-35-turbo-"),
    ("o200k_harmony", "gpt-oss-"),
    ("o200k_base", "ft:gpt-4o"),
    ("cl100k_base", "ft:gpt-4 ft:gpt-3.5-turbo ft:davinci-002 ft:babbage-002"),
]

MODEL_TO_ENCODING: dict[str, str] = {model: name for name, models in _MODELS.items() for model in models.split()}
"""Model -> name of its encoding."""
MODEL_PREFIX_TO_ENCODING: dict[str, str] = {prefix: name for name, prefixes in _PREFIXES for prefix in prefixes.split()}
"""Prefix of model names -> name of their encoding. The first prefix that matches is used."""


def encoding_name_for_model(model_name: str) -> str:
    """Returns the name of a model's encoding.

    Args:
        model_name: The name of the model.

    Returns:
        The name of the encoding.

    Raises:
        KeyError: The model is unknown.
    """
    if model_name in MODEL_TO_ENCODING:
        return MODEL_TO_ENCODING[model_name]
    for prefix, name in MODEL_PREFIX_TO_ENCODING.items():
        if model_name.startswith(prefix):
            return name
    raise KeyError(
        f"Could not automatically map {model_name} to a tokeniser. "
        "Please use `tiktoken.get_encoding` to explicitly get the tokeniser you expect."
    )


def encoding_for_model(model_name: str) -> Encoding:
    """Returns a model's encoding.

    Args:
        model_name: The name of the model.

    Returns:
        The encoding.

    Raises:
        KeyError: The model is unknown.
        FileNotFoundError: A rank file is missing. The message says which file to download and where to put it.
        ValueError: The content of a rank file differs from the published file.
    """
    return get_encoding(encoding_name_for_model(model_name))
