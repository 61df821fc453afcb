"""Builds the native core. `python setup.py build_ext --inplace` or `pip install -e .`.

FASTLM_DEBUG=1           Cython's bounds and initialization checks, an end of the process at signed overflow, and no
                         optimization
FASTLM_SANITIZE=address  the checks, with AddressSanitizer and UndefinedBehaviorSanitizer (also for the value 1)
FASTLM_SANITIZE=thread   the checks, with ThreadSanitizer
FASTLM_LINE_TRACE=1      tells coverage which lines run
The directives stand here and not in the .pyx files, because a directive in a file's header cannot be switched off.
"""

import hashlib
import os
import sys
from glob import glob
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, "tools")  # an isolated build does not have the folder of setup.py on the path
import extension_cache
from compile_kernels import compile_all

SANITIZERS = {"1": "address,undefined", "address": "address,undefined", "thread": "thread"}
SANITIZE = SANITIZERS.get(os.environ.get("FASTLM_SANITIZE", ""))
LINE_TRACE = os.environ.get("FASTLM_LINE_TRACE") == "1"
DEBUG = bool(SANITIZE) or os.environ.get("FASTLM_DEBUG") == "1"

macros = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]
compile_args, link_args = ["-O3", "-g0", "-fno-semantic-interposition"], ["-Wl,-s"]
if DEBUG:
    compile_args, link_args = ["-O0", "-g"], []
    if not SANITIZE:
        compile_args.append("-ftrapv")
if SANITIZE:
    flags = [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer"]
    flags += ["-fno-sanitize-recover=undefined"] if "undefined" in SANITIZE else []
    compile_args += ["-O1", *flags]
    link_args += flags
if LINE_TRACE:
    compile_args = ["-O1", "-g0"]
    macros += [("CYTHON_TRACE_NOGIL", "1")]

DIRECTIVES = {
    "language_level": 3,
    "embedsignature": True,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": not DEBUG,
    "autotestdict": False,
    "linetrace": LINE_TRACE,
}

KERNELS = "fastlm.kernels._compiled"
KERNEL_SOURCE = "fastlm/kernels/bpe.py"


class BuildExt(build_ext):
    """Compiles the modules that extension_cache does not have."""

    def build_extensions(self) -> None:
        missing = [ext for ext in self.extensions if self.force or not KEPT[ext.name].exists()]
        self.force = True  # modification times say nothing: a C file may be of a build with other directives
        generated = cythonize(missing, force=True, quiet=not self.verbose, compiler_directives=DIRECTIVES)
        sources = {ext.name: ext.sources for ext in generated}
        for ext in missing:
            ext.sources = sources[ext.name]
        self.missing = set(sources)
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        built = Path(self.get_ext_fullpath(ext.name))
        if ext.name not in self.missing:
            extension_cache.replace(KEPT[ext.name], built)
            return
        if ext.name == KERNELS:
            ext.extra_objects = [str(path) for path in compile_all(Path("build/kernels")).values()]
            source = hashlib.sha256(Path(KERNEL_SOURCE).read_bytes()).hexdigest()
            ext.define_macros = [*ext.define_macros, ("FASTLM_KERNEL_SOURCE", f'"{source}"')]
        super().build_extension(ext)
        extension_cache.keep(built, KEPT[ext.name])


CPP_MODULES = ["bpe_training._run_files"]
MODULES = sorted(
    path.removeprefix("fastlm/").removesuffix(".pyx").replace("/", ".")
    for path in glob("fastlm/**/*.pyx", recursive=True)
)


def source_of(name: str) -> str:
    return f"fastlm/{name.replace('.', '/')}.pyx"


COMMON_INPUTS = extension_cache.common_inputs()
KEPT = {f"fastlm.{name}": extension_cache.module_path(source_of(name), COMMON_INPUTS) for name in MODULES}
EXTENSIONS = [
    Extension(
        f"fastlm.{name}",
        [source_of(name)],
        include_dirs=["fastlm", numpy.get_include()],
        define_macros=macros,
        language="c++" if name in CPP_MODULES else "c",
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for name in MODULES
]

setup(
    cmdclass={"build_ext": BuildExt},
    options={"build_ext": {"parallel": os.cpu_count()}},
    ext_modules=EXTENSIONS,
)
