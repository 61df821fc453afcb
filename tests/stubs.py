"""Compares the stubs of the extension modules with the built modules: `python -m tests.stubs`.

Runs mypy's stubtest on every `.pyi` of the package. tests/stubs_allowlist.txt lists the differences that Cython makes
unavoidable, each with its reason.
"""

import sys
from pathlib import Path

from mypy import stubtest

ROOT = Path(__file__).resolve().parents[1]
ALLOWLIST = Path(__file__).with_name("stubs_allowlist.txt")
OPTIONS = [
    # an extension type is a disjoint base (PEP 800), which stubs could only say with typing_extensions
    "--ignore-disjoint-bases",
    # an entry may apply to one Python version only
    "--ignore-unused-allowlist",
    # the stubs leave out constants that only tests patch
    "--ignore-missing-stub",
]


def modules() -> list[str]:
    """Names of the modules that have a stub."""
    stubs = sorted((ROOT / "fastlm").rglob("*.pyi"))
    return [".".join(stub.relative_to(ROOT).with_suffix("").parts) for stub in stubs]


def main() -> int:
    config = f"--mypy-config-file={ROOT / 'pyproject.toml'}"
    options = stubtest.parse_options([*modules(), f"--allowlist={ALLOWLIST}", config, "--concise", *OPTIONS])
    return stubtest.test_stubs(options)


if __name__ == "__main__":
    sys.exit(main())
