"""The store of benchmark results, the page of ratios over time, and the gate: on histories that are made up."""

import json
import random
import subprocess

import pytest

from benchmarks import gate, history, machine
from benchmarks.history import Run
from benchmarks.measure import Timing, compared, spread
from benchmarks.ratios import BEST, CPU, MEMORY, OWN, WALL, Ratio, ratios_of

VERSIONS = {"tiktoken": "0.14.0", "tokenizers": "0.23.3", "gigatoken": "0.10.0", "gigabpe": "0.1.0"}


def rates(rate, noise=None):
    return {"mb_per_s": rate, "cpu_mb_per_s": 2 * rate, "noise": {"mb_per_s": noise, "cpu_mb_per_s": noise}}


def encoded(**more):
    entry = {"topic": "encode", "form": "arrays", "size": "3 KB", "state": "warm", "threads": 1, "bytes": 10**6}
    entry |= {"vocabulary": "cl100k", "corpus": "english", **rates(300)}
    entry["peers"] = {"tiktoken": rates(10, 0.01), "gigatoken": rates(200, 0.02), "snaptokens": rates(100)}
    return entry | more


def content(*entries, **more):
    run = {"quick": False, "python": "3.11.7", "fastlm": "0.2.0", "versions": VERSIONS, "processors": 2}
    return {
        "benchmarks": [{"extra_info": entry} for entry in entries or [encoded()]],
        "machine_info": {"machine": "x86_64", "system": "Linux", "cpu": {"brand_raw": "A Processor"}},
        "commit_info": {"id": "a" * 40, "dirty": False},
        "datetime": "2026-11-30T20:00:00.123456+00:00",
        "fastlm": run | more,
    }


def model_content(multiplied=False):
    rows = [{"name": name, "tokens_per_s": rate} for name, rate in (("fastlm", 90.0), ("transformers", 60.0))]
    races = [
        {"size": "tinystories", "dtype": f"torch.{dtype}", "batch": 4, "length": 256, "contenders": rows}
        | {"multiplied": dtype == "float32" or multiplied}
        for dtype in ("float32", "bfloat16")
    ]
    decode = [{"name": "transformers generate, float32", "ratio": 1.0}, {"name": "kernel, int8", "ratio": 8.0}]
    versions = "Python 3.11.7, fastlm 0.2.0, torch 2.13.0+cpu, transformers 5.23.0"
    return {
        "commit_info": {"id": "b" * 40, "dirty": False},
        "machine": {"date": "2026-11-30 20:00 UTC", "device": "A Processor", "versions": versions},
        "bfloat16": {"multiplied": multiplied, "device": "processor"},
        "train": races,
        "decode": {"contenders": decode},
    }


def run(date, *ratios, machine="a machine", kind="tokenizer"):
    return Run(date, kind, date.replace("-", "") * 5, machine, "3.11.7", "0.2.0", ratios)


def ratio(value, case="encode", noise=None, version="1", emulated=False):
    return Ratio("encode", case, "tiktoken", CPU, value, noise, version, emulated)


def test_the_noise_is_the_spread_of_the_ratios_of_the_same_rounds():
    # a round that disturbs both does not change the ratio
    assert spread([1.0, 2.0, 5.0, 1.0], [3.0, 6.0, 15.0, 3.0]) == 0
    assert spread([1.0] * 5, [2.0, 1.8, 2.0, 2.2, 2.4]) == pytest.approx(0.05)
    assert spread([1.0, 1.0, 1.0], [1.0, 2.0]) is None
    timings = {"fastlm": Timing([1.0] * 5, [1.0] * 5, [0.0] * 5), "peer": Timing([2.0] * 5, [2, 1.8, 2, 2.2, 2.4], [0])}
    assert compared(timings, 10)["peers"]["peer"]["noise"] == {"mb_per_s": 0, "cpu_mb_per_s": pytest.approx(0.05)}


