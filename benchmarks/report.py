"""Renders the JSON of a run as benchmarks/RESULTS.md: `python -m benchmarks.report RESULT.json`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import OURS

RESULTS = Path(__file__).with_name("RESULTS.md")

READING = """\
MB are 10^6 bytes of UTF-8, and every figure is the median of its rounds. In each round fastlm and all peers take their
turns on the same text, so trust ratios more than rates. An **x** column says how many times as fast as that peer fastlm
is; the best peer is the fastest in that row. All tokenizers' ids and decoded texts are compared with fastlm's before
anything is timed, and the trainers' merges after they are learned; a difference that is not named here fails the run.
On Linux each process is kept on as many processors as threads are named."""
ENCODING = """\
- Arrays: documents of about 3 KB to flat arrays of ids, by a peer's batch call or else a call a document.
- Lists: a batch of documents of about 3 KB to lists of ints.
- Whole: all documents as one text, to one flat array.
- Short: texts of 100 characters, a call each.
- Cold: each round by a tokenizer that has seen no text; it is built, and what is compiled is compiled, before the clock
  starts. Warm: by one that has seen this text before."""

Entry = dict[str, Any]
Row = Sequence[str]


def render(content: dict[str, Any]) -> str:
    """The report in Markdown."""
    entries: dict[str, list[Entry]] = {}
    for benchmark in content["benchmarks"]:
        topic = benchmark["name"].removeprefix("test_").partition("[")[0].partition("_")[0]
        entries.setdefault(topic, []).append(benchmark["extra_info"])
    parts = [
        "# Results",
        f"Written by `python -m benchmarks.run`; nothing here is typed by hand.\n\n{_run(content)}",
        READING,
    ]
    if "encode" in entries:
        parts += [
            "## Encoding",
            f"Vocabulary: {content['fastlm']['vocabulary']}.",
            ENCODING,
            *_encode(entries["encode"]),
        ]
    if "train" in entries:
        parts += ["## Training", *_train(entries["train"])]
    if "decode" in entries:
        parts += ["## Decoding", *_decode(entries["decode"])]
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
        "load average at the end": _list(map(_number, run["load"] or [])),
        "versions": _list(f"{name} {version}" for name, version in versions.items()),
        "not installed, so not compared": _list(run["skipped"]) or "none",
    }
    if run["quick"]:
        facts["sizes"] = "--quick: texts too small for figures that mean anything"
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _encode(entries: list[Entry]) -> list[str]:
    parts = []
    for form, state, threads in _cases(entries):
        rows = [entry for entry in entries if entry["case"] == [form, state, threads]]
        parts += [f"### {form.capitalize()}, {state}, {_threads(threads)}", _rates(rows)]
    return parts


def _decode(entries: list[Entry]) -> list[str]:
    parts = []
    for (form,) in _cases(entries):
        parts += [f"### From {'an array' if form == 'array' else 'a list of ints'}, 1 thread"]
        parts += [_rates([entry for entry in entries if entry["case"] == [form]])]
    return parts


def _rates(entries: list[Entry]) -> str:
    """MB/s, a row a corpus."""
    peers = list(dict.fromkeys(name for entry in entries for name in entry["peers"]))
    against = [name for name in ("tiktoken", "tokenizers") if name in peers]
    calls = any("calls" in entry for entry in entries)
    rows = [["corpus", "MB", f"**{OURS} MB/s**", "CPU MB/s", *(["us a call"] if calls else []), *peers]]
    rows[0] += [f"x {name}" for name in against] + ["x best peer"]
    for entry in entries:
        rates = {name: peer["mb_per_s"] for name, peer in entry["peers"].items()}
        row = [entry["corpus"], f"{entry['bytes'] / 1e6:.2f}", f"**{_number(entry['mb_per_s'])}**"]
        row += [_number(entry["cpu_mb_per_s"])]
        if calls:
            row += [_number(entry["bytes"] / entry["mb_per_s"] / entry["calls"])]
        row += [_number(rates[name]) if name in rates else "-" for name in peers]
        row += [_number(entry["mb_per_s"] / rates[name]) if name in rates else "-" for name in against]
        row += [_number(entry["mb_per_s"] / max(rates.values())) if rates else "-"]
        rows.append(row)
    return _table(rows)


def _train(entries: list[Entry]) -> list[str]:
    parts = [
        "From a file, a document a line, to merges, each trainer in a fresh process; all break ties as `tokenizers` "
        "does unless the last column says otherwise. Peak memory is the whole process's; the column before says what "
        "it had before it began."
    ]
    for text, vocab_size, threads in _cases(entries):
        (entry,) = (entry for entry in entries if entry["case"] == [text, vocab_size, threads])
        rows = [["trainer", "s", "MB/s", "CPU MB/s", "MB at start", "peak MB", "x", "x by CPU", "rounds", "merges"]]
        for name, trained in {OURS: entry, **entry["peers"]}.items():
            row = [name, _number(entry["bytes"] / 1e6 / trained["mb_per_s"])]
            row += [_number(trained[key]) for key in ("mb_per_s", "cpu_mb_per_s", "start_mb", "peak_mb")]
            row += [_number(entry[key] / trained[key]) for key in ("mb_per_s", "cpu_mb_per_s")]
            rows.append([*row, str(trained["rounds"]), trained["differs"] or "the same"])
        size = f"{entry['bytes'] / 1e6:.1f} MB to {vocab_size:,} tokens"
        parts += [f"### {text.capitalize()}, {size}, {_threads(threads)}", _table(rows)]
    return parts


def _cases(entries: list[Entry]) -> list[tuple[Any, ...]]:
    """The distinct cases in order."""
    return list(dict.fromkeys(tuple(entry["case"]) for entry in entries))


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"


def _list(items: Iterable[str]) -> str:
    return ", ".join(items)


def _number(value: float) -> str:
    """About three digits."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _table(rows: Sequence[Row]) -> str:
    """A Markdown table whose first column is text and whose others are figures."""
    head, *body = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    RESULTS.write_text(render(json.loads(parser.parse_args().result.read_text("utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
