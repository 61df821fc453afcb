"""The documentation: generated pages are up to date, links have targets, and the package's prose is plain."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

from tests import prose

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


def test_the_site_lists_every_page():
    listed = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert {str(page.relative_to(ROOT / "docs")) for page in PAGES} == listed


def test_pre_commit_has_the_versions_of_the_constraints():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    versions = dict(re.findall(r"([\w-]+)\n +rev: v([\d.]+)", hooks))
    constraints = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert versions == {"ruff-pre-commit": constraints["ruff"], "codespell": constraints["codespell"]}


def test_the_prose_of_the_package_is_plain():
    assert [message for path in prose.sources([prose.PACKAGE]) for message in prose.avoided_words(path)] == []


def test_prose_is_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('rooms = 1  # what is not prose: rooms\nNAME = "blank"\nTEXT = "a blank"\n')
    assert [message.split("'")[1] for message in prose.avoided_words(path)] == ["what is", "rooms", "blank"]
