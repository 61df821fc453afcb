"""Targets for the speed of fastlm, and the figures of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks import LEADERS, MB
from benchmarks.tables import Entry, number, select, table

GPT2, CL100K, O200K = VOCABULARIES = ("gpt2", "cl100k", "o200k")
BEST = "the best of " + ", ".join(LEADERS)


@dataclass(frozen=True)
class Target:
    """One requirement; `met` is None where the run did not measure it."""

    what: str
    wanted: str
    measured: str
    met: bool | None


def targets(entries: list[Entry]) -> list[Target]:
    return [
        *_encode(entries),
        *_short(entries),
        *_train(entries),
        *_decode(entries),
        *_hard(entries),
    ]


def target_table(found: Iterable[Target]) -> str:
    """The targets in Markdown."""
    met = {True: "yes", False: "**no**", None: "-"}
    rows = [[target.what, target.wanted, target.measured, met[target.met]] for target in found]
    return table([["what", "target", "measured", "met"], *rows], words=4)


def best_ratio(entry: Entry, key: str) -> float | None:
    """fastlm's rate as a multiple of the best leader's."""
    rates = [entry["peers"][name][key] for name in LEADERS if name in entry["peers"]]
    return entry[key] / max(rates) if rates else None


def ratio(entry: Entry, peer: str, key: str = "cpu_mb_per_s") -> float | None:
    return entry[key] / entry["peers"][peer][key] if peer in entry["peers"] else None


def _target(
    what: str, wanted: str, found: Iterable[tuple[str, float | None]], met: Callable[[float], bool], unit: str = "x"
) -> Target:
    known = [(name, value) for name, value in found if value is not None]
    if not known:
        return Target(what, wanted, "not measured", None)
    measured = ", ".join(f"{name} {number(value)}{unit}".strip() for name, value in known)
    return Target(what, wanted, measured, all(met(value) for _, value in known))


def _encode(entries: list[Entry]) -> list[Target]:
    documents = select(entries, topic="encode", form="arrays", size="3 KB")
    found = []
    for threads in (1, 2):
        key = "cpu_mb_per_s" if threads == 1 else "mb_per_s"
        for corpus in ("english", "code", "multilingual"):
            for state in ("warm", "cold", "first") if threads == 1 else ("warm", "cold"):
                of = select(documents, threads=threads, corpus=corpus, state=state)
                what = f"encode {corpus}, {state}, {'1 thread, CPU' if threads == 1 else '2 threads, wall'}"
                ratios = [(entry["vocabulary"], best_ratio(entry, key)) for entry in of]
                if threads == 1:
                    found += _on_one_thread(what, ratios, corpus == "english" and state == "warm")
                    continue
                own = [(entry["vocabulary"], entry["mb_per_s"] / entry["alone"]["mb_per_s"]) for entry in of]
                found.append(_target(what, ">= 1.8x our own one thread", own, lambda x: x >= 1.8))
                found.append(_target(what, f"> {BEST}", ratios, lambda x: x > 1))
    for state in ("warm", "cold"):
        of = select(documents, threads=1, corpus="english", state=state, vocabulary=CL100K)
        ratios = [("", ratio(entry, "tiktoken")) for entry in of]
        found.append(
            _target(f"encode english, cl100k, {state}, 1 thread, CPU", ">= 30x tiktoken", ratios, lambda x: x >= 30)
        )
    return found


def _on_one_thread(what: str, ratios: list[tuple[str, float | None]], is_easy: bool) -> list[Target]:
    """Targets for one thread; peers are nearest on text that has few distinct words, with GPT-2's small vocabulary."""
    if not is_easy:
        return [_target(what, f">= 1.25x {BEST}", ratios, lambda x: x >= 1.25)]
    gpt2 = [(name, value) for name, value in ratios if name == GPT2]
    others = [(name, value) for name, value in ratios if name != GPT2]
    return [
        _target(what, f">= 1.15x {BEST}", others, lambda x: x >= 1.15),
        _target(what, f">= 1.05x {BEST}", gpt2, lambda x: x >= 1.05),
    ]


