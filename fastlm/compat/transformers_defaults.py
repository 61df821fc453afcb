"""The defaults of the tokenizer class that AutoTokenizer chooses for a model folder, such as its special tokens."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from transformers.models.auto import tokenization_auto

_GENERIC = ("TokenizersBackend", "PythonBackend", "PreTrainedTokenizerFast", "MistralCommonBackend")


def class_defaults(folder: Path) -> dict[str, Any]:
    """Options of a tokenizer that neither the files of a folder nor a caller need to give.

    Args:
        folder: The folder of a tokenizer.json. Its config.json and tokenizer_config.json, if present, determine the
            class.

    Returns:
        Name -> value: the special tokens that the class has by default, and the names of the model's inputs. Empty
        for a class without such defaults.
    """
    chosen = _class_of(_content(folder / "config.json"), _content(folder / "tokenizer_config.json"))
    if chosen is None:
        return {}
    parameters = inspect.signature(chosen.__init__).parameters.values()
    tokens = {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.name.endswith("_token") and isinstance(parameter.default, str)
    }
    return {**tokens, "model_input_names": list(chosen.model_input_names)}


def _content(path: Path) -> dict[str, Any]:
    """The JSON object of a file; empty if there is none. transformers itself reports a malformed one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _class_of(config: dict[str, Any], tokenizer_config: dict[str, Any]) -> type[Any] | None:
    """The class that AutoTokenizer chooses, or None for a class that inherits its constructor."""
    model_type = config.get("model_type")
    registered = tokenization_auto.TOKENIZER_MAPPING_NAMES.get(model_type) if isinstance(model_type, str) else None
    named = tokenizer_config.get("tokenizer_class") or config.get("tokenizer_class")
    if registered and model_type in tokenization_auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS:
        named = registered
    elif registered and registered.removesuffix("Fast") in _GENERIC:
        # AutoTokenizer ignores a named class if the model type has only a generic class
        named = registered
    for name in (named, registered):
        if not isinstance(name, str):
            continue
        if name.removesuffix("Fast") in _GENERIC:
            return None
        # transformers reads a byte-level file of a Llama class with the generic class
        if name.removesuffix("Fast") == "LlamaTokenizer":
            return None
        found = tokenization_auto.tokenizer_class_from_name(name.removesuffix("Fast"))
        if found is not None:
            return found if found.__name__ not in _GENERIC and "__init__" in vars(found) else None
    return None
