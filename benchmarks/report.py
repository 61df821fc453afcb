"""Renders the JSON of a run as benchmarks/RESULTS.md and RESULTS.svg: `python -m benchmarks.report RESULT.json`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import MB, OURS, figures
from benchmarks.peers import ADAPTERS
from benchmarks.tables import Entry, distinct, number, select, table, threads_of
from benchmarks.targets import best_ratio, ratio, target_table, targets
from benchmarks.trainers import TRAINERS

RESULTS = Path(__file__).with_name("RESULTS.md")
PLOT = RESULTS.with_suffix(".svg")

READING = """\
MB are 10^6 bytes of UTF-8, and every figure is the median of its rounds. In each round fastlm and all peers take
their turns on the same text, and each round begins with another one, so trust ratios more than rates. On one thread
the first figure is by CPU time, on two by wall time, and the other one of the two stands in brackets; an **x**
column says how many times as fast as that peer fastlm is by the first figure, and **x best** compares with the best
of gigatoken, fastokens, snaptokens and a newer tokenizers, and **system** is the part of fastlm's CPU time that the
system took. Ids, numbers of ids and decoded texts are compared with fastlm's before anything is timed, and the
trainers' merges after they are learned; a peer that differs is named and not timed, and where tiktoken's or
tokenizers' ids or any merges differ in a way that is not named here, the run fails. On Linux each process is kept on
as many processors as threads are named."""
ENCODING = """\
- Arrays: a batch of documents to flat arrays of ids, by a peer's batch call or else a call a document.
- Whole: one text to one flat array. Lists: a batch of documents to lists of ints. Counts: only their numbers.
- One: a call a text, whatever it returns.
- Documents of 3 KB have 3,000 characters, to the end of the line; those of 100 B have 100 characters.
- Cold: each round by a tokenizer that has seen no text; it is built, and what is compiled is compiled, before the clock
  starts. Warm: by one that has seen this text before.
