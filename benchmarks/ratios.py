"""The ratios of a run: how many times as good as each peer fastlm is, with the noise of each ratio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import LEADERS, OURS
from benchmarks.tables import Entry, threads_of

OWN = "own one thread"
BEST = "best leader"
ENCODE_PEERS = ("tiktoken", "tokenizers")
TRAIN_PEERS = ("tokenizers", "gigabpe")
CPU, WALL, MEMORY = "CPU time", "wall time", "peak memory"
KEYS = {CPU: "cpu_mb_per_s", WALL: "mb_per_s"}
MODEL_PEERS = ("transformers", "nanoGPT")


@dataclass(frozen=True)
class Ratio:
    """One figure of fastlm against one peer; more than 1 is better than the peer.

    Attributes:
        group: What the ratio belongs to in tables and plots.
        case: What was measured.
        peer: The library that fastlm is compared with.
        by: The quantity of both: CPU time, wall time or peak memory.
        ratio: How many times as good as the peer fastlm is.
        noise: Half the interquartile range of the ratio over the rounds, as a part of the ratio; None if unknown.
        version: The version of the peer; a ratio says nothing about one of another version.
        emulated: Whether the processor has no instructions for the dtype, so that the peer emulates it.
    """

    group: str
    case: str
    peer: str
    by: str
    ratio: float
    noise: float | None = None
    version: str = ""
    emulated: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies the ratio in runs of different commits."""
        return self.case, self.peer, self.by


def ratios_of(content: dict[str, Any]) -> list[Ratio]:
    """The ratios of the JSON of `benchmarks.run`, or of `benchmarks.model`.

    Raises:
        ValueError: the content is from neither.
    """
    if "benchmarks" in content and "fastlm" in content:
        versions = content["fastlm"]["versions"]
        found = [ratio for item in content["benchmarks"] for ratio in _of_entry(item["extra_info"], versions)]
    elif "train" in content and "decode" in content:
        found = list(_of_model(content))
    else:
        raise ValueError("expected the JSON of benchmarks.run --json or of benchmarks.model --json")
    return found


def _of_entry(entry: Entry, versions: dict[str, str]) -> Iterator[Ratio]:
    topic, threads = entry["topic"], entry.get("threads", 1)
    by = CPU if threads == 1 else WALL
    if topic == "encode":
        kind = f"{entry['form']}, {entry['size']}, {entry['state']}"
        group = f"encode {kind}, {threads_of(threads)}"
        case = f"{group}, {entry['vocabulary']}, {entry['corpus']}"
        yield from _rates(entry, group, case, ENCODE_PEERS, by, versions)
        if best := _best(entry, by):
            yield _rate(entry, best, group, case, BEST, by, _version_of_leaders(entry, versions))
        if "alone" in entry:
            yield Ratio(group, case, OWN, by, entry[KEYS[by]] / entry["alone"][KEYS[by]], _noise(entry["alone"], by))
    elif topic == "decode":
        group = f"decode {entry['form']}, {threads_of(threads)}"
        case = f"{group}, {entry['vocabulary']}, {entry['corpus']}"
        yield from _rates(entry, group, case, ENCODE_PEERS, by, versions)
    elif topic == "pretoken":
        group = "encode one pretoken"
        if best := _best(entry, by):
            case = f"{group}, {entry['corpus']}, {entry['bytes']:,} bytes"
            yield _rate(entry, best, group, case, BEST, by, _version_of_leaders(entry, versions))
    elif topic in ("train", "count", "word"):
        what = {"train": "train", "count": "count pretokens", "word": "train on one word"}[topic]
        group = f"{what}, {threads_of(threads)}"
        case = f"{what}, {entry['bytes'] / 1e6:.0f} MB to {entry['vocab_size']:,} tokens, {threads_of(threads)}"
        yield from _rates(entry, group, case, TRAIN_PEERS, by, versions)
        for peer in TRAIN_PEERS:
            if peer in entry["peers"]:
                less = entry["peers"][peer]["peak_mb"] / entry["peak_mb"]
                yield Ratio(f"{what}, memory", case, peer, MEMORY, less, None, versions.get(peer, ""))
    elif topic == "load":
        yield from _of_load(entry, versions)


def _of_load(entry: Entry, versions: dict[str, str]) -> Iterator[Ratio]:
    """The time to the first ids: fastlm from its own file, a peer from the file that it reads fastest."""
    seconds: dict[str, float] = {}
    for row in entry["rows"]:
        if row["name"] != OURS or row["source"] == "native":
            seconds[row["name"]] = min(row["cpu_seconds"], seconds.get(row["name"], row["cpu_seconds"]))
    for peer in ENCODE_PEERS:
        if peer in seconds and OURS in seconds:
            case = f"load, {entry['vocabulary']}"
            yield Ratio("load", case, peer, CPU, seconds[peer] / seconds[OURS], None, versions.get(peer, ""))


def _rates(
    entry: Entry, group: str, case: str, peers: Iterable[str], by: str, versions: dict[str, str]
) -> Iterator[Ratio]:
    for peer in peers:
        if peer in entry["peers"]:
            yield _rate(entry, peer, group, case, peer, by, versions.get(peer, ""))


def _rate(entry: Entry, name: str, group: str, case: str, peer: str, by: str, version: str) -> Ratio:
    rate = entry["peers"][name]
    return Ratio(group, case, peer, by, entry[KEYS[by]] / rate[KEYS[by]], _noise(rate, by), version)


def _noise(rate: Entry, by: str) -> float | None:
    noise: float | None = rate.get("noise", {}).get(KEYS[by])
    return noise


def _best(entry: Entry, by: str) -> str | None:
    leaders = [name for name in LEADERS if name in entry["peers"]]
    return max(leaders, key=lambda name: entry["peers"][name][KEYS[by]], default=None)


def _version_of_leaders(entry: Entry, versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {versions.get(name, '')}".strip() for name in LEADERS if name in entry["peers"])


def _of_model(content: dict[str, Any]) -> Iterator[Ratio]:
    versions = dict(
        part.rsplit(" ", 1) for part in content["machine"]["versions"].split(", ")
    )  # "Python 3.11.7, fastlm 0.2.0, torch 2.13.0+cpu"
    by = CPU if content["bfloat16"]["device"] == "processor" else WALL
    for race in content["train"]:
        rows = {row["name"]: row for row in race["contenders"]}
        dtype, emulated = race["dtype"].removeprefix("torch."), not race["multiplied"]
        for name, row in rows.items():
            ours, comma, kind = name.partition(",")
            for peer in MODEL_PEERS if ours == OURS else ():
                if other := rows.get(f"{peer}{comma}{kind}"):
                    group = f"training step, {dtype}, {'compiled' if kind else 'eager'}"
                    case = f"{group}{comma}{kind}, {race['size']}, {race['batch']} x {race['length']} tokens"
                    ratio = row["tokens_per_s"] / other["tokens_per_s"]
                    yield Ratio(group, case, peer, by, ratio, None, versions.get(peer, ""), emulated)
    for row in content["decode"]["contenders"]:
        if row["name"].startswith("kernel"):
            version = versions.get("transformers", "")
            yield Ratio("decode a model", f"decode, {row['name']}", "transformers", by, row["ratio"], None, version)
