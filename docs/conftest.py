"""Which pages are run as tests."""

import importlib.util

NEEDS = {
    "migrate/transformers.md": "transformers",
    "model.md": "torch",
    "model_training.md": "torch",
    "generation.md": "torch",
    "weights.md": "safetensors",
    "corpora.md": "orjson",
}

collect_ignore = [page for page, package in NEEDS.items() if importlib.util.find_spec(package) is None]
