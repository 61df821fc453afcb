"""What `import fastlm` loads: the tokenizer, and nothing that takes long or may be missing."""

import json
import subprocess
import sys
from pathlib import Path

import fastlm

LATE = {
    *("torch", "numba", "llvmlite", "pyarrow", "regex", "tyro", "tqdm", "ray", "safetensors", "tiktoken", "tokenizers"),
    *("transformers", "asyncio", "concurrent.futures", "logging", "hashlib", "multiprocessing", "fastlm.bpe_training"),
    *("fastlm.corpus", "fastlm.formats", "fastlm.normalizers", "fastlm.pretokenize.oniguruma", "fastlm.training"),
}


def loaded_after(program: str) -> list[str]:
    program = f"import sys\n{program}\nimport json\nprint(json.dumps(sorted(sys.modules)))"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    modules: list[str] = json.loads(done.stdout)
    return modules


def test_what_is_not_loaded():
    numpys = set(loaded_after("import numpy"))
    assert [name for name in loaded_after("import fastlm") if name in LATE - numpys] == []


def test_encoding_loads_nothing_more():
    program = "import fastlm\ntokenizer = fastlm.Tokenizer({i: bytes([i]) for i in range(256)}, [])\n"
    assert loaded_after(program + "assert tokenizer.decode(tokenizer.encode('text')) == 'text'") == loaded_after(
        program
    )


def test_late_names_are_loaded_at_their_first_use():
    for name, package in (("train_bpe", "fastlm.bpe_training"), ("Corpus", "fastlm.corpus")):
        assert package in loaded_after(f"import fastlm\nfastlm.{name}")
        assert package in loaded_after(f"from fastlm import {name}")


def test_dir_has_the_public_names_and_each_can_be_used():
    program = (
        "import fastlm, json, sys; names = dir(fastlm); loaded = 'fastlm.corpus' in sys.modules;"
        "[getattr(fastlm, name) for name in names if name != 'generate']; print(json.dumps([names, loaded]))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    names, loaded = json.loads(done.stdout)
    public = [name for name in names if not name.startswith("_")]
    packages = ["compat", "corpus", "formats", "generation", "model", "normalizers", "training"]
    assert public == sorted([*packages, *(name for name in fastlm.__all__ if name != "__version__")])
    assert not loaded
