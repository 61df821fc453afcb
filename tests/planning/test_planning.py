"""The plan of a corpus: its limits, numbers worked out by hand, rates that are measured, and the command."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.synthetic import PROFILES, corpus, distinct_pretokens
from fastlm import _merge, cli
from fastlm.corpus import text_blocks
from fastlm.planning import estimate
from fastlm.planning import rates as rate_measurements
from fastlm.planning.estimate import GROWTHS, Cluster, Growth, Rates, plan
from fastlm.planning.rates import measure_rates

# 1,000 distinct pretokens in 1 MB, and ten times as many in a text a hundred times as large
ROOT = Growth(1e6, 1000, 0.5)
RATES = Rates(1e8, 1e4, 1e3, 5e7, 4.0, 7.0)
ALONE = Cluster(1, 16, 1e12, math.inf)


def test_one_core_and_a_disk_without_limit_by_hand():
    found = plan(1e10, ROOT, RATES, ALONE, task_bytes=1e9)
    # 10^10 / 10^8; 1000 * 10^(4/2) distinct, of which 1,000 a second are merged; no table is added to another
    assert (found.count_seconds, found.count_bound) == (100, "cores")
    assert found.distinct == pytest.approx(100_000)
    assert found.merge_seconds == pytest.approx(100)
    assert found.add_seconds == found.spills == 0
    assert found.train_seconds == pytest.approx(200)
    # 10^10 / (5 * 10^7), and 5 GB of ids at 290 MB/s
    assert found.encode_seconds == pytest.approx(200 + 5e9 / 290e6)
    assert found.encode_bound == "cores"
    assert (found.tokens, found.shard_bytes, found.tasks) == (2.5e9, 5e9, 10)
    # 17 / 3 bytes for each of 7 + 3 cells, and 24 MiB; 24 + 2 * 8 / 0.7 for an entry with its slots
    assert found.merge_memory == pytest.approx(100_000 * 170 / 3 + 24 * 2**20)
    assert found.table_memory == pytest.approx(100_000 * (24 + 16 / 0.7))
    assert plan(1e10, ROOT, RATES, ALONE, vocab_size=65_537).shard_bytes == 1e10


def test_four_cores_by_hand():
    found = plan(1e10, ROOT, RATES, replace(ALONE, cores=4), task_bytes=1e9)
    # three of ten tasks fall to one core at least
    assert found.count_seconds == 30
    # the last table that is added has a half of the text behind it, the one before a quarter
    assert found.add_seconds == pytest.approx((100_000 / math.sqrt(2) + 50_000) / 1e4)
    assert found.merge_seconds == pytest.approx(100)
    assert found.train_bound == "merging (serial)"
    assert found.encode_seconds == pytest.approx(60 + 5e9 / 290e6 / 4)


def test_a_slow_disk_bounds_counting_and_encoding():
    found = plan(1e10, ROOT, RATES, replace(ALONE, cores=64, disk=1e8))
    assert found.machines == 4
    assert (found.count_seconds, found.count_bound) == (25, "disk")
    # the text is read, and 5 GB of ids are written, read and written again
    assert (found.encode_seconds, found.encode_bound) == (62.5, "disk")


def test_all_cores_hash_and_write_shards():
    """5 GB of ids at 10 MB/s: 500 s on one core. Ten tasks are encoded on at most ten cores, in 20 s each."""
    slow = replace(RATES, write_bytes=1e7)
    for cores, encoding in ((1, 200), (16, 20), (512, 20)):
        found = plan(1e10, ROOT, slow, replace(ALONE, cores=cores))
        assert found.encode_seconds == pytest.approx(encoding + 500 / cores)
        assert found.encode_bound == "cores"
    assert plan(1e10, ROOT, slow, ALONE, vocab_size=65_537).encode_seconds == pytest.approx(200 + 1000)


def test_tables_that_do_not_fit_are_spilled_and_merging_that_does_not_is_said():
    # space for 50,000 entries, which a quarter of the text fills
    memory = 50_000 * (24 + 16 / 0.7)
    found = plan(1e10, ROOT, RATES, replace(ALONE, memory=memory, disk=1e3))
    assert found.spills == pytest.approx(4)
    assert found.count_seconds == pytest.approx((1e10 + 2 * 4 * 50_000 * 17) / 1e3)
    assert found.table_memory == pytest.approx(memory)
    assert not found.fits
    assert plan(1e10, ROOT, RATES, ALONE).fits


@given(
    size=st.floats(1e6, 1e16), more=st.floats(1, 1e3), cores=st.integers(1, 5000), disk=st.floats(1e6, 1e12),
    memory=st.floats(1e9, 1e13), growth=st.sampled_from([*GROWTHS.values(), ROOT]),
)  # fmt: skip
def test_more_text_takes_more_and_more_cores_disk_or_memory_take_no_more(size, more, cores, disk, memory, growth):
    cluster = Cluster(cores, 16, memory, disk)
    found = plan(size, growth, RATES, cluster)
    larger = plan(size * more, growth, RATES, cluster)
    slack = 1 + 1e-9
    for name in ("distinct", "merge_seconds", "merge_memory", "tokens", "shard_bytes", "tasks"):
        assert getattr(found, name) <= getattr(larger, name) * slack
    assert found.count_seconds <= larger.count_seconds * slack
    assert found.encode_seconds <= larger.encode_seconds * slack
    assert found.count_seconds >= size / (RATES.count_bytes * cores) / slack
    richer = plan(size, growth, RATES, replace(cluster, disk=2 * disk))
    assert richer.count_seconds <= found.count_seconds
    assert richer.encode_seconds <= found.encode_seconds
    assert plan(size, growth, RATES, replace(cluster, memory=2 * memory)).count_seconds <= found.count_seconds * slack
    faster = plan(size, growth, replace(RATES, write_bytes=2 * RATES.write_bytes), cluster)
    assert faster.encode_seconds <= found.encode_seconds
    assert found.encode_seconds >= found.shard_bytes / RATES.write_bytes / cores / slack
    wider = plan(size, growth, RATES, replace(cluster, cores=2 * cores, disk=math.inf))
    assert wider.count_seconds <= plan(size, growth, RATES, replace(cluster, disk=math.inf)).count_seconds
    assert wider.merge_seconds == found.merge_seconds


def test_constants_agree_with_the_training_core():
    assert _merge.cells_of(np.array([0, 7])) == 7 + estimate.HEADER_CELLS
    for name, growth in GROWTHS.items():
        for size in (1e7, 1e12):
            assert growth.at(size) == pytest.approx(distinct_pretokens(PROFILES[name], size), rel=0.15)


def test_bad_numbers_are_refused():
    for name in asdict(RATES):
        for value in (0, -1.0, math.inf, math.nan, "1", True):
            with pytest.raises(ValueError, match=f"{name} is .*; expected a positive number"):
                replace(RATES, **{name: value})
    with pytest.raises(ValueError, match="cores is 0; expected"):
        replace(ALONE, cores=0)
    with pytest.raises(ValueError, match="size is 0; expected"):
        plan(0, ROOT, RATES, ALONE)
    with pytest.raises(ValueError, match="task_bytes is -1; expected"):
        plan(1e9, ROOT, RATES, ALONE, task_bytes=-1)


@pytest.fixture
def text(tmp_path, monkeypatch):
    for module in (text_blocks, rate_measurements):
        monkeypatch.setattr(module, "BLOCK_BYTES", 1 << 18)
    path = tmp_path / "text"
    with open(path, "wb") as out:
        out.writelines(corpus(PROFILES["openwebtext"], 1_500_000))
    return path


def test_rates_are_measured(text, trained):
    found = measure_rates(text, 2000)
    assert all(value > 0 for value in asdict(found).values())
    assert 2 < found.token_bytes < 6
    assert 4 < found.word_bytes < 12
    assert measure_rates(text, 2000, trained).token_bytes != found.token_bytes
    with pytest.raises(ValueError, match="the text is too short to measure rates on"):
        measure_rates(["short"], 300)


def test_the_command(text, tmp_path, capsys):
    args = ["plan", "825GB", "--text", str(text), "--vocab-size", "2000"]
    assert cli.main([*args, "--json"]) == 0
    printed = capsys.readouterr().out
    content = json.loads(printed)
    assert [one["cores"] for one in content["plans"]] == [1, 16, 512]
    assert content["size"] == 825 * 10**9
    (tmp_path / "rates.json").write_text(printed)
    again = ["plan", "825GB", "--vocab-size", "2000", "--rates", str(tmp_path / "rates.json")]
    assert cli.main([*again, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == content
    assert cli.main([*again, "--cores", "8", "--memory", "1GB"]) == 0
    page = capsys.readouterr().out
    assert "825.00 GB of text in 825 tasks: 54.5 million distinct pretokens" in page
    assert "does not fit" in page
    assert "- One core of one machine learns the merges" in page
    assert "- An encode job runs on a Ray cluster: each core writes the ids of its partitions" in page
    assert "MB/s, hashing and writing ids " in page
    for bad in ("{}", "[]", "1", '{"rates": 3}', "nothing"):
        (tmp_path / "rates.json").write_text(bad)
        assert cli.main(again) == 1
        assert "rates.json: not the rates of a plan" in capsys.readouterr().err
    assert cli.main(["plan", "much"]) == 1
    assert "size is 'much'; expected a size" in capsys.readouterr().err
