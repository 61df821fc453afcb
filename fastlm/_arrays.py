"""NumPy arrays that grow."""

import numpy as np


def grown(view, size):  # type: ignore[no-untyped-def]
    """A larger array of the same dtype that starts with the content of `view`."""
    old = np.asarray(view)
    new = np.empty(size, old.dtype)
    new[: len(old)] = old
    return new


def grow_in_place(array, size):  # type: ignore[no-untyped-def]
    """Reallocates an array that owns its memory; views of it are invalid afterwards.

    Large arrays keep their pages, so growing needs no memory for a copy. After a MemoryError the array is as before.
    """
    array.resize(size, refcheck=False)
