"""The package as a whole: what importing it loads, how its parts depend, what its stubs promise."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import fastlm

PACKAGE = Path(fastlm.__file__).resolve().parent

# a module may import those above it; ARCHITECTURE.md says what each floor is
FLOORS = [
    ["_types", "_arrays"],
    ["_utf8", "_scan", "_special", "_runs", "_replay", "_ranks", "_pairs", "_decode", "normalization"],
    ["_count", "_merge", "kernels", "kernels.bpe", "kernels.decode_lm"],
    ["_worker"],
    ["_loop"],
    ["_encode"],
    ["_share"],
    ["patterns"],
    ["vocabulary", "segments", "threads", "streaming", "encodings"],
    ["ranks", "preparation", "encoders", "batches", "growing"],
    ["offsets"],
    ["formats.reading", "formats.atomic"],
    ["formats.gpt2"],
    ["formats.llama2c", "formats.hf_json", "formats.native", "formats.tiktoken", "formats.minbpe", "formats.tekken"],
    ["formats"],
    ["blocks", "spills"],
    ["corpus", "corpus.faults"],
    ["corpus.streams", "corpus.documents", "corpus.layout"],
    ["corpus.places", "corpus.jsonl", "corpus.columns", "corpus.shards"],
    ["corpus.read", "corpus.manifest"],
    ["tokenizer", "corpus.verify", "memory_limit", "counting", "trainer_state", "corpus.stretches"],
    ["distribution", "distribution.cluster", "corpus.encode", "planning"],
    ["distribution.counting", "distribution.encoding"],
    ["trainer", "corpus.job"],
    ["measured_rates"],
    ["compat.tiktoken.expressions"],
    ["compat", "compat.tiktoken.splitting", "compat.tiktoken.load", "compat.tiktoken.unstable"],
    ["compat.tiktoken.special", "compat.tiktoken.batch", "compat.tiktoken.arguments"],
    ["compat.tiktoken._tiktoken", "compat.tiktoken.published"],
    ["compat.tiktoken.plugins"],
    ["compat.tiktoken.core"],
    ["compat.tiktoken.registry"],
    ["compat.tiktoken.model"],
    ["compat.tiktoken"],
    ["compat.tokenizers.arguments", "compat.tokenizers.background"],
    ["compat.tokenizers.component"],
    ["compat.tokenizers.added_tokens", "compat.tokenizers.normalizers", "compat.tokenizers.pre_tokenizers"],
    ["compat.tokenizers.runs", "compat.tokenizers.templates", "compat.tokenizers.trainers", "compat.tokenizers.inputs"],
    ["compat.tokenizers.encoding"],
    ["compat.tokenizers.lengths", "compat.tokenizers.processors", "compat.tokenizers.models"],
    ["compat.tokenizers.pipeline", "compat.tokenizers.frame", "compat.tokenizers.training"],
    ["compat.tokenizers.text_columns", "compat.tokenizers.decoders"],
    ["compat.tokenizers.settings"],
    ["compat.tokenizers.tokenizer"],
    ["compat.tokenizers.implementations"],
    ["compat.tokenizers"],
    ["compat.transformers_backend"],
    ["compat.transformers"],
    ["model.config"],
    ["model.presets", "model.parameters", "model.flops"],
    ["model.memory", "model.shares_plot"],
    ["model.account", "model.writeup"],
    ["model.bfloat16", "model.functional"],
    ["model.layers", "model.loss"],
    ["model.rope"],
    ["model.attention", "model.state"],
    ["model.transformer"],
    ["model.weights"],
    ["model.files"],
    ["model.hf", "model.llama2c"],
    ["model"],
    ["generation.decoding", "generation.sampling", "generation.stopping"],
    ["generation.packing"],
    ["generation.completion"],
    ["generation"],
    [""],
    ["training.config", "training.schedule", "training.speed"],
    ["training.hardware", "training.log", "training.data", "training.archive", "training.optimizer"],
    ["training.parallel"],
    ["training.checkpoint", "training.evaluation"],
    ["training.rotation"],
    ["training.loop"],
    ["training"],
    ["demo"],
    ["demo_model"],
    ["commands", "commands.bars", "commands.reading", "commands.sizes", "commands.verify", "commands.engine"],
    ["commands.account", "commands.encode", "commands.generate", "commands.train", "commands.train_tokenizer"],
    ["commands.plan", "commands.weights"],
    ["cli"],
]


def modules() -> dict[str, Path]:
    found = {}
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx")]:
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__").removesuffix("__init__")] = path
    return found


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere in it, as names below the package."""
    if path.suffix == ".pyx":
        lines = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("from fastlm.")]
        return {name.removeprefix("fastlm.") for name in lines}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fastlm":
            base = node.module.removeprefix("fastlm").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                found.add(inner if inner in modules() else base)
    return found


def test_imports_point_downward_only():
    floor_of = {name: floor for floor, names in enumerate(FLOORS) for name in names}
    assert floor_of.keys() == modules().keys()
    for name, path in modules().items():
        for imported in imports(path):
            assert floor_of[imported] < floor_of[name], f"{name or 'fastlm'} imports {imported or 'fastlm'}"


def test_importing_fastlm_loads_neither_numba_nor_torch_nor_regex():
    packages = "numba torch regex tqdm tyro transformers tokenizers pyarrow orjson fsspec ray"
    program = f"import sys, fastlm; print(set('{packages}'.split()).intersection(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_decoding_and_training_do_not_load_numba():
    program = (
        "import sys, fastlm\n"
        "tokenizer = fastlm.train_bpe(['ab ab'], 257)\n"
        "assert tokenizer.decode([1, 2]) == '!\"'\n"
        "print('numba' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


@pytest.mark.parametrize("name", [name for name, path in modules().items() if path.suffix == ".pyx"])
def test_stubs_promise_what_the_modules_have(name):
    module = __import__(f"fastlm.{name}", fromlist=["_"])
    stub = ast.parse((PACKAGE / f"{name}.pyi").read_text())
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
