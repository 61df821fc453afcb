"""Corpora at their full sizes, from file to tokenizer and to shards: `python -m benchmarks.headline`.

Makes each synthetic corpus, trains on it and encodes it, every job in a process of its own, and removes it again. The
result is benchmarks/SCALE.md, and with `--json` a file of all figures; a run that is not of all corpora at full size
only prints its report.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import MB
from benchmarks.machine import facts, processor
from benchmarks.new_process import figures_of
from benchmarks.synthetic import PROFILES, corpus
from benchmarks.tables import number, table
from benchmarks.targets import Target

RESULTS = Path(__file__).with_name("SCALE.md")
THREADS = (1, 2)
# more than there are processors, so that tables are small and are spilled
BOUNDED_THREADS = 8
# uint16 ids of at least 3 bytes of text each, and where documents end
SHARDS_SHARE = 0.7
# left free on the disk
SPARE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Job:
    """The work on a corpus of one profile."""

    size: int
    vocab_size: int
    max_memory: int | None = None
    encoded: bool = True

    @property
    def disk_share(self) -> float:
        """Bytes on disk a byte of text."""
        return 1 + SHARDS_SHARE * self.encoded


JOBS = {
    "tinystories": Job(2_200_000_000, 10_000),
    "openwebtext": Job(11_900_000_000, 32_000, max_memory=512_000_000),
    "many-words": Job(1_000_000_000, 32_000, max_memory=1_900_000_000, encoded=False),
}

READING = f"""\
Written by `python -m benchmarks.headline`; only the targets, and the figures of the write-up for the real corpora, are
typed by hand. MB are 10^6 bytes. The texts are synthetic: their distinct pretokens grow as in the real corpora
(`benchmarks/synthetic.py`), but in `many-words` one word in ten is new. Every row is one job in a new process, from a
file that was written just before, so that most of it is in the page cache. CPU seconds cover all threads; memory is
the resident memory of the process at its peak (VmHWM). Rows with a memory limit have {BOUNDED_THREADS} threads, each
with its own table, so that tables fill and are spilled."""

TRAINING = """\
Counting is from the start to the last block that was counted, reading included; merging from the first word that the
learner is given to the last merge; the rest adds up tables, or sorts, writes and merges runs, and builds the
vocabulary. Spills are tables written to runs, one for each thread at the end included. The last columns are bytes a
distinct pretoken that merging took beyond what the process held before it, and that `train_bpe` states it takes. Under
a limit of memory words come from a file; without one they come from the table of counts, which is held before."""

ENCODING = """\
From file to `.bin` shards of uint16 with a manifest, `<|endoftext|>` after each document. "Alone" is the encoder on as
many threads on the first 256 MB in memory, which writes nothing, in the same process afterwards."""


def check_space(folder: Path, sizes: dict[str, int], keep: bool) -> None:
    """Raises OSError if the disk of the folder has too little space for the corpora, one at a time or together."""
    most = max(int(size * JOBS[name].disk_share) for name, size in sizes.items())
    needed = SPARE_BYTES + (sum(sizes.values()) + most if keep else most)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"{folder}: {needed / MB:,.0f} MB are needed, and {free / MB:,.0f} MB are free")


def measure(name: str, size: int, folder: Path, keep: bool) -> dict[str, Any]:
    """All figures of one corpus. Raises ValueError where two trainings on it differ."""
    job, path, tokenizer = JOBS[name], folder / f"{name}.txt", folder / f"{name}-tokenizer"
    shards = folder / f"{name}-shards"
    try:
        with open(path, "wb") as out:
            out.writelines(corpus(PROFILES[name], size))
        trainings = [(threads, 0) for threads in THREADS]
        if job.max_memory:
            trainings.append((BOUNDED_THREADS, job.max_memory))
        trained = [
            figures_of(
                "benchmarks.corpus_jobs", "train", *map(str, (path, tokenizer, job.vocab_size, threads, max_memory))
            )
            for threads, max_memory in trainings
        ]
        if len({figures["fingerprint"] for figures in trained}) > 1:
            raise ValueError(f"{name}: trainings learned different merges: {trained}")
        encoded = []
        for threads in THREADS if job.encoded else ():
            encoded.append(
                figures_of("benchmarks.corpus_jobs", "encode", *map(str, (path, tokenizer, shards, threads)))
            )
            shutil.rmtree(shards)
        return {"bytes": path.stat().st_size, "train": trained, "encode": encoded}
    finally:
        shutil.rmtree(shards, ignore_errors=True)
        if not keep:
            path.unlink(missing_ok=True)
            shutil.rmtree(tokenizer, ignore_errors=True)


def targets(found: dict[str, Any]) -> list[tuple[Target, str]]:
    """The targets, each with the write-up's figure. Only corpora of full size meet or miss a target."""
    targets = []

    def add(what: str, wanted: str, measured: str, met: bool, name: str, then: str) -> None:
        whole = found[name]["bytes"] > 0.999 * JOBS[name].size
        targets.append((Target(what, wanted, measured, met if whole else None), then))

    for name, title, cpu, peak, then_cpu, then_peak in (
        ("tinystories", "text like TinyStories, 2.2 GB to 10k", 15, 150, "1,600 core seconds", "120 MB"),
        ("openwebtext", "text like OpenWebText, 11.9 GB to 32k", 120, 1500, "1,200 s", "9.6 GB"),
    ):
        if name in found:
            free = [row for row in found[name]["train"] if not row["max_memory"]]
            seconds = max(row["cpu_seconds"] for row in free)
            memory = max(row["peak_mb"] for row in free)
            add(title, f"<= {cpu} CPU s", f"{number(seconds)} CPU s", seconds <= cpu, name, then_cpu)
            add(title, f"<= {peak:,} MB", f"{number(memory)} MB", memory <= peak, name, then_peak)
    for name in found:
        for row in (row for row in found[name]["train"] if row["max_memory"]):
            limit = row["max_memory"] / MB
            what = f"{name}, max_memory {limit:,.0f} MB, the same merges"
            within = row["peak_mb"] <= 1.15 * limit
            add(what, f"<= {1.15 * limit:,.0f} MB", f"{number(row['peak_mb'])} MB", within, name, "-")
            what = f"{name}, max_memory {limit:,.0f} MB, merging a distinct pretoken"
            taken, stated = _merging_bytes(row)
            add(what, f"<= the {number(stated)} B stated", f"{number(taken)} B", taken <= stated, name, "-")
    if "tinystories" in found:
        row = next(row for row in found["tinystories"]["encode"] if row["threads"] == 2)
        # the better of its rates: where threads gain it little, that is no merit of the way to shards
        share = row["mb_per_s"] / max(row["own_mb_per_s"] for row in found["tinystories"]["encode"])
        add(
            "encode text like TinyStories to shards, 2 threads",
            ">= 350 MB/s or 0.8 of the encoder alone",
            f"{number(row['mb_per_s'])} MB/s, {number(share)}",
            row["mb_per_s"] >= 350 or share >= 0.8,
            "tinystories",
            "6.6 MB/s",
        )
    return targets