- Two threads are each peer's own; who has no such way is not in the table. "x own" is against fastlm with one thread,
  in the same rounds."""

TRAINING = """\
From a file, a document a line, to merges, each trainer in a fresh process; all break ties as `tokenizers` does unless
the last column says otherwise. Peak memory is the whole process's; the column before says what it had before it began.
The text is grown from all corpora, with words that they do not have."""


def render(content: dict[str, Any]) -> str:
    """The report in Markdown."""
    entries: list[Entry] = [benchmark["extra_info"] for benchmark in content["benchmarks"]]
    skipped = content["fastlm"]["skipped"]
    parts = [
        "# Results",
        f"Written by `python -m benchmarks.run`; nothing here is typed by hand.\n\n{_run(content)}",
        "## Targets",
        target_table(targets(entries)),
    ]
    if select(entries, topic="encode"):
        parts += [f"![MB/s by corpus and library]({PLOT.name})"]
    parts += ["## How to read the tables", READING]
    for title, topic, render_topic in (
        ("Encoding", "encode", _encode),
        ("Memory of encoding", "memory", _memory),
        ("Single pretokens", "pretoken", _pretoken),
        ("Adversarial texts", "adversarial", _adversarial),
        ("Training", "train", _train),
        ("Counting alone", "count", _train),
        ("One word", "word", _train),
        ("Decoding", "decode", _decode),
        ("Loading", "load", _load),
    ):
        if of := select(entries, topic=topic):
            parts += [f"## {title}", *render_topic(of, skipped)]
    return "\n\n".join(parts) + "\n"


def _run(content: dict[str, Any]) -> str:
    machine, commit, run = content["machine_info"], content["commit_info"], content["fastlm"]
    changed = ", with uncommitted changes" if commit.get("dirty") else ""
    versions = {"Python": run["python"], OURS: run["fastlm"], **run["versions"]}
    facts = {
        "date": content["datetime"][:16].replace("T", " ") + " UTC",
        "commit": f"{(commit.get('id') or 'none')[:12]}{changed}",
        "processor": f"{machine.get('cpu', {}).get('brand_raw', machine['machine'])}, {run['processors']} usable",
        "system": f"{machine['system']} {machine['machine']}",
        "load average at the end": ", ".join(map(number, run["load"] or [])),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "vocabularies": ", ".join(run["vocabularies"]),
        "not installed, so not compared": ", ".join(run["skipped"]) or "none",
    }
    if run["quick"]:
        facts["sizes"] = "--quick: texts too small for figures that mean anything"
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _encode(entries: list[Entry], skipped: list[str]) -> list[str]:
    parts = [ENCODING]
    for form, size, state, threads in distinct(entries, "form", "size", "state", "threads"):
        of = select(entries, form=form, size=size, state=state, threads=threads)
        title = f"### {form.capitalize()}, {size}, {state}, {threads_of(threads)}"
        parts += [title, _rates(of), _left_out(of, ADAPTERS, skipped)]
    return parts


def _decode(entries: list[Entry], skipped: list[str]) -> list[str]:
    parts = []
    for (form,) in distinct(entries, "form"):
        of = select(entries, form=form)
        parts += [f"### From {'an array' if form == 'array' else 'a list of ints'}, 1 thread", _rates(of)]
        parts += [_left_out(of, ADAPTERS, skipped)]
    return parts


def _pretoken(entries: list[Entry], skipped: list[str]) -> list[str]:
    return ["One text that has no blank in it, whole, cold, 1 thread, by the leaders only.", _rates(entries)]


def _rates(entries: list[Entry]) -> str:
    """MB/s, a row a vocabulary and corpus."""
    peers = [name for name in ADAPTERS if any(name in {**e["peers"], **_wrong(e)} for e in entries)]
    against = [name for name in ("tiktoken", "tokenizers") if name in peers]
    threads = entries[0].get("threads", 1)
    key = "cpu_mb_per_s" if threads == 1 else "mb_per_s"
    head = ["vocabulary", "corpus", "MB", f"**{OURS}**", *peers, *(f"x {name}" for name in against), "x best", "system"]
    rows = [head + ["x own"] * (threads > 1)]
    for entry in entries:
        row = [entry["vocabulary"], entry["corpus"], f"{entry['bytes'] / MB:.2f}", f"**{_both(entry, threads)}**"]
        row += [_cell(entry, name, threads) for name in peers]
        ratios = [*(ratio(entry, name, key) for name in against), best_ratio(entry, key)]
        row += ["-" if value is None else number(value) for value in ratios]
        row.append(f"{100 * entry['system_share']:.0f} %" if "system_share" in entry else "-")
        if threads > 1:
            row.append(number(entry["mb_per_s"] / entry["alone"]["mb_per_s"]))
        rows.append(row)
    return table(rows, words=2)


def _cell(entry: Entry, name: str, threads: int) -> str:
    return _both(entry["peers"][name], threads) if name in entry["peers"] else _wrong(entry).get(name, "-")


def _both(rates: dict[str, float], threads: int) -> str:
    cpu, wall = number(rates["cpu_mb_per_s"]), number(rates["mb_per_s"])
    return f"{cpu} ({wall})" if threads == 1 else f"{wall} ({cpu})"


def _wrong(entry: Entry) -> dict[str, str]:
    return {name: "wrong" for name, why in entry["left_out"].items() if why.startswith("wrong")}


def _left_out(entries: list[Entry], names: Iterable[str], skipped: list[str]) -> str:
    """Who is not in the table of the entries, and why."""
    why: dict[str, str] = {}
    for name in names:
        missing = [entry["left_out"].get(name, "has no such way") for entry in entries if name not in entry["peers"]]
        if name in skipped:
            why[name] = "not installed"
        elif name != OURS and missing:
            why[name] = "; ".join(dict.fromkeys(missing))
    return "Not timed: " + (", ".join(f"{name} ({reason})" for name, reason in why.items()) or "none") + "."


def _memory(entries: list[Entry], skipped: list[str]) -> list[str]:
    parts = [
        "A fresh process each that has loaded the vocabulary and read the text: MB it holds then, and the most that "
        "encoding adds, ids included."
    ]
    for entry in entries:
        rows = [["library", "MB before", "peak MB", "MB added", "added a byte of text"]]
        for name, held in {OURS: entry, **entry["peers"]}.items():
            added = held["peak_mb"] - held["before_mb"]
            figures = (held["before_mb"], held["peak_mb"], added, added * MB / entry["bytes"])
            rows.append([name, *map(number, figures)])
        title = f"### {entry['form'].capitalize()}, {entry['bytes'] / MB:.1f} MB, {entry['vocabulary']}"
        parts += [title, table(rows), _left_out([entry], ADAPTERS, skipped)]
    return parts


def _adversarial(entries: list[Entry], skipped: list[str]) -> list[str]:
    rows = [["text", "MB", "ns a byte", "time(10n) / time(n)"]]
    rows += [
        [entry["corpus"], f"{entry['bytes'] / MB:.1f}", number(entry["ns_per_byte"]), number(entry["growth"])]
        for entry in entries
    ]
    return [f"{OURS} alone, cold, CPU time; {entries[0]['vocabulary']}.", table(rows)]


def _train(entries: list[Entry], skipped: list[str]) -> list[str]:
    parts = []
    if entries[0]["topic"] == "train":
        parts = [TRAINING]
    for entry in entries:
        rows = [["trainer", "CPU s", "wall s", "MB/s", "MB at start", "peak MB", "x CPU", "x peak", "rounds", "merges"]]
        for name, trained in {OURS: entry, **entry["peers"]}.items():
            row = [name, *(number(entry["bytes"] / MB / trained[key]) for key in ("cpu_mb_per_s", "mb_per_s"))]
            row += [number(trained[key]) for key in ("cpu_mb_per_s", "start_mb", "peak_mb")]
            row += [
                number(entry["cpu_mb_per_s"] / trained["cpu_mb_per_s"]),
                number(trained["peak_mb"] / entry["peak_mb"]),
            ]
            rows.append([*row, str(trained["rounds"]), trained["differs"] or "the same"])
        size = f"{entry['bytes'] / MB:.1f} MB to {entry['vocab_size']:,} tokens"
        parts += [f"### {entry['corpus'].capitalize()}, {size}, {threads_of(entry['threads'])}", table(rows)]
        if entry["topic"] == "count" and entry["count_cpu_seconds"]:
            rate = entry["bytes"] / MB / entry["count_cpu_seconds"]
            parts += [f"Of {OURS}'s time, counting itself is {entry['count_cpu_seconds']:.2f} s: {number(rate)} MB/s."]
        parts += [_left_out([entry], TRAINERS, skipped)]
    return parts


def _load(entries: list[Entry], skipped: list[str]) -> list[str]:
    parts = [
        "In a new process, after Python has started: import and load, and from there to the first ids. Native is a "
        "library's own file, or what is built into it."
    ]
    for entry in entries:
        rows = [["library", "from", "load CPU s", "load s", "first ids CPU s", "first ids s"]]
        for row in sorted(entry["rows"], key=lambda row: row["cpu_seconds"]):
            keys = ("load_cpu_seconds", "load_seconds", "cpu_seconds", "seconds")
            rows.append([row["name"], row["source"], *(f"{row[key]:.3f}" for key in keys)])
        parts += [f"### {entry['vocabulary']}", table(rows, words=2)]
        if entry["left_out"]:
            parts += ["Not timed: " + ", ".join(f"{name} ({why})" for name, why in entry["left_out"].items()) + "."]
    return parts


def write(content: dict[str, Any]) -> None:
    """RESULTS.md and RESULTS.svg, and the figures of README and of the landing page."""
    from benchmarks import plot  # rendering needs no matplotlib

    RESULTS.write_text(render(content), "utf-8")
    plot.draw([benchmark["extra_info"] for benchmark in content["benchmarks"]], PLOT)
    figures.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    write(json.loads(parser.parse_args().result.read_text("utf-8")))


if __name__ == "__main__":
    main()
