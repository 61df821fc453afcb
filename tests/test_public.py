"""The package as a whole: imports, layers, stubs, version."""

import shutil
import subprocess
import sys
from pathlib import Path

import fastlm
from tests import architecture

PACKAGE = Path(fastlm.__file__).resolve().parent


def test_imports_point_downward_only():
    units = {architecture.unit_of(name) for name in architecture.modules()}
    listed = [unit for layer in architecture.layers() for unit in layer]
    assert sorted(listed) == sorted(units)
    assert architecture.upward_imports() == []


def test_no_modules_import_each_other():
    assert architecture.cycle() == []


def test_importing_fastlm_loads_neither_numba_nor_torch_nor_regex():
    packages = "numba torch regex tqdm tyro transformers tokenizers pyarrow orjson fsspec ray"
    program = f"import sys, fastlm; print(set('{packages}'.split()).intersection(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_a_clone_that_is_not_built_names_the_command(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "fastlm", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    command = [sys.executable, "-c", "import fastlm"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: the extension module fastlm.")
    assert last.endswith(f"is not built: run `pip install -e .` or `python setup.py build_ext --inplace` in {tmp_path}")


def test_decoding_and_training_do_not_load_numba():
    program = (
        "import sys, fastlm\n"
        "tokenizer = fastlm.train_bpe(['ab ab'], 257)\n"
        "assert tokenizer.decode([1, 2]) == '!\"'\n"
        "print('numba' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_every_extension_module_has_a_stub():
    """`python -m tests.stubs` compares the stubs with the modules."""
    extensions = [path for path in architecture.modules().values() if path.suffix == ".pyx"]
    assert extensions
    assert [path for path in extensions if not path.with_suffix(".pyi").exists()] == []


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()


def test_version():
    import importlib.metadata

    assert importlib.metadata.version("fastlm") == fastlm.__version__
