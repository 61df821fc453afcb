"""The sections of the report, and what they compute."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib")

from fastlm import Tokenizer, train_bpe
from fastlm.report import content, plots, unicode2
from fastlm.report.accounting import transformer_accounting
from fastlm.report.bpe_training import Trained, train_bpe_expts_owt, train_bpe_tinystories
from fastlm.report.content import Code, Figure, Figures, Plot, Table, Text
from fastlm.report.corpora import TrainingText
from fastlm.report.session import executed
from fastlm.report.then import Then, then
from fastlm.report.training_job import Measured
from fastlm.report.unicode1 import unicode1


def merged_length_of(encoded: bytes, merges: int) -> int:
    """BPE of raw bytes, by its definition."""
    ids = list(encoded)
    for new in range(256, 256 + merges):
        counts = Counter(itertools.pairwise(ids))
        if not counts or max(counts.values()) < 2:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merged = []
        at = 0
        while at < len(ids):
            if tuple(ids[at : at + 2]) == best:
                merged.append(new)
                at += 2
            else:
                merged.append(ids[at])
                at += 1
        ids = merged
    return len(ids)


@given(st.lists(st.sampled_from([b"a", b"aa", b"ab", b"\x00", b"\xff", b"ba"]), max_size=40), st.integers(0, 12))
def test_merged_length_is_bpe(parts, merges):
    encoded = b"".join(parts)
    assert unicode2.merged_length(encoded, merges) == merged_length_of(encoded, merges)


def test_pairs_that_are_not_utf8():
    # two ASCII characters, or a lead byte C2 to DF and one of 64 continuation bytes
    assert unicode2.undecodable_pairs() == 65_536 - 128 * 128 - 30 * 64


def test_unicode_sections_execute_their_answers():
    first, second = unicode1(), unicode2.unicode2()
    sessions = [part.session for section in (first, second) for part in section.parts if isinstance(part, Code)]
    assert "'this is a test\\x00string'" in sessions[0]
    assert "(21, 20)" in sessions[0]
    assert sessions[1].count("UnicodeDecodeError") == 1
    assert sessions[2].count("UnicodeDecodeError") == 2
    table = next(part for part in second.parts if isinstance(part, Table))
    assert len(table.rows) == len(unicode2.texts()) >= 16
    assert table.rows[0] == ["English", 996, 1.0, 2.0, 4.0]
    rows = [row for part in second.parts if isinstance(part, Figures) for row in part.rows]
    assert rows[0].now == sum(not text.isascii() for text in unicode2.texts().values())


def test_the_four_slips_are_named():
    section = transformer_accounting()
    figures = next(part for part in section.parts if isinstance(part, Figures))
    assert len(figures.rows) == 14
    table = next(part for part in section.parts if isinstance(part, Table))
    assert [row[2] for row in table.rows] == [96_636_764_160, 309_237_645_312, 676_457_349_120, 48_318_382_080_000]
    assert {row.what for row in figures.rows if row.note} == {row[0] for row in table.rows}
    assert sum(isinstance(part, Plot) for part in section.parts) == 2


def test_figures():
    better = Figure("time", 50, "s", Then(100, "x"), "lower")
    assert (better.ratio, better.verdict) == (0.5, "better")
    assert Figure("rate", 50, "", Then(100, "x"), "higher").verdict == "worse"
    assert Figure("rate", 50, "", Then(100, "x")).verdict == ""
    assert Figure("dtype", "uint16", "", Then("uint16", "x")).ratio is None
    assert Figure("time", 1, "", Then(2, "x"), comparable=False).ratio is None
    assert Figure("new", 1).ratio is None


def test_the_write_ups_figures():
    assert then("train_bpe_tinystories.seconds") == Then(100, "train_bpe_tinystories")
    assert then("tokenizer_experiments.across").value == 4.05
    assert then("train_bpe_expts_owt.mb_per_second").derived
    with pytest.raises(KeyError, match=r"no figure of the write-up is named 'a\.b'"):
        then("a.b")


def _trained(name: str, tokenizer: Tokenizer) -> Trained:
    measured = Measured(
        bytes=10**6,
        threads=1,
        seconds=2.0,
        cpu_seconds=1.5,
        counting_seconds=1.0,
        counting_cpu_seconds=0.9,
        merging_seconds=0.5,
        base_bytes=10**7,
        peak_bytes=10**8,
    )
    return Trained(TrainingText(name, ("file",), 300), tokenizer, measured)


def test_shared_merges_are_counted():
    first = train_bpe(["the cat sat on the mat"], 262)
    second = train_bpe(["the hat sat at the cat the the"], 264)
    section = train_bpe_expts_owt(_trained("OpenWebText", second), _trained("TinyStories", first))
    rows = {row.what: row for part in section.parts if isinstance(part, Figures) for row in part.rows}
    shared = sum(merge in second.merges for merge in first.merges)
    assert 0 < shared < len(first.merges)
    assert rows["merges shared with the TinyStories tokenizer"].now == shared
    assert rows["share of its merges"].now == round(100 * shared / len(first.merges), 1)
    assert rows["text by wall time"].now == 0.5
    phases = next(part for part in section.parts if isinstance(part, Table))
    assert [row[1] for row in phases.rows] == [1.0, 0.5, 0.5]


def test_times_are_compared_on_the_whole_corpus_only():
    tokenizer = train_bpe(["the cat sat on the mat"], 262)
    small, whole = _trained("TinyStories", tokenizer), _trained("TinyStories", tokenizer)
    whole = replace(whole, measured=replace(whole.measured, bytes=2_227_753_162))
    for trained, ratio in ((small, None), (whole, 0.02)):
        section = train_bpe_tinystories(trained)
        rows = {row.what: row for part in section.parts if isinstance(part, Figures) for row in part.rows}
        assert rows["wall time"].ratio == ratio
        assert (rows["peak memory"].ratio is None) == (ratio is None)
        says = "The text has 1.0 MB; the write-up's TinyStories has 2,200 MB."
        assert any(isinstance(part, Text) and part.text.startswith(says) for part in section.parts) == (ratio is None)


def test_a_session_shows_values_output_and_errors():
    assert executed("print('a\\0b')\nNone\n'x'\nimport fastlm_none") == (
        ">>> print('a\\0b')\na\\x00b\n>>> None\n>>> 'x'\n'x'\n>>> import fastlm_none\n"
        "ModuleNotFoundError: No module named 'fastlm_none'"
    )
    names: dict[str, object] = {}
    executed("def f():\n    return 1", names)
    assert callable(names["f"])


def test_plots_take_the_colours_of_the_page():
    drawn = [
        plots.stacked_bars(["a<b", "c"], {"one": [1, 2], "two": [3, 4]}, "parts"),
        plots.grouped_bars(["a", "b"], {"one": [1.0, 2.0]}, "value"),
        plots.curves({f"run {n}": plots.Curve([1, 2], [n, 3], marked=n == 1) for n in range(8)}, "step", "loss"),
        plots.curves({"loss": plots.Curve([1e-3, 1e-2], [3, 2])}, "rate", "loss", log_x=True),
    ]
    for svg in drawn:
        assert svg.startswith('<svg role="img" aria-label="')
        assert "#a100" not in svg
        assert "var(--series-1)" in svg
        assert "<metadata>" not in svg
        assert 'viewBox="' in svg
    assert "a&lt;b" in drawn[0]


def test_kinds_of_parts_are_distinct():
    kinds = [
        cls.kind
        for cls in vars(content).values()
        if isinstance(cls, type) and isinstance(getattr(cls, "kind", None), str)
    ]
    assert len(kinds) == len(set(kinds)) == 6
