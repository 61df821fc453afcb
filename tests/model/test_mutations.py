"""Changed files of models; `python -m tests.model.mutations` tries more."""

import pytest

pytest.importorskip("torch")

from tests.model import mutations


@pytest.mark.parametrize("name", mutations.FORMATS)
def test_a_changed_file_is_refused_or_loaded_to_what_was_written(tmp_path, name):
    outcomes = mutations.run_mutations(name, 150, 2, tmp_path)
    assert outcomes.keys() <= {"refused", "same"}
    assert outcomes["refused"] > 100
