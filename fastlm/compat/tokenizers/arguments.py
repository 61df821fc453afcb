"""Arguments as the native code of tokenizers converts them, with its types of exceptions."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from fastlm._arguments import items_of
from fastlm._types import Int64Array
from fastlm.decoding._decoder import as_ids

U32, USIZE = 32, 64


def is_instance(value: Any, kind: type, name: str | None = None) -> None:
    """Raises TypeError unless the value is of this kind."""
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__!r} object is not an instance of {name or kind.__name__!r}")


def boolean(value: Any) -> bool:
    """A bool. Raises TypeError for any other type."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{type(value).__name__!r} object is not an instance of 'bool'")
    return bool(value)


def unsigned(value: Any, bits: int = USIZE) -> int:
    """An integer without sign that fits `bits` bits. Raises TypeError or OverflowError."""
    number = operator.index(value)
    if number < 0:
        raise OverflowError("number too small to fit in target type")
    if number >> bits:
        raise OverflowError("number too large to fit in target type")
    return number


def optional_unsigned(value: Any, bits: int = USIZE) -> int | None:
    return None if value is None else unsigned(value, bits)


def string(value: Any) -> str:
    """A str. Raises TypeError, or UnicodeEncodeError for a lone surrogate."""
    is_instance(value, str)
    if not value.isascii():
        value.encode()
    return str(value)


def one_of_kinds(value: Any) -> str:
    """A str, for arguments that may have another type too. Raises TypeError, also for a lone surrogate."""
    try:
        return string(value)
    except UnicodeEncodeError as error:
        raise TypeError(f"expected text: {error}") from None


def optional_string(value: Any) -> str | None:
    return None if value is None else string(value)


def is_sequence(value: Any) -> bool:
    """Whether PyO3 takes an object for a sequence: it can be indexed and is not a dict. A str is not taken for one."""
    kind = type(value)
    return hasattr(kind, "__getitem__") and not issubclass(kind, dict | str | MappingProxyType)


def sequence(value: Any) -> Sequence[Any]:
    """The items of a sequence, such as a list, an array or a column of a table. Raises TypeError."""
    if type(value) in (list, tuple):
        return value  # type: ignore[no-any-return]
    if isinstance(value, str):
        raise TypeError("Can't extract `str` to `Vec`")
    if not is_sequence(value):
        raise TypeError(f"{type(value).__name__!r} object is not an instance of 'Sequence'")
    return items_of(value)


def ids(value: Any) -> Int64Array:
    """Ids of 32 bits as an array. Raises TypeError or OverflowError."""
    if not (isinstance(value, np.ndarray) and value.ndim == 1):
        value = sequence(value)
    try:
        array = as_ids(value)
    except (TypeError, KeyError):
        # items with __index__, such as bools, or the item that is wrong
        array = np.array([unsigned(item, U32) for item in value], np.int64)
    if len(array) and (array.min() < 0 or array.max() >> U32):
        for item in array.tolist():
            unsigned(item, U32)
    return array


def known_options(given: dict[str, Any], *known: str) -> dict[str, Any]:
    """The known options of those given. Others are ignored, as in tokenizers, with a warning."""
    import warnings

    for name in given.keys() - set(known):
        warnings.warn(f"Ignored unknown kwarg option {name}", stacklevel=3)
    return {name: value for name, value in given.items() if name in known}
