"""Which pages are run as tests, and how."""

import importlib.util
import os

# as in tests/conftest.py: the models of the pages are tiny, and a second
# thread of torch costs more than it gives
os.environ.setdefault("OMP_NUM_THREADS", "1")

NEEDS = {
    "migrate/transformers.md": "transformers",
    "model.md": "torch",
    "model_training.md": "torch",
    "generation.md": "torch",
    "weights.md": "safetensors",
    "cs336.md": "torch",
    "corpora.md": "orjson",
    "tutorials/service.md": "fastapi",
    "tutorials/laptop.md": "torch",
    "tutorials/cluster.md": "orjson",
}

collect_ignore = [
    page
    for page, package in NEEDS.items()
    if importlib.util.find_spec(package) is None
]
