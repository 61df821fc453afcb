"""A short run of each fuzz target; `python -m tests.fuzz` makes long ones."""

import random

import pytest

from tests.fuzz import arrow_arrays, harness, loaders

REASONS = {name: harness.missing(name) for name in harness.COMPILERS}


SCANNING = ("cuts", "scanners", "encode_loop")


def assert_nothing_is_reported(target, program):
    inputs, report = harness.replay(target, program)
    assert report == ""
    assert inputs >= 50
    assert harness.run(program, 1500) == ""


@pytest.mark.parametrize(
    ("target", "compiler"),
    [
        *((target, "gcc") for target in harness.TARGETS if target not in SCANNING),
        *(pytest.param(target, "clang", marks=pytest.mark.nightly) for target in ("cuts", "cache")),
    ],
)
def test_a_target_reports_nothing(target, compiler, tmp_path):
    if REASONS[compiler]:
        pytest.skip(REASONS[compiler])
    assert_nothing_is_reported(target, harness.build(target, compiler, tmp_path, "-O0"))


@pytest.mark.skipif(bool(REASONS["gcc"]), reason="gcc or its sanitizers are not installed")
def test_targets_that_scan_report_nothing(tmp_path):
    built = harness.build("scans", "gcc", tmp_path, "-O0")
    for target in SCANNING:
        program = tmp_path / f"{target}-gcc"
        program.symlink_to(built)
        assert_nothing_is_reported(target, program)


@pytest.mark.skipif(bool(REASONS["gcc"]), reason="gcc or its sanitizers are not installed")
def test_a_read_outside_of_an_input_is_reported(tmp_path, monkeypatch):
    (tmp_path / "broken.c").write_text(
        '#include "fuzz.h"\n'
        "int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {\n"
        "    int64_t n;\n"
        "    uint8_t *text = text_of(data, size, &n);\n"
        "    volatile uint8_t byte = text[n + 1];\n"
        "    free(text);\n"
        "    return byte & 0;\n"
        "}\n"
    )
    (tmp_path / "driver.c").write_text((harness.HERE / "driver.c").read_text())
    monkeypatch.setattr(harness, "FLAGS", [*harness.FLAGS, f"-I{harness.HERE}"])
    monkeypatch.setattr(harness, "HERE", tmp_path)
    assert "heap-buffer-overflow" in harness.run(harness.build("broken", "gcc", tmp_path), 100)


def test_damaged_arrow_arrays_are_read_or_refused():
    pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    outcomes = []
    for seed in range(1000):
        arrow_arrays.arrow_array(random.Random(seed))
        _, rows = arrow_arrays._plain(random.Random(seed), "string", 3)
        outcomes.append(rows is None)
    assert 300 < sum(outcomes) < 800


@pytest.mark.parametrize("name", loaders.LOADERS)
def test_changed_files_are_read_or_refused(name, tmp_path):
    needed = {"llama_config": "torch", "llama_weights": "torch", "llama2c": "torch", "checkpoint": "torch"}
    if name in needed:
        pytest.importorskip(needed[name])
    case = loaders.run_at_random(name, 40, 1, tmp_path)
    assert case.read + case.refused == 40
    assert case.refused > 5
    case.loader.read(loaders.Case(name, _new(tmp_path)).folder / case.loader.file)


def test_changed_manifests_with_a_right_checksum_reach_the_checks_behind_it(tmp_path):
    case = loaders.run_at_random("manifest", 150, 2, tmp_path)
    assert case.read > 5
    assert case.refused > 30


def _new(folder):
    (folder / "again").mkdir()
    return folder / "again"


def test_an_undocumented_exception_of_a_loader_is_reported(tmp_path, monkeypatch):
    def read(path):
        return {}[1] if path.stat().st_size % 2 else [][0]

    native = loaders.LOADERS["native"]
    monkeypatch.setitem(loaders.LOADERS, "native", native._replace(read=read))
    with pytest.raises(AssertionError, match=r"native, run \d+: IndexError"):
        loaders.run_at_random("native", 100, 1, tmp_path)
