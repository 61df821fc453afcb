"""The run of corpora at full size, made small; and what it says of figures."""

import copy
import json
import shutil
from collections import namedtuple

import pytest

from benchmarks import headline, memory

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(not memory.STATUS.exists(), reason="memory is told by Linux's /proc only"),
]
SCALE = 0.002


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = tmp_path_factory.mktemp("headline")
    assert headline.main(["--scale", str(SCALE), "--folder", str(folder), "--json", str(folder / "found.json")]) == 0
    assert [path.name for path in folder.iterdir()] == ["found.json"]
    return json.loads((folder / "found.json").read_text())


def test_a_small_run_has_all_figures(content):
    assert list(content["corpora"]) == list(headline.JOBS)
    for name, found in content["corpora"].items():
        job = headline.JOBS[name]
        assert SCALE * job.size - 3 <= found["bytes"] <= SCALE * job.size
        assert len({row["fingerprint"] for row in found["train"]}) == 1
        assert len({row["distinct"] for row in found["train"]}) == 1
        for row in found["train"]:
            assert 0 < row["count_cpu_seconds"] + row["merge_cpu_seconds"] <= row["cpu_seconds"]
            assert row["vocab_size"] <= job.vocab_size
            assert (row["spills"] > 0) == (row["max_memory"] > 0)
            assert row["base_mb"] < row["peak_mb"] < 600
        assert [row["threads"] for row in found["encode"]] == [1, 2] * job.encoded
        assert len({row["tokens"] for row in found["encode"]}) <= 1
        assert all(2 < row["bytes_per_token"] < 6 for row in found["encode"])


def test_the_report_says_them_and_meets_no_bar_at_a_small_size(content):
    assert all(target.met is None for target, _ in headline.targets(content["corpora"]))
    page = headline.report(content)
    rows = [line for line in page.splitlines() if line.startswith("| openwebtext |")]
    assert len(rows) == 3 + 2
    assert f"| {content['corpora']['openwebtext']['train'][0]['distinct']:,} | 0 |" in rows[0]
    assert "| 1,600 core seconds |" in page


def test_bars_of_the_full_size(content):
    found = copy.deepcopy(content["corpora"])
    for name, figures in found.items():
        figures["bytes"] = headline.JOBS[name].size
        for row in figures["train"]:
            row["cpu_seconds"], row["peak_mb"] = 15.0, 150.0
            row["merge_taken_mb"] = row["merge_stated_mb"]
        for row in figures["encode"]:
            row["mb_per_s"], row["own_mb_per_s"] = 300.0, 375.0
    assert [target.met for target, _ in headline.targets(found)] == [True] * 9
    found["tinystories"]["train"][1]["cpu_seconds"] = 15.1
    found["tinystories"]["encode"][1]["own_mb_per_s"] = 376.0
    found["openwebtext"]["train"][2]["peak_mb"] = 1.16 * 512
    found["many-words"]["train"][2]["merge_taken_mb"] += 0.1
    assert [target.met for target, _ in headline.targets(found)] == [
        False,
        True,
        True,
        True,
        False,
        True,
        True,
        False,
        False,
    ]


def test_other_merges_end_the_run(tmp_path, monkeypatch):
    prints = iter("ab")
    monkeypatch.setattr(headline, "figures_of", lambda *arguments: {"fingerprint": next(prints)})
    with pytest.raises(ValueError, match="tinystories: trainings learned different merges"):
        headline.measure("tinystories", 10_000, tmp_path, False)
    assert not list(tmp_path.iterdir())


def test_too_little_room_is_said_before_anything_is_made(tmp_path, monkeypatch, capsys):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(20 * 10**9))
    assert headline.main(["--folder", str(tmp_path)]) == 1
    assert "21,230 MB are needed, and 20,000 MB are free" in capsys.readouterr().err
    headline.check_space(tmp_path, {"tinystories": 2_200_000_000}, keep=True)
    with pytest.raises(OSError, match="needed"):
        headline.check_space(tmp_path, {name: job.size for name, job in headline.JOBS.items()}, keep=True)
    assert not list(tmp_path.iterdir())
