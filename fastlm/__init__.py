"""fastlm: from raw text to a trained language model.

Importing the package loads the tokenizer only. The other names are loaded when they are first used.
"""

from typing import TYPE_CHECKING, Any

from fastlm._version import __version__
from fastlm.forks import no_fork

try:
    from fastlm.pretokenize._scan import InvalidUTF8Error
    from fastlm.tokenizer import Tokenizer
    from fastlm.tokenizer_files import load
except ModuleNotFoundError as error:
    from pathlib import Path

    # every extension module has a stub; a stub without a binary means a clone that was not built
    root = Path(__file__).resolve().parents[1]
    if not (root / f"{(error.name or '').replace('.', '/')}.pyi").exists():
        raise
    raise ImportError(
        f"the extension module {error.name} is not built: run `pip install -e .` or "
        f"`python setup.py build_ext --inplace` in {root}"
    ) from error

if TYPE_CHECKING:
    from fastlm.bpe_training.trainer import train_bpe
    from fastlm.corpus.encode_corpus import encode_corpus
    from fastlm.corpus.read import Corpus
    from fastlm.generation import generate
    from fastlm.pretokenize.patterns import Expression

InvalidUTF8Error.__module__ = __name__  # the name by which users import it

__all__ = [
    "Corpus",
    "Expression",
    "InvalidUTF8Error",
    "Tokenizer",
    "__version__",
    "encode_corpus",
    "generate",
    "load",
    "train_bpe",
]

# where each name that is loaded late is defined: generate loads torch, and the others take as long as the tokenizer
_LATE = {
    "Corpus": "fastlm.corpus.read",
    "Expression": "fastlm.pretokenize.patterns",
    "encode_corpus": "fastlm.corpus.encode_corpus",
    "generate": "fastlm.generation",
    "train_bpe": "fastlm.bpe_training.trainer",
}
# packages that users import from; as attributes they are imported at their first use
_PACKAGES = ("compat", "corpus", "formats", "generation", "model", "normalizers", "training")


def __getattr__(name: str) -> Any:
    import importlib

    if name in _PACKAGES:
        with no_fork:
            return importlib.import_module(f"{__name__}.{name}")
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with no_fork:
        found = getattr(importlib.import_module(_LATE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names, whether they are loaded or not."""
    return sorted({name for name in globals() if name.startswith("__")} | {*__all__, *_PACKAGES})
