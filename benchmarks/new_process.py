"""One tokenizer in a process of its own, which prints its figures as JSON: what loading costs, what encoding holds.

By hand: `python -m benchmarks.new_process load VOCABULARY NAME SOURCE` and `memory VOCABULARY NAME FORM TEXT`, in which
VOCABULARY is JSON of vocabulary.SharedVocabulary.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import memory, peers
from benchmarks.vocabulary import SharedVocabulary

FIRST_TEXT = "The first text of a new process, 24 tokens or so: it's \u201cquoted\u201d, and it ends here.\n"


def load_of(name: str, vocabulary: SharedVocabulary, source: str) -> dict[str, Any]:
    """What `_load` tells. Raises as `figures_of`."""
    return figures_of("benchmarks.new_process", "load", vocabulary.to_json(), name, source)


def memory_of(name: str, vocabulary: SharedVocabulary, form: str, text: Path) -> dict[str, Any]:
    """What `_memory` tells. Raises as `figures_of`."""
    return figures_of("benchmarks.new_process", "memory", vocabulary.to_json(), name, form, str(text))


def figures_of(module: str, *arguments: str) -> dict[str, Any]:
    """The JSON that a module prints last, run in a process of its own.

    Raises CalledProcessError where the process fails; it has then said why on stderr.
    """
    command = [sys.executable, "-m", module, *arguments]
    root = Path(__file__).resolve().parents[1]
    told = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE)
    figures: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return figures


def _load(vocabulary: SharedVocabulary, name: str, source: str) -> dict[str, Any]:
    """Seconds to import and load, seconds to the first ids, and these ids, or their number; nothing where it does not
    read that file."""
    times = [(time.perf_counter(), time.process_time())]
    try:
        encoder = peers.ADAPTERS[name](vocabulary, source)
    except peers.UnsupportedError:
        return {}
    times.append((time.perf_counter(), time.process_time()))
    first = encoder.first_ids(FIRST_TEXT)
    times.append((time.perf_counter(), time.process_time()))
    (start, cpu_start), (loaded, cpu_loaded), (end, cpu_end) = times
    return {
        "load_seconds": loaded - start,
        "load_cpu_seconds": cpu_loaded - cpu_start,
        "seconds": end - start,
        "cpu_seconds": cpu_end - cpu_start,
        "ids": [int(token_id) for token_id in first],  # type: ignore[attr-defined]
    }


def _memory(vocabulary: SharedVocabulary, name: str, form: str, path: str) -> dict[str, Any]:
    """MB that the loaded tokenizer and the text hold, and the most it holds while it encodes."""
    from benchmarks.corpus import documents_of

    encoder = peers.fresh(name, vocabulary)
    text = Path(path).read_text("utf-8")
    way = encoder.way(form, 1)
    assert way is not None
    argument: Any = list(documents_of(text)) if form == "arrays" else text
    memory.give_back()
    memory.reset_peak()
    before = memory.resident_mb()
    way(argument, 1)
    return {"before_mb": before, "peak_mb": memory.peak_mb()}


if __name__ == "__main__":
    what, vocabulary, *arguments = sys.argv[1:]
    measure: Any = {"load": _load, "memory": _memory}[what]
    print(json.dumps(measure(SharedVocabulary.from_json(vocabulary), *arguments)))