def test_ratios_of_encoding_are_to_the_judges_and_to_the_best_leader():
    found = {(one.peer, one.by): one for one in ratios_of(content())}
    assert list(found) == [("tiktoken", CPU), (BEST, CPU)]
    assert found["tiktoken", CPU].ratio == 30
    assert (found["tiktoken", CPU].noise, found["tiktoken", CPU].version) == (0.01, "0.14.0")
    assert found[BEST, CPU].ratio == 1.5
    assert found[BEST, CPU].version == "gigatoken 0.10.0, snaptokens"
    assert found[BEST, CPU].case == "encode arrays, 3 KB, warm, 1 thread, cl100k, english"
    two = {one.peer: one for one in ratios_of(content(encoded(threads=2, alone=rates(160, 0.03))))}
    assert (two[OWN].by, two[OWN].ratio, two[OWN].noise) == (WALL, 300 / 160, 0.03)


def test_ratios_of_training_are_of_time_and_memory():
    peers = {"tokenizers": {**rates(1), "peak_mb": 900.0}, "gigabpe": {**rates(3), "peak_mb": 100.0}}
    entry = {"topic": "train", "bytes": 10**8, "vocab_size": 32000, "threads": 1, "peak_mb": 300.0, "peers": peers}
    found = {(one.peer, one.by): one.ratio for one in ratios_of(content(entry | rates(6)))}
    assert found["tokenizers", CPU] == 6
    assert found["tokenizers", MEMORY] == 3
    assert found["gigabpe", MEMORY] == pytest.approx(1 / 3)


def test_ratios_of_loading_are_of_the_own_file_and_the_fastest_of_a_peer():
    sources = [("fastlm", "native", 0.1), ("fastlm", "tokenizer.json", 9.0), ("tiktoken", "tiktoken", 0.5)]
    rows = [{"name": name, "source": source, "cpu_seconds": seconds} for name, source, seconds in sources]
    rows.append({"name": "tiktoken", "source": "native", "cpu_seconds": 0.3})
    (found,) = ratios_of(content({"topic": "load", "vocabulary": "gpt2", "rows": rows}))
    assert found.ratio == pytest.approx(3)


def test_ratios_of_a_model_mark_a_peer_that_emulates():
    found = ratios_of(model_content())
    assert [(one.ratio, one.emulated) for one in found] == [(1.5, False), (1.5, True), (8.0, False)]
    assert all(one.version == "5.23.0" for one in found)
    assert not any(one.emulated for one in ratios_of(model_content(multiplied=True)))


def test_another_json_is_refused():
    with pytest.raises(ValueError, match=r"expected the JSON of benchmarks\.run"):
        ratios_of({"benchmarks": []})


