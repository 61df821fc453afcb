"""Speed and memory of fastlm and of its peers, measured in the same run.

| command | measures | writes |
|---|---|---|
| `python -m benchmarks.run` | encoding, decoding, loading, training (test_*.py) | RESULTS.md, RESULTS.svg, history/ |
| `python -m benchmarks.encode_profile` | stages of encoding, two threads | docs/performance.md |
| `python -m benchmarks.compat_speed` | the compatibility layers | docs/migrate/speed.md |
| `python -m benchmarks.versions CHECKOUT` | encoding, against another version of fastlm | nothing |
| `python -m benchmarks.headline` | corpora of full size, from file to tokenizer and shards | SCALE.md |
| `python -m benchmarks.model` | training steps and decoding of the model | MODEL.md, history/ |
| `python -m benchmarks.quality` | the loss and the texts of a trained model | QUALITY.md |
| `python -m benchmarks.synthetic` | nothing: it makes corpora | a text |
| `python -m benchmarks.report JSON` | nothing: it renders the figures of `run --json` | RESULTS.md, RESULTS.svg |
| `python -m benchmarks.history` | nothing: it renders the ratios of all stored runs | HISTORY.md, HISTORY.svg |
| `python -m benchmarks.gate` | nothing: it fails if a ratio of the newest run fell | nothing |
| `python -m benchmarks.figures` | nothing: it copies figures of RESULTS.md | README.md, docs/index.md, HEADLINE.svg |

| module | purpose |
|---|---|
| peers, trainers, nanogpt | adapters: one for each library that encodes or trains |
| participants | the libraries that give the right ids with a vocabulary |
| corpus, hard_texts, vocabulary | texts and vocabularies |
| measure, memory, device, machine | clocks, memory, facts of the machine |
| new_process, corpus_jobs, thread_scaling | measurements in processes of their own |
| train_lm, decode_lm | measurements of the model |
| sizes, conftest | sizes and fixtures of `run` |
| targets, model_targets | the ratios that fastlm has to reach |
| report, tables, plot, figures | the reports |
| ratios, history, gate | the ratios of a run, the store of runs, and what fell |
"""

import os
from pathlib import Path

DATA = Path(os.environ.get("FASTLM_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
"""Folder of real texts and published vocabularies; it may not exist."""

OURS = "fastlm"
LEADERS = ("gigatoken", "fastokens", "snaptokens", "tokenizers_next")
"""The fastest other encoders; the targets of encoding compare with the best of them."""
END_OF_TEXT = "<|endoftext|>"
MB = 1e6
