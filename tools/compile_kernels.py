"""Compile fastlm/kernels/bpe.py ahead of time: one object file for each instruction set.

    python tools/compile_kernels.py --out build/kernels        # prints a line NAME PATH for each object

setup.py runs this. Numba translates the kernel for each instruction set, in a process of its own because Numba reads
the target once. LLVM then emits a relocatable object whose public functions are `fastlm_FUNCTION_NAME`. The name of an
object contains a hash of all its inputs, so an existing object is never stale.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "fastlm" / "kernels" / "bpe.py"
# name in C -> name of the processor in LLVM, slowest first
X86_64 = {"x86_64_v2": "x86-64-v2", "x86_64_v3": "x86-64-v3", "x86_64_v4": "x86-64-v4"}
TARGETS = {"x86_64": X86_64, "AMD64": X86_64}


def targets() -> dict[str, str]:
    """The instruction sets that are compiled for this machine's architecture."""
    return TARGETS.get(platform.machine(), {"generic": "generic"})


def object_path(folder: Path, name: str) -> Path:
    """Where the object of an instruction set is kept."""
    versions = [importlib.metadata.version(package) for package in ("numba", "llvmlite")]
    parts = [*(path.read_bytes() for path in (SOURCE, Path(__file__))), *(text.encode() for text in versions)]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    return folder / f"bpe-{name}-{digest}.o"


def compile_object(name: str, cpu: str, path: Path) -> None:
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
        module = llvm.parse_assembly(compiled._library.get_llvm_str())
        for function in module.functions:
            if function.name == compiled.native_name:
                function.name = f"fastlm_{name_in_c}_{name}"
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
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    machine = target.create_target_machine(cpu=cpu, opt=3, reloc="pic", codemodel="default")
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(machine.emit_object(module))
    os.replace(temporary, path)


def compile_all(folder: Path) -> dict[str, Path]:
    """Compiles the objects that are missing; returns name of the instruction set -> object."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: object_path(folder, name) for name in targets()}
    running = []
    for name, path in paths.items():
        if not path.exists():
            environment = os.environ | {"NUMBA_CPU_NAME": targets()[name], "NUMBA_CPU_FEATURES": ""}
            command = [sys.executable, __file__, "--out", str(folder), "--only", name]
            running.append((name, subprocess.Popen(command, env=environment)))
    failed = [name for name, process in running if process.wait()]
    if failed:
        raise RuntimeError(f"compiling fastlm/kernels/bpe.py failed for {', '.join(failed)}")
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the objects")
    parser.add_argument("--only", choices=list(targets()), help="compile this one, in this process")
    arguments = parser.parse_args()
    if arguments.only:
        compile_object(arguments.only, targets()[arguments.only], object_path(arguments.out, arguments.only))
        return 0
    for name, path in compile_all(arguments.out).items():
        print(name, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
