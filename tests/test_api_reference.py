"""The API reference: every public name has an entry and a docstring, and so has every name that the pages import."""

import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from fastlm.normalizers import Normalizer

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
WITH_TORCH = ["fastlm.model", "fastlm.training", "fastlm.generation"]
# the packages that say which of their names are public
PACKAGES = [path.parent for path in (ROOT / "fastlm").glob("*/__init__.py") if "\n__all__ = " in path.read_text()]
PUBLIC = ["fastlm", *sorted(f"fastlm.{package.name}" for package in PACKAGES)]
MODULES = [name for name in PUBLIC if importlib.util.find_spec("torch") or name not in WITH_TORCH]
ENTRIES = {
    name
    for page in (DOCS / "api").glob("*.md")
    for name in re.findall(r"^(?:::: |## .*\{ #)(fastlm[\w.]+)", page.read_text(), re.MULTILINE)
}


def public_names():
    return [
        (module, name)
        for module in MODULES
        for name in importlib.import_module(module).__all__
        if name != "__version__"
    ]


def documented(value):
    """Whether an object has a docstring of its own; data has it in the source, after the assignment."""
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        return bool(value.__doc__) and not value.__doc__.startswith(f"{getattr(value, '__name__', '')}(")
    return True


@pytest.mark.parametrize(("module", "name"), public_names(), ids=lambda value: value)
def test_every_public_name_has_an_entry_and_a_docstring(module, name):
    value = getattr(importlib.import_module(module), name)
    assert f"{module}.{name}" in ENTRIES
    assert documented(value)
    if inspect.isclass(value) and value.__module__.startswith("fastlm"):
        methods = [key for key in vars(value) if not key.startswith("_") and callable(getattr(value, key))]
        # Normalizer documents the methods of all steps
        described = vars(Normalizer) if module == "fastlm.normalizers" else {}
        assert [key for key in methods if key not in described and not inspect.getdoc(getattr(value, key))] == []


def test_every_entry_is_a_name():
    for entry in ENTRIES:
        module, _, name = entry.rpartition(".")
        if importlib.util.find_spec("torch") or not module.startswith(tuple(WITH_TORCH)):
            try:
                package = importlib.import_module(module)
                value = getattr(package, name) if hasattr(package, name) else importlib.import_module(entry)
            except ModuleNotFoundError as error:
                if (error.name or "").startswith("fastlm"):
                    raise
                continue  # an extra installs the package
            assert documented(value), entry


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_every_name_that_a_page_imports_has_an_entry(page):
    imports = re.findall(
        r"^(?:>>> |\.\.\. )?from (fastlm[\w.]*) import \(?([\w, ]+)\)?", page.read_text(), re.MULTILINE
    )
    names = [f"{module}.{name.strip()}" for module, names in imports for name in names.split(",")]
    compat, others = [[name for name in names if name.startswith("fastlm.compat.") is kind] for kind in (True, False)]
    packages = set(MODULES)
    assert [name for name in others if name not in ENTRIES | packages] == []
    assert all(importlib.util.find_spec(".".join(name.split(".")[:3])) for name in compat)


@pytest.mark.parametrize("library", ["tiktoken", "tokenizers"])
def test_every_name_of_a_compatibility_layer_is_on_its_page(library):
    page = (DOCS / "migrate" / f"{library}.md").read_text()
    names = importlib.import_module(f"fastlm.compat.{library}").__all__
    assert [name for name in names if not re.search(rf"\b{name}\b", page)] == []
