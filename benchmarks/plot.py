"""Draws benchmarks/RESULTS.svg: MB/s of encoding by corpus and library, for each vocabulary, warm and cold."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks import OURS
from benchmarks.tables import Entry, distinct, select


def draw(entries: list[Entry], path: Path) -> None:
    """One thread, documents of about 3 KB to arrays, CPU time. Raises ValueError without such entries."""
    shown = select(entries, topic="encode", form="arrays", size="3 KB", threads=1)
    if not shown:
        raise ValueError("no encoding was measured")
    vocabularies = [name for (name,) in distinct(shown, "vocabulary")]
    corpora = [name for (name,) in distinct(shown, "corpus")]
    names = [OURS, *dict.fromkeys(name for entry in shown for name in entry["peers"])]
    width = 0.85 / len(names)
    with mpl.rc_context({"svg.hashsalt": OURS, "font.size": 8}):
        figure = Figure(figsize=(11, 2.6 * len(vocabularies)), layout="constrained")
        axes = figure.subplots(len(vocabularies), 2, squeeze=False, sharex=True)
        for row, vocabulary in zip(axes, vocabularies, strict=True):
            for ax, state in zip(row, ("warm", "cold"), strict=True):
                of = {entry["corpus"]: entry for entry in select(shown, vocabulary=vocabulary, state=state)}
                for k, name in enumerate(names):
                    rates = [_rate(of.get(corpus), name) for corpus in corpora]
                    ax.bar(np.arange(len(corpora)) + (k + 0.5) * width - 0.425, rates, width, label=name)
                ax.set_title(f"{vocabulary}, {state}")
                ax.set_xticks(np.arange(len(corpora)), corpora)
                ax.set_ylabel("MB/s")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names))
        figure.savefig(path, metadata={"Date": None})


def _rate(entry: Entry | None, name: str) -> float:
    if entry is None:
        return 0.0
    rate: float = (entry if name == OURS else entry["peers"].get(name, {})).get("cpu_mb_per_s", 0.0)
    return rate