def _against_tiktoken(what: str, of: list[Entry]) -> list[Target]:
    ratios = [(f"{entry['vocabulary']} {entry['corpus']}", ratio(entry, "tiktoken")) for entry in of]
    return [_target(what, ">= 3x tiktoken", ratios, lambda x: x >= 3)]


def _short(entries: list[Entry]) -> list[Target]:
    found = _against_tiktoken("100-byte strings, one call each", select(entries, topic="encode", form="one"))
    for form, kind in (("one", "a list"), ("whole", "an array")):
        of = select(entries, topic="encode", form=form, size="100 B", threads=1)
        ratios = [(f"{entry['vocabulary']} {entry['corpus']}", ratio(entry, "gigatoken")) for entry in of]
        what = f"100-byte strings, one call each, to {kind}"
        found.append(_target(what, ">= 1.25x gigatoken", ratios, lambda x: x >= 1.25))
    lists = select(entries, topic="encode", form="lists", size="3 KB", threads=1)
    ratios = [(f"{entry['vocabulary']} {entry['corpus']}", best_ratio(entry, "cpu_mb_per_s")) for entry in lists]
    return [*found, _target("lists of 3 KB documents, 1 thread", f">= 1.25x {BEST}", ratios, lambda x: x >= 1.25)]


def _train(entries: list[Entry]) -> list[Target]:
    found = []
    for size, title in (("train", "100 MB"), ("long_train", "500 MB")):
        of = select(entries, topic="train", size=size, threads=1)
        what = f"train {title} of mixed text to 32k"
        cpu = [("", ratio(entry, "gigabpe")) for entry in of]
        found.append(_target(what, "gigabpe's CPU time >= 2.5x ours", cpu, lambda x: x >= 2.5))
        peaks = [
            ("", entry["peak_mb"] / entry["peers"]["gigabpe"]["peak_mb"]) for entry in of if "gigabpe" in entry["peers"]
        ]
        found.append(_target(what, "<= 0.7x gigabpe's peak memory", peaks, lambda x: x <= 0.7))
        cpu = [("", ratio(entry, "tokenizers")) for entry in of]
        found.append(_target(what, "tokenizers' CPU time >= 20x ours", cpu, lambda x: x >= 20))
    of = select(entries, topic="count")
    rates = [("", entry["bytes"] / MB / entry["count_cpu_seconds"]) for entry in of if entry["count_cpu_seconds"]]
    found.append(
        _target("count phase alone, English, 100 MB", ">= 200 MB/s a core", rates, lambda x: x >= 200, " MB/s")
    )
    of = select(entries, topic="word")
    seconds = [("", entry["bytes"] / MB / entry["cpu_mb_per_s"]) for entry in of]
    found.append(_target("one 1 MB word, vocabulary 2,000", "<= 4 s", seconds, lambda x: x <= 4, " s"))
    return found


def _decode(entries: list[Entry]) -> list[Target]:
    return _against_tiktoken("decode a list of ints", select(entries, topic="decode", form="list"))


def _hard(entries: list[Entry]) -> list[Target]:
    found = []
    for kind in dict.fromkeys(entry["corpus"] for entry in select(entries, topic="pretoken")):
        of = select(entries, topic="pretoken", corpus=kind)
        ratios = [(f"{entry['bytes'] / MB:.3g} MB", best_ratio(entry, "cpu_mb_per_s")) for entry in of]
        found.append(_target(f"one pretoken, {kind}", f">= 5x {BEST}", ratios, lambda x: x >= 5))
    of = select(entries, topic="adversarial")
    what = "adversarial 10 MB, the worst of them"
    growth = max((entry["growth"] for entry in of), default=None)
    found.append(_target(what, "time(10n) / time(n) <= 13", [("", growth)], lambda x: x <= 13, ""))
    cost = max((entry["ns_per_byte"] for entry in of), default=None)
    found.append(_target(what, "<= 150 ns a byte", [("", cost)], lambda x: x <= 150, " ns"))
    return found
