"""Speed and memory of fastlm beside its peers: `python -m benchmarks.run` measures all and writes RESULTS.md."""

import os
from pathlib import Path

DATA = Path(os.environ.get("FASTLM_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
"""Real texts and official vocabularies, where they are."""

OURS = "fastlm"
LEADERS = ("gigatoken", "fastokens", "snaptokens")
"""The fastest other encoders; what is asked of fastlm's encoding is asked against the best of them."""
END_OF_TEXT = "<|endoftext|>"
MB = 1e6
