"""The peak memory of decoding from a folder, measured in new processes."""

import math
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from fastlm.generation.packed_files import decoding_model  # noqa: E402
from fastlm.model import ModelConfig, TransformerLM  # noqa: E402
from fastlm.model.files import save_model  # noqa: E402
from fastlm.model.parameters import parameter_shapes  # noqa: E402
from fastlm.process_memory import STATUS  # noqa: E402
from tests.children import LIMIT  # noqa: E402

SHAPE = {"context_length": 2048, "num_heads": 8, "num_kv_heads": 4, "tie_embeddings": True}
TINY = ModelConfig(vocab_size=256, d_model=64, num_layers=1, d_ff=64, **SHAPE)
LARGE = ModelConfig(vocab_size=32768, d_model=768, num_layers=10, d_ff=3072, **SHAPE)
# bytes of a weight and of its share of a scale
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1 + 4 / 64, "int4": 0.5 + 4 / 32}

CHILD = """
import sys
from fastlm.generation import generate
from fastlm.generation.packed_files import decoding_model
from fastlm.process_memory import peak_bytes, resident_bytes

kind, tiny, folder = sys.argv[1:]

def decode(folder):
    model, step = decoding_model(folder, kind=kind)
    assert len(generate(model, list(range(20)), max_new_tokens=8, temperature=0, step=step).ids) == 8

decode(tiny)  # imports modules, and reads the code of libraries
before = resident_bytes()
decode(folder)
compiler = {"torch._dynamo", "torch._inductor", "sympy"} & sys.modules.keys()
assert not compiler, compiler
print(peak_bytes() - before)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny model and one of 100 million weights, in bfloat16 and packed."""
    root = tmp_path_factory.mktemp("models")
    for name, config in (("tiny", TINY), ("large", LARGE)):
        save_model(TransformerLM.from_config(config, dtype=torch.bfloat16), root / name)
        for kind in ("int8", "int4"):
            decoding_model(root / name, kind=kind)
    return root


@pytest.mark.nightly
@pytest.mark.skipif(not STATUS.exists(), reason="the peak of other systems includes the parent's")
@pytest.mark.parametrize("kind", BYTES)
def test_peak_memory_is_at_most_a_tenth_above_the_weights(folders, kind):
    arguments = [sys.executable, "-c", CHILD, kind, str(folders / "tiny"), str(folders / "large")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    weights = sum(math.prod(shape) for shape in parameter_shapes(LARGE).values())
    assert int(done.stdout) <= 1.1 * BYTES[kind] * weights
