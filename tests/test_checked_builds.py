"""The commands that test builds with checks: which files they take, and what they make of a report of coverage."""

import subprocess

import pytest

from tests import coverage, cython_coverage, sanitizers, tracked


@pytest.mark.parametrize("name", sanitizers.CHECKS)
def test_the_test_files_of_a_check_exist(name):
    files = sanitizers._expanded(sanitizers.CHECKS[name].files)
    assert len(files) >= 4
    assert all((sanitizers.ROOT / file).is_file() for file in files)


def test_a_copy_follows_the_tree(tmp_path, monkeypatch):
    tree, folder = tmp_path / "tree", tmp_path / "copy"
    (tree / "folder").mkdir(parents=True)
    folder.mkdir()
    (tree / "a.py").write_text("1")
    (tree / "folder" / "b.py").write_text("2")
    (folder / "made.so").write_text("kept")
    subprocess.run(["git", "init", "-q", tree], check=True)
    subprocess.run(["git", "add", "a.py"], cwd=tree, check=True)  # b.py is new, and not ignored
    monkeypatch.setattr(sanitizers, "ROOT", tree)
    monkeypatch.setattr(tracked, "ROOT", tree)
    sanitizers._synchronize(folder)
    assert (folder / "folder" / "b.py").read_text() == "2"
    (tree / "a.py").unlink()
    (tree / "folder" / "b.py").write_text("3")
    sanitizers._synchronize(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["files", "folder", "made.so"]
    assert (folder / "folder" / "b.py").read_text() == "3"


def test_a_report_of_coverage_is_added_up(tmp_path):
    (tmp_path / "a.py").write_text("def f(x):\n    if x:\n        raise ValueError\n    raise KeyError\n")
    (tmp_path / "b.pyx").write_text("cdef int f() except -1:\n    raise OSError\n")
    content = {
        "files": {
            "a.py": {
                "summary": {"num_statements": 4, "covered_lines": 3, "num_branches": 2, "covered_branches": 1},
                "missing_lines": [4],
                "excluded_lines": [],
            },
            "b.pyx": {"summary": {"num_statements": 2, "covered_lines": 2}, "missing_lines": []},
        }
    }
    found = coverage.totals(content, tmp_path)
    assert found.unreached_raises == found.unreached_lines == ["a.py:4"]
    assert (found.lines, found.lines_reached, found.branches, found.branches_reached) == (6, 5, 2, 1)
    assert (found.raises, found.raises_reached) == (3, 2)
    assert not found.is_enough
    assert str(found) == "83.3 % of 6 lines, 50.0 % of 2 branches, 66.7 % of 3 raise statements"


GENERATED = """
  /* "fastlm/a.pyx":3
 * # <<<<<<<<<<<<<<
 */
  __pyx_v_x = 1;
  if (unlikely(!__pyx_v_x)) __PYX_ERR(0, 3, __pyx_L1_error)

  /* "fastlm/a.pyx":5
 */
  __Pyx_Raise(__pyx_v_x, 0, 0, 0);

  /* "fastlm/other.pxd":4
 */
  __pyx_v_x = 2;

  /* "fastlm/a.pyx":7
 */

  /* function exit code */
  __pyx_L1_error:;
"""


def test_a_statement_of_cython_ran_if_the_first_line_of_its_c_ran():
    ran = {5: 2, 6: 0, 10: 0, 14: 9, 20: 1}
    assert cython_coverage.statements(GENERATED, ran, "fastlm/a.pyx") == {3: True, 5: False}
    # the C of a statement may occur several times
    assert cython_coverage.statements(GENERATED * 2, ran | {31: 1}, "fastlm/a.pyx") == {3: True, 5: True}
