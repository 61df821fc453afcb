"""The figures of README and of the landing page are the ones of RESULTS.md."""

import pytest

from benchmarks import figures


@pytest.fixture(scope="module")
def results() -> str:
    return figures.RESULTS.read_text("utf-8")


def test_pages_show_the_figures_of_the_last_run():
    assert figures.outdated() == [], "run python -m benchmarks.figures"


def test_a_new_run_changes_the_pages_and_the_plot(results):
    warm = results[results.index("### Arrays, 3 KB, warm, 1 thread") :]
    row = next(line for line in warm.splitlines() if line.startswith("| cl100k | english |"))
    cells = row.split("|")
    cells[4] = " **999 (998)** "
    changed = figures.contents(results.replace(row, "|".join(cells)))
    assert [path.name for path in changed] == ["HEADLINE.svg", "README.md", "index.md"]
    assert all(">999<" in text or "**999 MB/s**" in text for text in changed.values())


def test_a_ratio_says_how_many_times_as_good_fastlm_is():
    rates = figures.Race("encode", "MB/s", {"fastlm": 300.0, "tiktoken": 10.0, "gigatoken": 200.0}, False, "tiktoken")
    assert rates.ratio("tiktoken") == 30
    assert rates.best == "gigatoken"
    assert rates.row() == ["encode", "**300 MB/s**", "tiktoken 10.0 MB/s (30.0x)", "gigatoken 200 MB/s (1.50x)"]
    seconds = figures.Race("train", "s", {"fastlm": 2.0, "tokenizers": 30.0}, True, "tokenizers")
    assert seconds.ratio("tokenizers") == 15
    assert seconds.best == "tokenizers"


def test_a_peer_that_took_no_part_is_not_measured():
    race = figures.Race("train", "s", {"fastlm": 2.0, "gigabpe": 8.0}, True, "tokenizers")
    assert race.row() == ["train", "**2.00 s**", "tokenizers not measured", "gigabpe 8.00 s (4.00x)"]


def test_trainers_with_other_merges_take_no_part(results):
    names = next(race.figures for race in figures.races(figures.tables_of(results)) if race.what.startswith("train"))
    assert {"fastlm", "tokenizers"} <= names.keys()
    assert not {"rustbpe", "sentencepiece"} & names.keys()


@pytest.mark.parametrize(("cell", "value"), [("1,009 (1,008)", 1009.0), ("9.24", 9.24), ("-", None), ("wrong", None)])
def test_the_first_figure_of_a_cell(cell, value):
    assert figures.figure(cell) == value


def test_results_without_a_row_are_refused(results):
    with pytest.raises(ValueError, match="no row cl100k, english under 'Arrays, 3 KB, warm, 1 thread'"):
        figures.contents(results.replace("| cl100k | english |", "| cl100k | prose |"))
