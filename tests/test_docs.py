"""The documentation: generated pages are up to date, links have targets, and the package's prose is plain."""

import re
import runpy
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests import paste_commands, prose

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def test_the_page_of_patterns_is_up_to_date():
    page = runpy.run_path(str(ROOT / "tools" / "write_patterns_page.py"))["page"]()
    assert (ROOT / "docs" / "patterns.md").read_text() == page, "run python tools/write_patterns_page.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_links_to_the_repository_have_its_address():
    """One address, in pyproject.toml: the repository may move."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    repository, site = urls["Repository"], urls["Documentation"]
    settings = (ROOT / "mkdocs.yml").read_text()
    assert f"repo_url: {repository}\n" in settings
    assert f"site_url: {site}\n" in settings
    pages = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "mkdocs.yml"))]
    raw = repository.replace("https://github.com/", "https://raw.githubusercontent.com/")
    for page in pages:
        for link in re.findall(r"https://[\w.-]+/[^\s)\"'<>]*fastlm[^\s)\"'<>]*", page.read_text()):
            assert link.startswith((repository, site, raw)), (page.name, link)
            path = re.match(rf"(?:{repository}/blob|{raw})/main/([^#]+)", link)
            assert path is None or (ROOT / path[1]).exists(), (page.name, link)


def code_of(page):
    """Language, and lines with their numbers, of each block of code."""
    inside, lines = None, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = re.match(r" *```(\w*)", line)
        if not fence:
            lines.append((number, line))
        elif inside is None:
            inside, lines = fence[1], []
        else:
            yield inside, lines
            inside = None


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_code_can_be_copied(page):
    """Each block has a language, doctests are sessions, and code has at most 80 columns. Output is as long as it is."""
    for language, lines in code_of(page):
        where = f"{page.name}:{lines[0][0]}"
        assert language in ("pycon", "sh", "python", "toml", "json", "text", "diff", "html"), where
        assert language == "pycon" or not any(line.startswith(">>> ") for _, line in lines), f"{where}: is pycon"
        if language in ("sh", "python", "pycon"):
            code = [(n, line) for n, line in lines if language != "pycon" or line.startswith((">>> ", "... "))]
            assert [n for n, line in code if len(line) > 80] == [], f"{page.name}: over 80 columns"
        if language == "sh":
            script = "\n".join(line for _, line in lines)
            checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
            assert checked.returncode == 0, f"{where}: {checked.stderr}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_no_page_installs_from_an_index(page):
    """fastlm is not on PyPI: pages install it from a clone."""
    assert re.findall(r"pip install[^\n`]* [\"']?fastlm", page.read_text()) == []


def test_commands_of_a_page_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n```sh\nfastlm plan 1GB\n```\n\n```sh\n# needs a GPU\nfastlm train\n```\n```text\nno\n```\n")
    found = list(paste_commands.blocks(page))
    assert [(block.line, block.commands, block.needs) for block in found] == [
        (3, "fastlm plan 1GB\n", None),
        (7, "# needs a GPU\nfastlm train\n", "a GPU"),
    ]


def test_pasted_commands_end_at_the_first_failure(tmp_path):
    """In the clone, with the commands of the environment, and a clone of the repository's address is a local one."""
    program = tmp_path / "bin" / "fastlm"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho ran $1 in $PWD\n")
    program.chmod(0o755)
    block = paste_commands.Block("page.md", 1, "fastlm plan\ngit config --get-regexp insteadof\nfalse\necho never\n")
    result = paste_commands.paste(block, tmp_path, tmp_path)
    assert result.returncode == 1
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    lines = result.stdout.splitlines()
    assert lines[0] == f"ran plan in {tmp_path}"
    assert f"url.{ROOT}.insteadof {repository}" in lines
    assert "never" not in lines


def test_the_site_lists_every_page():
    listed = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert {str(page.relative_to(ROOT / "docs")) for page in PAGES} == listed


def test_pre_commit_has_the_versions_of_the_constraints():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    versions = dict(re.findall(r"([\w-]+)\n +rev: v([\d.]+)", hooks))
    constraints = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert versions == {"ruff-pre-commit": constraints["ruff"], "codespell": constraints["codespell"]}


def test_the_prose_of_the_package_and_of_the_pages_is_plain():
    pages = [ROOT / "docs", *ROOT.glob("*.md")]
    assert [message for path in prose.sources([prose.PACKAGE, *pages]) for message in prose.avoided_words(path)] == []


def test_prose_is_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('rooms = 1  # what is not prose: rooms\nNAME = "blank"\nTEXT = "a blank"\n')
    assert [message.split("'")[1] for message in prose.avoided_words(path)] == ["what is", "rooms", "blank"]
