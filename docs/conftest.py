"""Which pages are run as tests."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("transformers") else ["migrate/transformers.md"]
