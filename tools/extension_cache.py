"""Keeps compiled extension modules under a hash of their inputs, so that none is stale or compiled twice.

An isolated build has newer files of Cython than the build before it, so modification times would compile all modules
again for each `pip install`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("build/modules")
MOST_KEPT = 4  # with and without checks, and those before the last change
ENVIRONMENT = (
    *("CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED", "ARCHFLAGS", "MACOSX_DEPLOYMENT_TARGET"),
    *("FASTLM_DEBUG", "FASTLM_SANITIZE", "FASTLM_COVERAGE"),
)
PACKAGES = ("Cython", "numpy", "numba", "llvmlite")


def common_inputs() -> bytes:
    """The hash of what all modules depend on: headers, declarations, the build scripts, and the tools of the build."""
    # modules include each other's headers and declarations, so each module depends on all of them
    files = [path for pattern in ("*.pxd", "*.h", "*.hpp") for path in (ROOT / "fastlm").rglob(pattern)]
    files += [ROOT / "setup.py", ROOT / "tools" / "compile_kernels.py", ROOT / "fastlm" / "kernels" / "bpe.py"]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    settings = [f"{package} {_version(package)}" for package in PACKAGES]
    if kernels := os.environ.get("FASTLM_KERNELS"):
        settings += sorted(path.name for path in Path(kernels).iterdir())  # the names have hashes
    settings += [f"{name}={os.environ.get(name)}" for name in ENVIRONMENT]
    settings += [f"{name}={sysconfig.get_config_var(name)}" for name in ("EXT_SUFFIX", "CC", "CFLAGS", "LDSHARED")]
    digest.update("\0".join([*settings, platform.machine()]).encode())
    return digest.digest()


def _version(package: str) -> str | None:
    """The version of a package; None for Numba where the build takes kernels that were compiled elsewhere."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def module_path(source: str, common: bytes) -> Path:
    """Where the module that is compiled from a source is kept. A source that Cython makes has no content of its own."""
    content = (ROOT / source).read_bytes() if source.endswith(".pyx") else b""
    digest = hashlib.sha256(common + source.encode() + b"\0" + content).hexdigest()[:24]
    return FOLDER / f"{Path(source).stem}-{digest}{sysconfig.get_config_var('EXT_SUFFIX')}"


def keep(built: Path, kept: Path) -> None:
    """Keeps a module that was just built, and the last few of the same name."""
    replace(built, kept)
    same_name = kept.parent.glob(f"{kept.name.partition('-')[0]}-*")
    for path in sorted(same_name, key=lambda path: path.stat().st_mtime_ns)[:-MOST_KEPT]:
        path.unlink(missing_ok=True)


def replace(source: Path, target: Path) -> None:
    """Copies a module. A process that has loaded the file at the target keeps the old content."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    shutil.copyfile(source, temporary)
    shutil.copymode(source, temporary)
    os.replace(temporary, target)
