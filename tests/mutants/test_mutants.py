"""The mutants fit the source."""

from pathlib import Path

from tests.mutants.__main__ import MUTANTS

ROOT = Path(__file__).resolve().parents[2]


def test_each_mutant_changes_one_place_of_the_source():
    source = {mutant.file: (ROOT / mutant.file).read_text("utf-8") for mutant in MUTANTS}
    assert [mutant.key for mutant in MUTANTS if source[mutant.file].count(mutant.old) != 1] == []
    assert [mutant.key for mutant in MUTANTS if mutant.old == mutant.new] == []
    assert len({mutant.key for mutant in MUTANTS}) == len(MUTANTS) >= 200
