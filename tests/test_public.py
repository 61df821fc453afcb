"""The package as a whole: what importing it loads, how its parts depend, what its stubs promise."""

import ast
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("name", [name for name, path in architecture.modules().items() if path.suffix == ".pyx"])
def test_stubs_promise_what_the_modules_have(name):
    module = __import__(f"fastlm.{name}", fromlist=["_"])
    stub = ast.parse(architecture.modules()[name].with_suffix(".pyi").read_text())
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            assert [a.arg for a in node.args.args] == list(inspect.signature(getattr(module, node.name)).parameters)
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                target = member.target.id if isinstance(member, ast.AnnAssign) else getattr(member, "name", None)
                if target not in ("offset", "reason", "__buffer__"):  # set on instances; since Python 3.12
                    assert hasattr(getattr(module, node.name), target), f"{node.name}.{target}"
        elif isinstance(node, ast.AnnAssign) and getattr(node.annotation, "id", "") != "TypeAlias":
            assert hasattr(module, node.target.id)


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()


def test_version():
    import importlib.metadata

    assert importlib.metadata.version("fastlm") == fastlm.__version__
