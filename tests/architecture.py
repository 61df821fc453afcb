"""The layers of the package, read from ARCHITECTURE.md, and the imports that it has: `python -m tests.architecture`.

Prints the entries at the top of the package, the number of layers, which imports point upward, and
which modules import each other in a cycle. Exits with 1 if there are any of either.
"""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fastlm"
CYTHON_IMPORT = re.compile(r"^\s*from (fastlm[\w.]*) c?import ([\w, ]+|\()", re.MULTILINE)


def layers() -> list[list[str]]:
    """The table of ARCHITECTURE.md: the packages and top-level modules of each layer, lowest first."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = re.search(r"^```layers\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert table, "ARCHITECTURE.md has no block ```layers"
    return [line.split("  ")[0].split(", ") for line in table[1].splitlines()]


def modules() -> dict[str, Path]:
    """Name below the package -> file, of all Python and Cython modules; the package itself is `__init__`."""
    found = {}
    # a .pxd file is a module only where it has no .pyx file, which comes after it here and takes its place
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pxd"), *PACKAGE.rglob("*.pyx")]):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def unit_of(module: str) -> str:
    """The name that a layer lists: the package of a module, or a module at the top."""
    return module.partition(".")[0]


def entries() -> list[str]:
    """Files and folders at the top of the package, without the results of a build."""
    built = {".so", ".c", ".cpp", ".pyc", ".pyd"}
    return sorted(path.name for path in PACKAGE.iterdir() if path.name != "__pycache__" and path.suffix not in built)


def imports() -> dict[str, set[str]]:
    """Module -> modules of the package that it imports, at any place in it."""
    known = modules()
    return {name: {_module(target, known) for target in _targets(path)} - {name} for name, path in known.items()}


def _targets(path: Path) -> Iterator[str]:
    if path.suffix in (".pyx", ".pxd"):
        for source in {path, path.with_suffix(".pxd")}:
            for base, names in CYTHON_IMPORT.findall(source.read_text() if source.exists() else ""):
                yield from (f"{base}.{name.strip()}" for name in names.split(","))
        return
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and unit_of(node.module) == "fastlm":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if unit_of(alias.name) == "fastlm")


def _module(target: str, known: dict[str, Path]) -> str:
    """The longest part of a dotted name that is a module."""
    name = target.removeprefix("fastlm").removeprefix(".")
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or "__init__"


def upward_imports() -> list[tuple[str, str]]:
    """Imports of a higher layer, or of another unit of the same layer."""
    layer_of = {unit: layer for layer, units in enumerate(layers()) for unit in units}
    found = imports()
    return sorted(
        (name, imported)
        for name, targets in found.items()
        for imported in targets
        if unit_of(imported) != unit_of(name) and layer_of[unit_of(imported)] >= layer_of[unit_of(name)]
    )


def cycle() -> list[str]:
    """Modules each of which imports the next and the last the first; empty if there is no cycle.

    A package's `__init__` counts as importing what it re-exports, but not as imported by the modules within it.
    """
    known = modules()
    graph = {
        name: {target for target in targets if not name.startswith(f"{target}.") and target != "__init__"}
        for name, targets in imports().items()
    }
    assert graph.keys() == known.keys()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def main() -> int:
    upward, around = upward_imports(), cycle()
    print(f"{len(entries())} entries at the top of fastlm/: {', '.join(entries())}")
    print(f"{len(layers())} layers, {len(modules())} modules")
    print(f"{len(upward)} imports that point upward", *(f"  {a} imports {b}" for a, b in upward), sep="\n")
    print(f"{1 if around else 0} cycles", *([" > ".join(around)] if around else []), sep="\n")
    return 1 if upward or around else 0


if __name__ == "__main__":
    sys.exit(main())
