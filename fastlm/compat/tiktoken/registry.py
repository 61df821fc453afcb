"""Encodings by name: tiktoken's own, and those of plugins.

A plugin is a module of the namespace package `tiktoken_ext` with a dict ENCODING_CONSTRUCTORS, name -> function without
arguments that returns the arguments of an Encoding. tiktoken's own module there is passed over: its encodings are
`published` here.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import threading
from collections.abc import Callable, Sequence
from typing import Any

from fastlm.compat.tiktoken import published
from fastlm.compat.tiktoken.core import Encoding

ENCODINGS: dict[str, Encoding] = {}
"""Name -> the encoding, of those that were asked for."""
ENCODING_CONSTRUCTORS: dict[str, Callable[[], dict[str, Any]]] | None = None
"""Name -> constructor, once plugins were looked for."""

_OWN_PLUGIN = "tiktoken_ext.openai_public"
_lock = threading.RLock()


def get_encoding(encoding_name: str) -> Encoding:
    """The encoding of this name, always the same object.

    Raises ValueError for a name that none has, and for a file with another content than the published one;
    FileNotFoundError saying which file to get and where to put it.
    """
    if not isinstance(encoding_name, str):
        raise ValueError(f"Expected a string in get_encoding, got {type(encoding_name)}")
    known = ENCODINGS.get(encoding_name)
    if known is not None:
        return known
    with _lock:
        if encoding_name not in ENCODINGS:
            # plugins are not looked for before they are needed: a broken one breaks no other encoding
            constructor = published.ENCODING_CONSTRUCTORS.get(encoding_name) or _constructors().get(encoding_name)
            if constructor is None:
                raise ValueError(
                    f"Unknown encoding {encoding_name}.\n"
                    f"There are {sorted(_constructors())}; plugins found: {list(_available_plugin_modules())}"
                )
            ENCODINGS[encoding_name] = Encoding(**constructor())
        return ENCODINGS[encoding_name]


def list_encoding_names() -> list[str]:
    """The names that `get_encoding` knows. Raises ValueError for a plugin that is none or repeats a name."""
    return list(_constructors())


def _constructors() -> dict[str, Callable[[], dict[str, Any]]]:
    global ENCODING_CONSTRUCTORS
    with _lock:
        if ENCODING_CONSTRUCTORS is None:
            found = dict(published.ENCODING_CONSTRUCTORS)
            for module_name in _available_plugin_modules():
                if module_name != _OWN_PLUGIN:
                    _add_plugin(found, module_name)
            ENCODING_CONSTRUCTORS = found
        return ENCODING_CONSTRUCTORS


def _add_plugin(found: dict[str, Callable[[], dict[str, Any]]], module_name: str) -> None:
    constructors = getattr(importlib.import_module(module_name), "ENCODING_CONSTRUCTORS", None)
    if constructors is None:
        raise ValueError(f"tiktoken plugin {module_name} does not define ENCODING_CONSTRUCTORS")
    for name, constructor in constructors.items():
        if name in found:
            raise ValueError(f"Duplicate encoding name {name} in tiktoken plugin {module_name}")
        found[name] = constructor


@functools.lru_cache
def _available_plugin_modules() -> Sequence[str]:
    try:
        import tiktoken_ext
    except ModuleNotFoundError:
        return []
    return [name for _, name, _ in pkgutil.iter_modules(tiktoken_ext.__path__, "tiktoken_ext.")]