def report(content: dict[str, Any]) -> str:
    """The figures as Markdown."""
    found = content["corpora"]
    met = {True: "yes", False: "**no**", None: "-"}
    rows = [[target.what, target.wanted, target.measured, met[target.met], then] for target, then in targets(found)]
    return (
        "\n\n".join(
            [
                "# Corpora at full size",
                READING,
                "\n".join(f"- {name}: {value}" for name, value in content["machine"].items()),
                "## Targets",
                table([["what", "target", "measured", "met", "write-up"], *rows], words=5),
                "## Training",
                TRAINING,
                _trainings(found),
                "## Encoding to shards",
                ENCODING,
                _encodings(found),
            ]
        )
        + "\n"
    )


def _trainings(found: dict[str, Any]) -> str:
    head = ["corpus", "MB", "tokens", "threads", "limit MB", "wall s", "CPU s", "counting", "merging", "the rest"]
    rows = [[*head, "peak MB", "distinct", "spills", "B taken", "B stated"]]
    for name, figures in found.items():
        for row in figures["train"]:
            count, merge = (row[f"{phase}_cpu_seconds"] / row["cpu_seconds"] for phase in ("count", "merge"))
            rows.append([
                name, f"{figures['bytes'] / MB:,.0f}", f"{row['vocab_size']:,}", str(row["threads"]),
                f"{row['max_memory'] / MB:,.0f}" if row["max_memory"] else "-",
                number(row["seconds"]), number(row["cpu_seconds"]),
                *(f"{100 * share:.0f} %" for share in (count, merge, 1 - count - merge)),
                number(row["peak_mb"]), f"{row['distinct']:,}", str(row["spills"]),
                *map(number, _merging_bytes(row)),
            ])  # fmt: skip
    return table(rows)


def _merging_bytes(row: dict[str, Any]) -> tuple[float, float]:
    """Bytes a distinct pretoken that merging took, and that were stated."""
    taken, stated = (row[f"merge_{what}_mb"] * MB / row["distinct"] for what in ("taken", "stated"))
    return taken, stated


def _encodings(found: dict[str, Any]) -> str:
    head = ["corpus", "MB", "threads", "wall s", "CPU s", "MB/s", "MB/s of CPU", "alone, MB/s", "of CPU", "share of it"]
    rows = [[*head, "peak MB", "bytes a token"]]
    for name, figures in found.items():
        for row in figures["encode"]:
            rates = ("mb_per_s", "cpu_mb_per_s", "own_mb_per_s", "own_cpu_mb_per_s")
            rows.append([
                name, f"{figures['bytes'] / MB:,.0f}", str(row["threads"]), number(row["seconds"]),
                number(row["cpu_seconds"]), *(number(row[rate]) for rate in rates),
                number(row["mb_per_s"] / row["own_mb_per_s"]), number(row["peak_mb"]), number(row["bytes_per_token"]),
            ])  # fmt: skip
    return table(rows)


def main(args: list[str] | None = None) -> int:
    """Runs the benchmark; prints an error and returns 1 if the disk has too little space."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="the part of the full sizes to make; 1 by default")
    parser.add_argument("--corpus", action="append", choices=JOBS, help="one of the corpora; all by default")
    parser.add_argument("--folder", type=Path, help="where the corpora lie meanwhile; by default a temporary one")
    parser.add_argument("--keep", action="store_true", help="leave texts and tokenizers in the folder")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    options = parser.parse_args(args)
    if options.scale <= 0:
        parser.error("--scale must be greater than 0")
    if options.keep and not options.folder:
        parser.error("--keep needs a --folder")
    names = options.corpus or list(JOBS)
    sizes = {name: int(options.scale * JOBS[name].size) for name in names}
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = options.folder if options.keep else Path(temporary)
        try:
            check_space(folder, sizes, options.keep)
        except OSError as error:
            print(f"headline: {error}", file=sys.stderr)
            return 1
        found = {name: measure(name, size, folder, options.keep) for name, size in sizes.items()}
    content = {"scale": options.scale, "machine": facts(processor(), ("numpy", "numba")), "corpora": found}
    text = report(content)
    if options.scale == 1 and names == list(JOBS):
        RESULTS.write_text(text)
    if options.json:
        options.json.write_text(json.dumps(content, indent=1))
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
