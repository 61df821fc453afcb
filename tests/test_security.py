"""What docs/security.md promises about the source: no code from files is run."""

import ast
import re
from pathlib import Path

import pytest

import fastlm

PACKAGE = Path(fastlm.__file__).parent
SOURCES = sorted(path for suffix in ("*.py", "*.pyx") for path in PACKAGE.rglob(suffix))
RUNNING = {"eval", "exec", "compile", "__import__"}
READING = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"}
# executes statements that are written in the report's own modules
SESSION = PACKAGE / "report" / "session.py"
CALLS = {("os", "system"), ("os", "popen"), ("torch", "load"), ("np", "load"), ("numpy", "load")}


def faults_in(source: str) -> list[str]:
    """Calls that run code, imports of modules that read code, and loads that may do so."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in READING]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if (node.module or "").split(".")[0] in READING else []
        elif isinstance(node, ast.Call):
            called, options = node.func, {option.arg: option.value for option in node.keywords}
            if isinstance(called, ast.Name) and called.id in RUNNING:
                found.append(called.id)
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                name = (called.value.id, called.attr)
                safe = options.get("weights_only")
                if name in CALLS and not getattr(safe, "value", False):
                    found.append(".".join(name))
            if isinstance(getattr(options.get("shell"), "value", None), bool) and options["shell"].value:
                found.append("shell=True")
    return found


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".py"], ids=lambda path: str(path.name))
def test_no_module_runs_code_of_files(path):
    expected = {"eval", "exec", "compile"} if path == SESSION else set()
    assert set(faults_in(path.read_text("utf-8"))) == expected


def test_only_statements_of_the_package_are_executed():
    users = [path for path in SOURCES if "report.session import" in path.read_text("utf-8")]
    assert {path.parent for path in users} == {SESSION.parent}
    for path in users:
        tree = ast.parse(path.read_text("utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        executed = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "executed"]
        assigned = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)]
        constants = {target.id for node in assigned for target in node.targets if isinstance(target, ast.Name)}
        assert executed
        for call in executed:
            source = call.args[0]
            assert isinstance(source, ast.Constant) or (isinstance(source, ast.Name) and source.id in constants), path


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".pyx"], ids=lambda path: str(path.name))
def test_no_extension_module_runs_code_of_files(path):
    assert re.findall(r"\b(?:eval|exec)\(|import pickle", path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("eval('1')", "eval"),
        ("import pickle", "pickle"),
        ("from yaml import load", "yaml"),
        ("torch.load(path)", "torch.load"),
        ("subprocess.run(a, shell=True)", "shell=True"),
    ],
)
def test_faults_are_found(source, fault):
    assert faults_in(source) == ([fault] if fault else [])
