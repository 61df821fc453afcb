"""Compile fastlm/kernels/bpe.py ahead of time: one object file for each instruction set.

    python tools/compile_kernels.py --out kernels                      # for this machine
    python tools/compile_kernels.py --out kernels --platform all       # for every platform, on x86-64

prints a line PLATFORM ISA PATH for each object. setup.py calls `objects`. Numba translates the kernel for each
instruction set, in a process of its own because Numba reads the target once. LLVM then emits a relocatable object whose
public functions are `fastlm_FUNCTION_NAME`. The name of an object contains a hash of all its inputs, so an existing
object is never stale.

The kernel calls nothing but memset and memcpy and passes only integers and pointers. Hence LLVM's code of an x86-64
machine becomes an object of another system, or of AArch64, by another target. Where Numba has no wheel (musl, macOS on
x86-64), the build links objects that were made elsewhere: FASTLM_KERNELS names their folder.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "fastlm" / "kernels" / "bpe.py"
FOLDER = "FASTLM_KERNELS"
"""Environment variable: the folder of objects to link, instead of compiling them."""


@dataclass(frozen=True)
class Isa:
    """An instruction set: the name of its processor in LLVM, and of the one for which Numba optimizes on x86-64."""

    cpu: str
    numba_cpu: str


@dataclass(frozen=True)
class Platform:
    """A system with an architecture.

    Attributes:
        triple: LLVM's name of the target.
        isas: Name in C -> instruction set, slowest first.
    """

    triple: str
    isas: dict[str, Isa]


X86_64 = {f"x86_64_v{level}": Isa(f"x86-64-v{level}", f"x86-64-v{level}") for level in (2, 3, 4)}
# 128-bit vectors, as SSE has them
AARCH64 = {"generic": Isa("generic", "x86-64-v2")}
APPLE = {"generic": Isa("apple-m1", "x86-64-v2")}
PLATFORMS = {
    "linux-x86_64": Platform("x86_64-unknown-linux-gnu", X86_64),
    "linux-aarch64": Platform("aarch64-unknown-linux-gnu", AARCH64),
    "macos-x86_64": Platform("x86_64-apple-macosx11.0.0", X86_64),
    "macos-arm64": Platform("arm64-apple-macosx11.0.0", APPLE),
    "windows-x86_64": Platform("x86_64-pc-windows-msvc", X86_64),
}


def this_platform() -> str:
    """The platform that extension modules are built for; "other" where PLATFORMS does not have it.

    The build of a wheel for another architecture says so in sysconfig's platform, such as macosx-11.0-x86_64.
    """
    found = sysconfig.get_platform()
    system, machine = found.partition("-")[0], found.rpartition("-")[2]
    if machine == "universal2":
        machine = platform.machine()
    systems, machines = {"macosx": "macos", "win": "windows"}, {"amd64": "x86_64"}
    name = f"{systems.get(system, system)}-{machines.get(machine, machine)}"
    return name if name in PLATFORMS else "other"


def hash_of(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def source_hash() -> str:
    """A hash of what decides the functions of an object: the kernel, and this file."""
    return hash_of(SOURCE.read_bytes(), Path(__file__).read_bytes())


def object_path(folder: Path, platform_name: str, isa: str) -> Path:
    """Where the object of an instruction set is kept."""
    versions = [importlib.metadata.version(package).encode() for package in ("numba", "llvmlite")]
    # an unknown platform is compiled for the process that compiles, so its object is not for others
    machine = platform.machine().encode() if platform_name == "other" else b""
    return folder / f"bpe-{platform_name}-{isa}-{source_hash()}-{hash_of(machine, *versions)}.o"


def isas_of(platform_name: str) -> dict[str, Isa]:
    return PLATFORMS[platform_name].isas if platform_name in PLATFORMS else {"generic": Isa("generic", "generic")}


# what LLVM makes on x86-64 of `--*count == 0`, with the condition 4 (zero)
DECREMENT = re.compile(
    r"^ *(%[\w.]+) = (?:tail )?call i8 @llvm\.x86\.atomic\.sub\.cc\.i64\(ptr [\w ]*?(%[\w.]+), i64 1, i32 4\)$",
    re.MULTILINE,
)


def portable(code: str) -> str:
    """LLVM's code without operations of x86: Numba's reference counts have one. The kernel never takes that path."""
    found = (
        r"  \1.before = atomicrmw sub ptr \2, i64 1 monotonic, align 8\n"
        r"  \1.is_last = icmp eq i64 \1.before, 1\n"
        r"  \1 = zext i1 \1.is_last to i8"
    )
    # a name of digits only is numbered by LLVM, and cannot be a part of another name
    code = DECREMENT.sub(lambda match: match.expand(found).replace(f"{match[1]}.", f"%was{match[1][1:]}."), code)
    return re.sub(r"^declare i8 @llvm\.x86\..*$", "", code, flags=re.MULTILINE)


def compile_object(platform_name: str, isa: str, path: Path) -> None:
    """Writes the object of one instruction set. NUMBA_CPU_NAME must be set before this process imports numba."""
    import llvmlite.binding as llvm
    from numba import cfunc

    spec = importlib.util.spec_from_file_location("bpe", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    kernel: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kernel)
    modules = []
    for name_in_c, (source, signature) in kernel.FUNCTIONS.items():
        compiled = cfunc(signature, nopython=True)(source)
        module = llvm.parse_assembly(portable(compiled._library.get_llvm_str()))
        for function in module.functions:
            if function.name == compiled.native_name:
                function.name = f"fastlm_{name_in_c}_{isa}"
                function.visibility = "hidden"
            elif not function.is_declaration:
                function.linkage = "internal"
        for variable in module.global_variables:
            if not variable.is_declaration:
                variable.linkage = "internal"
        modules.append(module)
    module = modules[0]
    for other in modules[1:]:
        module.link_in(other)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = PLATFORMS[platform_name].triple if platform_name in PLATFORMS else llvm.get_process_triple()
    target = llvm.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=isas_of(platform_name)[isa].cpu, opt=3, reloc="pic", codemodel="default")
    module.triple, module.data_layout = triple, str(machine.target_data)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(machine.emit_object(module))
    os.replace(temporary, path)


def compile_all(folder: Path, platform_name: str) -> dict[str, Path]:
    """Compiles the objects of a platform that are missing; returns name of the instruction set -> object.

    Raises:
        ValueError: numba is not installed, or cannot compile for the platform on this machine.
        RuntimeError: the compiler failed.
    """
    isas = isas_of(platform_name)
    is_foreign = platform_name not in ("other", this_platform())
    if is_foreign and platform.machine() not in ("x86_64", "AMD64"):
        raise ValueError(f"kernels for {platform_name} are compiled on x86-64, this machine is {platform.machine()}")
    if any(importlib.util.find_spec(package) is None for package in ("numba", "llvmlite")):
        raise ValueError(
            f"the merge kernel of {platform_name} is compiled with numba, which is not installed. Where numba has no "
            f"wheel, run `python tools/compile_kernels.py --platform all --out kernels` on Linux and x86-64, and set "
            f"{FOLDER} to the absolute path of that folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: object_path(folder, platform_name, name) for name in isas}
    running = []
    for name, path in paths.items():
        if not path.exists():
            cpu = isas[name].numba_cpu if platform.machine() in ("x86_64", "AMD64") else isas[name].cpu
            environment = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
            only = ["--platform", platform_name, "--only", name]
            command = [sys.executable, __file__, "--out", str(folder), *only]
            running.append((name, subprocess.Popen(command, env=environment)))
    failed = [name for name, process in running if process.wait()]
    if failed:
        raise RuntimeError(f"compiling fastlm/kernels/bpe.py failed for {platform_name}: {', '.join(failed)}")
    return paths


def objects_of(folder: Path, platform_name: str) -> dict[str, Path]:
    """The objects of a platform that were made elsewhere; returns name of the instruction set -> object.

    Raises:
        ValueError: the folder lacks an object, has several, or has one of another version of the kernel.
    """
    paths = {}
    for isa in isas_of(platform_name):
        found = sorted(folder.glob(f"bpe-{platform_name}-{isa}-*.o"))
        right = [path for path in found if path.name.startswith(f"bpe-{platform_name}-{isa}-{source_hash()}-")]
        if len(right) != 1:
            what = f"{len(right)} objects" if right or not found else "only objects of another version of the kernel"
            raise ValueError(
                f"{FOLDER}={folder}: expected one object bpe-{platform_name}-{isa}-{source_hash()}-*.o, found {what}"
            )
        paths[isa] = right[0]
    return paths


def objects(folder: Path) -> list[Path]:
    """The objects that the build links: those of FASTLM_KERNELS if it is set, else compiled into `folder`."""
    given = os.environ.get(FOLDER)
    found = objects_of(Path(given), this_platform()) if given else compile_all(folder, this_platform())
    return list(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the objects")
    parser.add_argument(
        "--platform",
        choices=[*PLATFORMS, "other", "all"],
        default=this_platform(),
        help="the platform to compile for; this machine's by default",
    )
    parser.add_argument("--only", help="compile this instruction set, in this process")
    arguments = parser.parse_args()
    if arguments.only:
        path = object_path(arguments.out, arguments.platform, arguments.only)
        compile_object(arguments.platform, arguments.only, path)
        return 0
    for name in PLATFORMS if arguments.platform == "all" else [arguments.platform]:
        try:
            for isa, path in compile_all(arguments.out, name).items():
                print(name, isa, path)
        except ValueError as error:
            print(f"compile_kernels: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
