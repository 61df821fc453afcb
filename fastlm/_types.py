"""Types that cross the native boundary."""

from typing import Any, TypeAlias

import numpy as np

UInt8Array: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
UInt16Array: TypeAlias = np.ndarray[Any, np.dtype[np.uint16]]
UInt32Array: TypeAlias = np.ndarray[Any, np.dtype[np.uint32]]
UInt64Array: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]
Int32Array: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]
Int64Array: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Bytes: TypeAlias = bytes | bytearray | memoryview | UInt8Array
"""A contiguous buffer of bytes."""
