"""Builds the native core. `python setup.py build_ext --inplace` or `pip install -e .`.

FASTLM_DEBUG=1           Cython's bounds and initialization checks, an end of the process at signed overflow, and no
                         optimization
FASTLM_SANITIZE=address  the checks, with AddressSanitizer and UndefinedBehaviorSanitizer (also for the value 1)
FASTLM_SANITIZE=thread   the checks, with ThreadSanitizer
FASTLM_COVERAGE=1        counts the lines that run, for gcov
FASTLM_KERNELS=FOLDER    links merge kernels that tools/compile_kernels.py made elsewhere, without Numba
The directives stand here and not in the .pyx files, because a directive in a file's header cannot be switched off.
"""

import hashlib
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, "tools")  # an isolated build does not have the folder of setup.py on the path
import extension_cache
from compile_kernels import objects

SANITIZERS = {"1": "address,undefined", "address": "address,undefined", "thread": "thread"}
SANITIZE = SANITIZERS.get(os.environ.get("FASTLM_SANITIZE", ""))
COVERAGE = os.environ.get("FASTLM_COVERAGE") == "1"
DEBUG = bool(SANITIZE) or os.environ.get("FASTLM_DEBUG") == "1"

macros = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]


def flags(compiler_type: str) -> tuple[list[str], list[str]]:
    """Options for compiling and for linking.

    The headers use GNU C, which gcc and clang compile. On Windows clang-cl takes the options of Microsoft's compiler.
    """
    if compiler_type == "msvc":
        compiling = ["/Od", "/Z7"] if DEBUG else ["/O2", "/clang:-O3"]
        return [*compiling, "-Wno-unused-command-line-argument", "-Wno-unused-function"], []
    if SANITIZE:
        sanitizers = [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer"]
        sanitizers += ["-fno-sanitize-recover=undefined"] if "undefined" in SANITIZE else []
        return ["-O1", "-g", *sanitizers], sanitizers
    if COVERAGE:
        return ["-O1", "-g0", "--coverage"], ["--coverage"]
    if DEBUG:
        return ["-O0", "-g", "-ftrapv"], []
    if sys.platform == "darwin":
        return ["-O3", "-g0"], []
    return ["-O3", "-g0", "-fno-semantic-interposition"], ["-Wl,-s"]


DIRECTIVES = {
    "language_level": 3,
    "embedsignature": True,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": not DEBUG,
    "autotestdict": False,
    # tables that threads share never change, and a pool of states has a critical section: docs/platforms.md
    "freethreading_compatible": True,
}

KERNELS = "fastlm.kernels._compiled"
KERNEL_SOURCE = "fastlm/kernels/bpe.py"
# what the C code of all modules has in common, such as memoryviews: Cython writes it, and it is compiled once instead
# of once a module
UTILITY = "fastlm._cython_utility"


class BuildExt(build_ext):
    """Compiles the modules that extension_cache does not have, with the options of the compiler."""

    def build_extensions(self) -> None:
        if self.compiler.compiler_type == "msvc":
            clang = shutil.which("clang-cl")
            if clang is None:
                sys.exit("the native core is GNU C: on Windows it needs clang-cl of LLVM on the PATH")
            self.compiler.initialize()
            self.compiler.cc = clang
        compiling, linking = flags(self.compiler.compiler_type)
        missing = [ext for ext in self.extensions if self.force or not KEPT[ext.name].exists()]
        self.force = True  # modification times say nothing: a C file may be of a build with other directives
        self.missing = {ext.name for ext in missing}
        with ThreadPoolExecutor(1) as pool:
            if KERNELS in self.missing:
                self.kernels = pool.submit(objects, Path("build/kernels"))
            generated = cythonize(
                missing,
                force=True,
                quiet=not self.verbose,
                compiler_directives=DIRECTIVES,
                shared_utility_qualified_name=UTILITY,
            )
            sources = {ext.name: ext.sources for ext in generated}
            for ext in missing:
                ext.sources = sources[ext.name]
                ext.extra_compile_args, ext.extra_link_args = compiling, linking
            super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        built = Path(self.get_ext_fullpath(ext.name))
        if ext.name not in self.missing:
            extension_cache.replace(KEPT[ext.name], built)
            return
        if ext.name == KERNELS:
            ext.extra_objects = [str(path) for path in self.kernels.result()]
            source = hashlib.sha256(Path(KERNEL_SOURCE).read_bytes()).hexdigest()
            # without quotes, which compilers on Windows take differently; dispatch.h adds them
            ext.define_macros = [*ext.define_macros, ("FASTLM_KERNEL_SOURCE", f"sha256_{source}")]
        super().build_extension(ext)
        extension_cache.keep(built, KEPT[ext.name])


CPP_MODULES = ["fastlm.bpe_training._run_files"]
# the modules that take the compiler longest start first, and the one that waits for Numba last
FIRST = ["fastlm.pretokenize._scan", UTILITY, "fastlm.encoding._state"]
SOURCES = {path[:-4].replace(os.sep, "."): path for path in glob("fastlm/**/*.pyx", recursive=True)}
SOURCES[UTILITY] = f"{UTILITY.replace('.', '/')}.c"
MODULES = [*FIRST, *sorted(SOURCES.keys() - {*FIRST, KERNELS}), KERNELS]
COMMON_INPUTS = extension_cache.common_inputs()
KEPT = {name: extension_cache.module_path(SOURCES[name], COMMON_INPUTS) for name in MODULES}
EXTENSIONS = [
    Extension(
        name,
        [SOURCES[name]],
        include_dirs=["fastlm", numpy.get_include()],
        define_macros=macros,
        language="c++" if name in CPP_MODULES else None,
    )
    for name in MODULES
]

setup(
    cmdclass={"build_ext": BuildExt},
    options={"build_ext": {"parallel": os.cpu_count()}},
    ext_modules=EXTENSIONS,
)
