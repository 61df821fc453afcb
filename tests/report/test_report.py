"""The report as a whole: its files, what stood in, and the page in a browser."""

import gzip
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from fastlm import cli
from fastlm.report import corpora, training_job, write, write_report
from tests import texts
from tests.children import LIMIT

NAMES = [
    "unicode1",
    "unicode2",
    "train_bpe_tinystories",
    "train_bpe_expts_owt",
    "tokenizer_experiments",
    "transformer_accounting",
]
VOID = {"meta", "link", "use", "path"}


class Page(HTMLParser):
    """The addresses that a page loads, its scripts, and elements that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A report on two small files, and the files."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "stories.txt").write_text(
        "<|endoftext|>".join(["the cat sat on the mat. ", "the rat ate the cat. "] * 40)
    )
    (folder / "web.txt").write_text("<|endoftext|>".join(texts.DOCUMENTS * 3))
    arguments = ["--tinystories", str(folder / "stories.txt"), "--openwebtext", str(folder / "web.txt")]
    assert cli.main(["report", "--out", str(folder / "out"), "--num-threads", "1", *arguments]) == 0
    return folder


def test_the_sections_are_the_write_ups(folder):
    report = json.loads((folder / "out" / "report.json").read_text())
    assert [section["name"] for section in report["sections"]] == NAMES
    assert report["first"][0] == f"TinyStories: read from {folder / 'stories.txt'}."
    assert report["first"][1] == f"OpenWebText: read from {folder / 'web.txt'}."
    markdown = (folder / "out" / "report.md").read_text()
    assert re.findall(r"^## .*\((\w+)\)$", markdown, re.MULTILINE) == NAMES


def test_ratios_are_now_by_then(folder):
    report = json.loads((folder / "out" / "report.json").read_text())
    rows = [
        row
        for section in report["sections"]
        for part in section["parts"]
        if part["kind"] == "figures"
        for row in part["rows"]
    ]
    compared = [row for row in rows if row["ratio"] is not None]
    assert len(compared) > 25
    for row in compared:
        assert row["ratio"] == pytest.approx(row["now"] / row["then"]["value"])
    seconds = [row for row in rows if row["what"] == "wall time"]
    assert [row["then"]["value"] for row in seconds] == [100, 1200]
    # the files are too small to be the corpora
    assert [row["ratio"] for row in seconds] == [None, None]
    rates = [row for row in rows if row["what"] == "text by wall time"]
    assert all(row["ratio"] for row in rates)
    peaks = [row["now"] for row in rows if row["what"] == "peak memory"]
    assert all(10 < peak < 1000 for peak in peaks)


def test_the_page_is_one_file(folder):
    text = (folder / "out" / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.wrong == []
    assert "script" not in page.tags
    assert all(address.startswith("#") or address == "data:," for address in page.addresses)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    # addresses in the text are the namespaces of SVG
    assert set(re.findall(r"https?://[^\"\s<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert page.tags.count("svg") == 5
    ids = re.findall(r'(?<![\w-])id="([pm][0-9a-f]{6,})"', text)
    assert len(ids) == len(set(ids))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page_fits_on_a_phone(folder):
    wrapper = folder / "phone.html"
    wrapper.write_text(
        '<iframe src="out/report.html" style="width:390px;height:900px;border:0"></iframe><script>'
        "onload = () => { const root = frames[0].document.documentElement;"
        " document.title = `${root.scrollWidth} ${root.clientWidth} wide`; }</script>"
    )
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    result = subprocess.run(
        [*command, f"--user-data-dir={folder / 'chromium'}", "--dump-dom", wrapper.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT,
    )
    widths = re.search(r"<title>(\d+) (\d+) wide", result.stdout)
    assert widths, result.stdout
    # nothing is wider than the page, and the bar for scrolling takes a part of the 390 pixels
    assert widths[1] == widths[2]
    assert 360 < int(widths[1]) <= 390


def test_what_stood_in_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "prose", lambda: ["the cat sat on the mat", "the rat"])
    monkeypatch.setattr(corpora, "demo_corpus", lambda: ["def cat(): pass"])
    stories, web = corpora.training_texts([], [str(tmp_path / "web")], tmp_path)
    expected = "TinyStories: not given. English prose from the documentation that ships with CPython (0.0 MB) stood in"
    assert stories.first_line.startswith(expected)
    assert stories.sample() == ["the cat sat on the mat", "the rat"]
    assert web.first_line == f"OpenWebText: read from {tmp_path / 'web'}."
    assert web.stands_in == ""


def test_times_of_a_stand_in_have_no_ratio(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "prose", lambda: ["the cat sat on the mat"] * 9)
    monkeypatch.setattr(corpora, "demo_corpus", lambda: ["def cat(): return the_mat"] * 9)
    write_report(tmp_path, sections=["bpe"], num_threads=1)
    report = json.loads((tmp_path / "report.json").read_text())
    rows = [row for section in report["sections"][:2] for part in section["parts"] for row in part.get("rows", [])]
    found = {row["what"]: row["ratio"] for row in rows if isinstance(row, dict)}
    assert found["wall time"] is None
    assert found["peak memory"] is None
    assert found["text by wall time"] > 0


def test_compressed_text_is_counted_as_text(tmp_path):
    text = "<|endoftext|>".join(texts.DOCUMENTS)
    (tmp_path / "text.txt").write_bytes(text.encode())
    (tmp_path / "text.txt.gz").write_bytes(gzip.compress(text.encode()))
    lines = "".join(f"{json.dumps({'text': document})}\n" for document in texts.DOCUMENTS)
    (tmp_path / "text.jsonl").write_text(lines)
    found = [
        training_job.measure([str(tmp_path / name)], 300, 1)[1] for name in ("text.txt", "text.txt.gz", "text.jsonl")
    ]
    assert [measured.bytes for measured in found[:2]] == [len(text.encode())] * 2
    assert found[2].bytes == sum(len(document.encode()) for document in texts.DOCUMENTS)
    assert all(0 < measured.counting_seconds < measured.seconds for measured in found)


def test_parts_of_a_report(tmp_path):
    paths = write_report(tmp_path, sections=["accounting"])
    assert [path.name for path in paths] == ["report.html", "report.md", "report.json"]
    report = json.loads(paths[2].read_text())
    assert [section["name"] for section in report["sections"]] == ["transformer_accounting"]
    with pytest.raises(ValueError, match="sections has 'bpes'; expected some of unicode, bpe, accounting, runs"):
        write_report(tmp_path, sections=["bpes"])


def test_a_missing_package_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(write, "find_spec", lambda name: None if name == "jinja2" else name)
    with pytest.raises(
        ModuleNotFoundError, match=re.escape("the report needs jinja2: pip install matplotlib jinja2 tensorboard")
    ):
        write_report(tmp_path)
    assert cli.main(["report", "--out", str(tmp_path / "out")]) == 1
    assert "jinja2 is not installed; pip install matplotlib jinja2 tensorboard" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_of_others_are_kept(folder, capsys):
    (folder / "other").mkdir()
    (folder / "other" / "report.md").write_text("mine")
    assert cli.main(["report", "--out", str(folder / "other")]) == 1
    assert "was not written by this command" in capsys.readouterr().err
    assert (folder / "other" / "report.md").read_text() == "mine"


def test_a_corpus_that_is_missing(tmp_path, capsys):
    arguments = ["report", "--out", str(tmp_path / "out"), "--tinystories", str(tmp_path / "none.txt")]
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert "none.txt" in error
    assert "Traceback" not in error
