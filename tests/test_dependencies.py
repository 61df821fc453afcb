"""Requirements: the package imports each of them, and nothing else that is not part of Python."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import fastlm

PACKAGE = Path(fastlm.__file__).resolve().parent
PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
# extras for people who work on fastlm
TOOLS = ("dev", "docs", "bench")
# requirement -> the module of another library that imports it
INDIRECT = {"tensorboard": "torch.utils.tensorboard", "s3fs": "fsspec", "gcsfs": "fsspec"}
# packages that come with a requirement, and libraries that fastlm works with if a program has them
WITH_OTHERS = {"tokenizers": "transformers", "llvmlite": "numba"}
OF_PROGRAMS = {"tiktoken_ext", "IPython", "ipywidgets"}


def required(lists) -> set[str]:
    names = {re.split(r"[^\w-]", requirement)[0] for requirements in lists for requirement in requirements}
    return {name.replace("-", "_") for name in names}


def imported() -> set[str]:
    """The names of packages that modules of fastlm import, also by name."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "needed":
                found |= {argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return found


def test_every_requirement_is_used():
    extras = [names for extra, names in PROJECT["optional-dependencies"].items() if extra not in TOOLS]
    modules = imported()
    packages = {name.partition(".")[0] for name in modules}
    unused = required([PROJECT["dependencies"], *extras]) - packages
    assert [name for name in sorted(unused) if INDIRECT.get(name) not in modules] == []


def test_every_import_is_required():
    known = required([PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()])
    packages = {name.partition(".")[0] for name in imported()}
    others = packages - set(sys.stdlib_module_names) - known - {"fastlm"} - set(WITH_OTHERS) - OF_PROGRAMS
    assert others == set()


def test_the_tokenizer_needs_no_extra():
    """The packages that every installation brings are few."""
    assert required([PROJECT["dependencies"]]) == {"numpy", "tqdm", "tyro"}
