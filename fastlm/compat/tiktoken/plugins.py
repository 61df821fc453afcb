"""Constructors of encodings by name: tiktoken's own encodings, and the encodings of plugins.

A plugin is a module of the namespace package `tiktoken_ext` with a dict ENCODING_CONSTRUCTORS: name -> function without
arguments that returns the arguments of an Encoding. tiktoken's own module in this package is skipped, because
`published` defines the same encodings.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from fastlm.compat.tiktoken import published
from fastlm.forks import ForkSafeLock

Constructors = dict[str, Callable[[], dict[str, Any]]]

ENCODING_CONSTRUCTORS: Constructors = dict(published.ENCODING_CONSTRUCTORS)
"""Name -> function that returns the arguments of an Encoding."""

_OWN_PLUGIN = "tiktoken_ext.openai_public"
_lock = ForkSafeLock()
_added: set[str] = set()


def find_plugins() -> None:
    """Adds the encodings of all plugins.

    Raises:
        ValueError: A plugin does not define ENCODING_CONSTRUCTORS, or repeats a name. Each call raises it again.
    """
    with _lock:
        found: Constructors = {}
        new = [name for name in available_plugins() if name != _OWN_PLUGIN and name not in _added]
        for module_name in new:
            constructors = getattr(importlib.import_module(module_name), "ENCODING_CONSTRUCTORS", None)
            if constructors is None:
                raise ValueError(f"tiktoken plugin {module_name} does not define ENCODING_CONSTRUCTORS")
            for name, constructor in constructors.items():
                if name in found or name in ENCODING_CONSTRUCTORS:
                    raise ValueError(f"Duplicate encoding name {name} in tiktoken plugin {module_name}")
                found[name] = constructor
        ENCODING_CONSTRUCTORS.update(found)
        _added.update(new)


def available_plugins() -> list[str]:
    """Lists the names of the modules of `tiktoken_ext`."""
    try:
        package = importlib.import_module("tiktoken_ext")
    except ModuleNotFoundError:
        return []
    return [name for _, name, _ in pkgutil.iter_modules(package.__path__, "tiktoken_ext.")]