def test_a_run_is_stored_once_and_read_back(tmp_path):
    path = history.add(content(), tmp_path)
    assert path.name == "20261130T200000-tokenizer-aaaaaaaaaaaa.json"
    assert history.add(content(), tmp_path) == path
    model = history.add(model_content(), tmp_path)
    assert model.name == "20261130T200000-model-bbbbbbbbbbbb.json"
    found = {run.kind: run for run in history.read(tmp_path)}
    assert found["tokenizer"].machine == "A Processor, 2 usable, Linux x86_64"
    assert [one.ratio for one in found["tokenizer"].ratios] == [30, 1.5]
    assert found["model"].ratios[1].emulated
    # a ratio a line, so that a diff shows what changed
    assert len(path.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (content(quick=True), "small sizes of --quick"),
        (content() | {"commit_info": {"id": "a" * 40, "dirty": True}}, "uncommitted changes on aaaaaaaaaaaa"),
        (content() | {"commit_info": {}}, "of no commit"),
        (content(encoded(peers={})), "no other library took part"),
    ],
)
def test_what_no_commit_explains_is_not_stored(tmp_path, changed, why):
    with pytest.raises(ValueError, match=why):
        history.add(changed, tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_that_benchmarks_write_do_not_make_a_tree_dirty(tmp_path, monkeypatch):
    for command in (["init", "-q"], ["config", "user.email", "a@b.c"], ["config", "user.name", "a"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "benchmarks" / "machine.py"))
    assert machine.commit() == {}
    (tmp_path / "code.py").write_text("1\n")
    (tmp_path / "RESULTS.md").write_text("1\n")
    for command in (["add", "."], ["commit", "-qm", "First"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    assert len(machine.commit()["id"]) == 40
    (tmp_path / "RESULTS.md").write_text("2\n")
    assert machine.commit()["dirty"] is False
    (tmp_path / "code.py").write_text("2\n")
    assert machine.commit()["dirty"] is True


def test_a_damaged_file_of_the_store_is_named(tmp_path):
    path = history.add(content(), tmp_path)
    path.write_text(json.dumps({"date": "2026"}))
    with pytest.raises(ValueError, match=r"tokenizer-a+\.json: not a stored run"):
        history.read(tmp_path)


def test_the_page_has_a_column_for_each_run_and_counts_no_emulating_peer():
    runs = [
        run("2026-11-01", ratio(20.0, "a"), ratio(5.0, "b")),
        run("2026-11-02", ratio(40.0, "a"), ratio(10.0, "b"), ratio(99.0, "c", emulated=True)),
        run("2026-11-02", ratio(3.0), machine="another"),
    ]
    page = history.render(runs)
    assert "| encode | tiktoken | CPU time | 10.0 | 20.0 |" in page
    assert "| encode | tiktoken | CPU time | 3.00 |" in page
    assert "| c | tiktoken (emulates) | 99.0 |" in page
    assert "Not counted, because the peer emulates" in page
    assert "No run is stored" in history.render([])


def test_the_plot_is_the_same_each_time(tmp_path):
    pytest.importorskip("matplotlib")
    runs = [run("2026-11-01", ratio(20.0)), run("2026-11-02", ratio(22.0)), run("2026-11-02", ratio(2.0), machine="b")]
    for name in ("first", "second"):
        history.draw(runs, tmp_path / f"{name}.svg")
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_results_are_added_by_the_command(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    store, page = tmp_path / "history", tmp_path / "HISTORY.md"
    monkeypatch.setattr(history.add, "__defaults__", (store,))
    monkeypatch.setattr(history.write, "__defaults__", (store, page))
    (tmp_path / "good.json").write_text(json.dumps(content()))
    (tmp_path / "bad.json").write_text(json.dumps(content(quick=True)))
    assert history.main(["add", str(tmp_path / "good.json")]) == 0
    assert "| encode arrays, 3 KB, warm, 1 thread | tiktoken | CPU time | 30.0 |" in page.read_text()
    assert page.with_suffix(".svg").exists()
    assert history.main(["add", str(tmp_path / "bad.json")]) == 1
    assert "bad.json: the run has the small sizes of --quick" in capsys.readouterr().err
    assert history.main(["add", str(tmp_path / "none.json")]) == 1
    assert len(list(store.iterdir())) == 1
    # a benchmark that ends keeps its result the same way, or tells why not
    history.keep(model_content())
    history.keep(content(quick=True))
    assert "not added to benchmarks/history: the run has the small sizes" in capsys.readouterr().err
    assert len(list(store.iterdir())) == 2


def test_the_command_renders_the_committed_store_as_it_is():
    """HISTORY.md is what the stored runs give."""
    assert history.PAGE.read_text("utf-8") == history.render(history.read())


def fallen(newest, *earlier):
    return [change.ratio.case for change in gate.changes(newest, earlier) if change.failed]


def test_the_gate_fails_on_a_fall_beyond_the_noise():
    before = run("2026-11-01", ratio(10.0, "a", 0.01), ratio(10.0, "b", 0.1))
    assert fallen(run("2026-11-02", ratio(9.5, "a", 0.01), ratio(7.5, "b", 0.02)), before) == []
    assert fallen(run("2026-11-02", ratio(9.3, "a", 0.01), ratio(6.9, "b", 0.02)), before) == ["a", "b"]
    # the noise of the new run counts too
    assert fallen(run("2026-11-02", ratio(9.3, "a", 0.03)), before) == []
    # a rise is never a fault, and unknown noise is the least
    assert fallen(run("2026-11-02", ratio(30.0, "a"), ratio(30.0, "b")), before) == []
    assert fallen(run("2026-11-02", ratio(9.3, "a")), run("2026-11-01", ratio(10.0, "a"))) == ["a"]


def test_the_gate_compares_with_the_median_of_the_last_runs():
    values = [90.0, 10.0, 10.4, 9.6, 10.0, 10.2]
    earlier = [run(f"2026-11-{day + 1:02}", ratio(value)) for day, value in enumerate(values)]
    (change,) = gate.changes(run("2026-11-20", ratio(9.0)), earlier)
    assert change.earlier == 10.0
    assert change.noise == gate.LEAST_NOISE
    # runs that spread widely allow more
    earlier = [run(f"2026-11-{day + 1:02}", ratio(value)) for day, value in enumerate([8.0, 9.0, 10.0, 11.0, 12.0])]
    (change,) = gate.changes(run("2026-11-20", ratio(9.0)), earlier)
    assert change.noise == pytest.approx(0.1)
    assert not change.failed


def test_what_cannot_be_compared_is_not():
    newest = run("2026-11-02", ratio(1.0, version="2"), ratio(1.0, "new"), ratio(1.0, "bfloat16", emulated=True))
    before = run("2026-11-01", ratio(9.0, version="1"), ratio(9.0, "bfloat16", emulated=True))
    assert gate.changes(newest, [before]) == []
    # an emulating peer's earlier figure is no measure of a peer that multiplies
    assert gate.changes(run("2026-11-02", ratio(1.0, "bfloat16")), [before]) == []


def test_the_gate_ends_with_1_and_names_what_fell(tmp_path, capsys):
    def stored(day, rate, processor="A Processor"):
        made = content(encoded(**rates(rate))) | {"datetime": f"2026-11-{day:02}T20:00:00"}
        made["machine_info"]["cpu"]["brand_raw"] = processor
        made["commit_info"] = {"id": f"{day:040}", "dirty": False}
        history.add(made, tmp_path)

    stored(1, 300)
    assert gate.main(["--folder", str(tmp_path)]) == 0
    stored(2, 100, "Another")  # another machine says nothing
    stored(3, 297)
    assert gate.main(["--folder", str(tmp_path), "--all"]) == 0
    assert "x tiktoken by CPU time: 30.0 -> 29.7, -1.0 % (allowed: -6.0 %)" in capsys.readouterr().out
    stored(4, 240)
    assert gate.main(["--folder", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "FELL encode arrays, 3 KB, warm, 1 thread, cl100k, english, x tiktoken" in printed
    assert "2 of 2 compared ratios fell" in printed


def test_noise_alone_rarely_fails_the_gate():
    """Rounds that scatter by 5 %, in runs of seven: fewer than 1 of 100 ratios of an unchanged program fall."""
    source = random.Random(1)

    def measured():
        ours, theirs = ([source.gauss(1, 0.05) for _ in range(7)] for _ in range(2))
        timings = {"fastlm": Timing(ours, ours, [0.0]), "tiktoken": Timing(theirs, theirs, [0.0])}
        figures = compared(timings, 10**6)
        peer = figures["peers"]["tiktoken"]
        return figures["cpu_mb_per_s"] / peer["cpu_mb_per_s"], peer["noise"]["cpu_mb_per_s"]

    def of(date):
        return run(
            date, *(ratio(value, str(k), noise) for k, (value, noise) in enumerate(measured() for _ in range(400)))
        )

    assert len(fallen(of("2026-11-02"), of("2026-11-01"))) <= 4
    # and a fall by a third is found in nearly all
    slow = of("2026-11-02")
    slow = run("2026-11-02", *(ratio(one.ratio / 1.5, one.case, one.noise) for one in slow.ratios))
    assert len(fallen(slow, of("2026-11-01"))) > 300
