"""Lets scripts import modules of fastlm, and names in them, under former names.

Python imports this module when a process starts whose PYTHONPATH holds this folder. It imports nothing of fastlm: a
finder answers the import of a former module, and adds former names to a module when that is imported. A module that
exists is never replaced, so scripts also run with the version that they were written for.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence

RENAMED_MODULES = {"fastlm.formats.atomic": "fastlm.files.atomic"}

# former module, or a package that has lost names -> {former name: (module, name)}
MOVED_NAMES = {
    "fastlm._count": {"PretokenCounter": ("fastlm.bpe_training._count", "PretokenCounter")},
    "fastlm._decode": {"Decoder": ("fastlm.decoding._decoder", "Decoder")},
    "fastlm._encode": {"Encoder": ("fastlm.encoding._encoder", "Encoder")},
    "fastlm._scan": {"scanner_address": ("fastlm.pretokenize._scan", "scanner")},
    "fastlm._special": {"SpecialFinder": ("fastlm.text._token_finder", "TokenFinder")},
    "fastlm._utf8": {"Utf8": ("fastlm.text._utf8", "Utf8")},
    "fastlm.formats.hf_json": {"content_of": ("fastlm.formats.tokenizer_json", "content_of")},
    "fastlm.planning": {name: ("fastlm.planning.estimate", name) for name in ("Cluster", "GROWTHS", "Rates", "plan")},
}

# a module whose class Run is TrainingRun now, with another parameter of a method
TRAINING_LOOP = "fastlm.training.loop"


class FormerNames:
    """A finder that is asked before all others, and asks them first."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns a spec for a former module, or for a module to which former names are added."""
        if name not in RENAMED_MODULES and name not in MOVED_NAMES and name != TRAINING_LOOP:
            return None
        spec = _spec_of_others(self, name, path, target)
        if spec is None:
            return importlib.machinery.ModuleSpec(name, _FormerModule())
        if spec.loader is not None:
            spec.loader = _WithFormerNames(spec.loader)
        return spec


def _spec_of_others(
    finder: FormerNames, name: str, path: Sequence[str] | None, target: types.ModuleType | None
) -> importlib.machinery.ModuleSpec | None:
    for other in sys.meta_path:
        spec = None if other is finder else other.find_spec(name, path, target)
        if spec is not None:
            return spec
    return None


class _FormerModule:
    """Loads a module that exists under another name, or whose names are in other modules."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        renamed = RENAMED_MODULES.get(spec.name)
        return importlib.import_module(renamed) if renamed else None

    def exec_module(self, module: types.ModuleType) -> None:
        _add_moved_names(module)


class _WithFormerNames:
    """Loads a module with its own loader, then adds former names that it lacks."""

    def __init__(self, loader: object):
        self._loader = loader

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def exec_module(self, module: types.ModuleType) -> None:
        self._loader.exec_module(module)
        _add_moved_names(module)
        if module.__name__ == TRAINING_LOOP and not hasattr(module, "Run"):
            vars(module)["Run"] = _FormerRun(module.TrainingRun)


class _FormerRun:
    """The class TrainingRun with a method `_update` without batches, for scripts that replace the method."""

    def __init__(self, present: type):
        object.__setattr__(self, "_present", present)

    def __getattr__(self, name: str) -> object:
        found = getattr(self._present, name)
        return (lambda run, step: found(run, step, run.former_batches)) if name == "_update" else found

    def __setattr__(self, name: str, value: Callable[[object, int], object]) -> None:
        def update(run: object, step: int, batches: object) -> object:
            vars(run)["former_batches"] = batches
            return value(run, step)

        setattr(self._present, name, update if name == "_update" else value)


def _add_moved_names(module: types.ModuleType) -> None:
    for former, (home, name) in MOVED_NAMES.get(module.__name__, {}).items():
        if not hasattr(module, former):
            setattr(module, former, getattr(importlib.import_module(home), name))


sys.meta_path.insert(0, FormerNames())
