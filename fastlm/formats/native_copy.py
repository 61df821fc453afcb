"""Copies of tokenizer files in the native format, in a cache folder: reading one takes milliseconds.

The name of a copy is a hash of everything that decides its content: the files, the options of the call, and the version
of fastlm. So a changed file never finds an old copy. A copy that is damaged is written again.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from fastlm._version import __version__
from fastlm.files.atomic import write_files
from fastlm.formats import native
from fastlm.vocabulary.vocabulary import Vocabulary

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder of the copies: FASTLM_CACHE, or `fastlm` in the user's folder for caches."""
    if os.environ.get("FASTLM_CACHE"):
        return Path(os.environ["FASTLM_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fastlm"


def read_through(files: Iterable[Path], options: str, read: Callable[[], Vocabulary]) -> Vocabulary:
    """Returns the vocabulary of the copy, or else reads the files and writes the copy.

    Args:
        files: The files that `read` reads.
        options: Everything else that decides its result.
        read: Reads the files.

    Raises:
        OSError, ValueError: See `read`. A copy that cannot be read or written is a warning.
    """
    files = list(files)
    name = _name_of(files, options)
    path = cache_folder() / name
    try:
        return native.read(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        _log.warning("%s: the copy of %s is not used: %s", path, files[0], error)
    vocabulary = read()
    # a file that changed while it was read may not belong to the name
    if _name_of(files, options) == name:
        try:
            write_files(path.parent, {name: native.write(vocabulary)[native.FILE]})
        except OSError as error:
            _log.warning("%s: no copy of %s is kept: %s", path, files[0], error)
    return vocabulary


def _name_of(files: Iterable[Path], options: str) -> str:
    digest = hashlib.sha256(f"{__version__}\n{options}".encode(errors="surrogatepass"))
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"{digest.hexdigest()}.fastlm"
