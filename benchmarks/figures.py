"""Headline figures of README and the landing page, from RESULTS.md: `python -m benchmarks.figures [--check]`.

`python -m benchmarks.run` calls it after it wrote RESULTS.md. The figures are between the marks `<!-- figures -->` and
`<!-- /figures -->` of README.md and docs/index.md; the plot is benchmarks/HEADLINE.svg, and inline on the landing page.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import OURS
from benchmarks.tables import number, table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
PLOT = ROOT / "benchmarks" / "HEADLINE.svg"
REPOSITORY = "https://github.com/fastlm/fastlm"
RAW = "https://raw.githubusercontent.com/fastlm/fastlm"
MARKED = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)
VOCABULARY, CORPUS = "cl100k", "english"

Row = Mapping[str, str]
Tables = Mapping[str, Sequence[Row]]


def tables_of(results: str) -> dict[str, list[Row]]:
    """The first table below each heading of a Markdown text, by heading: a row maps the head of a column to a cell."""
    found: dict[str, list[Row]] = {}
    for section in re.split(r"^#+ ", results, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        lines = [line for line in body.splitlines() if line.startswith("|")]
        cells = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines]
        if cells:
            found.setdefault(heading, [dict(zip(cells[0], row, strict=True)) for row in cells[2:]])
    return found


def figure(cell: str) -> float | None:
    """The first figure of a cell such as "1,009 (1,008)"; None if it has none."""
    match = re.match(r"[\d,.]+", cell)
    return float(match[0].replace(",", "")) if match else None


@dataclass(frozen=True)
class Race:
    """One measurement of fastlm and others.

    Attributes:
        what: What was measured.
        unit: The unit of the figures.
        figures: The figure of each library, fastlm among them.
        less_is_better: Whether the smaller figure is the better one.
        peer: The library that most readers use today.
    """

    what: str
    unit: str
    figures: Mapping[str, float]
    less_is_better: bool
    peer: str

    def ratio(self, name: str) -> float:
        """How many times as good as a library fastlm is."""
        ours, theirs = self.figures[OURS], self.figures[name]
        return theirs / ours if self.less_is_better else ours / theirs

    @property
    def best(self) -> str:
        """The best of the others but the peer; the peer if there are no others."""
        others = [name for name in self.figures if name not in (OURS, self.peer)]
        return min(others, key=self.ratio) if others else self.peer

    def row(self) -> list[str]:
        def cell(name: str) -> str:
            return f"{number(self.figures[name])} {self.unit} ({number(self.ratio(name))}x)"

        ours = f"**{number(self.figures[OURS])} {self.unit}**"
        peer = f"{self.peer} {cell(self.peer)}" if self.peer in self.figures else f"{self.peer} not measured"
        return [self.what, ours, peer, f"{self.best} {cell(self.best)}"]


def _by_library(row: Row) -> dict[str, float]:
    """The figures of the libraries in a row of rates: the columns between the size and the ratios."""
    names = list(row)
    columns = names[names.index("MB") + 1 : names.index("x best")]
    read = {name.strip("*"): figure(row[name]) for name in columns if not name.startswith("x ")}
    return {name: value for name, value in read.items() if value is not None}


def _rate(tables: Tables, heading: str) -> dict[str, float]:
    rows = [row for row in tables[heading] if (row["vocabulary"], row["corpus"]) == (VOCABULARY, CORPUS)]
    if not rows:
        raise ValueError(f"RESULTS.md has no row {VOCABULARY}, {CORPUS} under {heading!r}")
    return _by_library(rows[0])


def _trainers(tables: Tables, column: str, peer: str) -> tuple[str, dict[str, float]]:
    """The size of a training on one thread, and a column of it for the trainers with the same merges.

    It is the largest training that the peer took part in, or the largest of all.
    """
    headings = [heading for heading in tables if re.fullmatch(r"Mixed, [\d.]+ MB to .* tokens, 1 thread", heading)]
    if not headings:
        raise ValueError("RESULTS.md has no training of mixed text on 1 thread")
    with_peer = [heading for heading in headings if peer in {row["trainer"] for row in tables[heading]}]
    heading = max(with_peer or headings, key=lambda heading: float(heading.split()[1]))
    rows = [row for row in tables[heading] if row["merges"] == "the same"]
    size = f"{float(heading.split()[1]):.0f} MB to {heading.split()[4]} tokens"
    return size, {row["trainer"]: value for row in rows if (value := figure(row[column])) is not None}


def races(tables: Tables) -> list[Race]:
    """The headline figures, most important first."""
    size, seconds = _trainers(tables, "CPU s", "tokenizers")
    _, memory = _trainers(tables, "peak MB", "tokenizers")
    rates = {
        "encode English, text seen before": "Arrays, 3 KB, warm, 1 thread",
        "encode English, new text": "Arrays, 3 KB, cold, 1 thread",
        "encode 100 bytes a call": "One, 100 B, warm, 1 thread",
        "decode lists of ids": "From a list of ints, 1 thread",
    }
    found = [Race(what, "MB/s", _rate(tables, heading), False, "tiktoken") for what, heading in rates.items()]
    found.insert(2, Race(f"train on {size}", "s", seconds, True, "tokenizers"))
    found.insert(3, Race("peak memory of that training", "MB", memory, True, "tokenizers"))
    return found


def _facts(results: str) -> dict[str, str]:
    return dict(re.findall(r"^- ([\w ]+): (.+)$", results, re.MULTILINE))


def readme_part(results: str) -> str:
    """The plot and the table of README.md, with absolute links."""
    facts, found = _facts(results), races(tables_of(results))
    rows = [["", "fastlm", "tiktoken, tokenizers", "best other library"], *(race.row() for race in found)]
    return (
        f"![Throughput of encoding English with {VOCABULARY}, by library]({RAW}/main/benchmarks/{PLOT.name})\n\n"
        f"{table(rows, words=4)}\n\n"
        f"One thread; rates and seconds by CPU time; vocabulary {VOCABULARY}; {facts['processor'].split(',')[0]}, "
        f"{facts['date'][:10]}. In brackets: how many times as\ngood as this library fastlm is. "
        f"`python -m benchmarks.run` writes this table, and all figures with the targets that\nfastlm misses, to "
        f"[benchmarks/RESULTS.md]({REPOSITORY}/blob/main/benchmarks/RESULTS.md)."
    )


def landing_part(results: str) -> str:
    """Three figures and the plot of docs/index.md, as HTML that follows the colours of the page."""
    warm, cold, seconds, memory, _, decoding = races(tables_of(results))
    cards = {
        number(warm.ratio("tiktoken")): "as fast as tiktoken at encoding English with "
        f"{VOCABULARY}; {number(cold.ratio('tiktoken'))}x at text that it has not seen before",
        number(seconds.ratio("tokenizers")): f"as fast as tokenizers, to {seconds.what}, in 1/"
        f"{memory.ratio('tokenizers'):.0f} of its memory",
        number(decoding.ratio("tiktoken")): "as fast as tiktoken at decoding lists of ids",
    }
    lines = ['<div class="figures">']
    lines += [f"<div><strong>{value}x</strong> {what}</div>" for value, what in cards.items()]
    lines += ["</div>", '<figure class="plot">', *plot(warm, "currentColor"), "</figure>"]
    return "\n".join(lines)


def plot(race: Race, ink: str) -> Iterator[str]:
    """The lines of an SVG: a bar for each library, the longest first. `ink` is the colour of the text."""
    order = sorted(race.figures, key=race.figures.__getitem__, reverse=True)
    longest, height, left, width = max(race.figures.values()), 26, 90, 400
    total = height * len(order) + 28
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 60} {total}" role="img" '
        f'font-family="sans-serif" font-size="13" fill="{ink}">'
    )
    yield f"<title>{race.what} with {VOCABULARY}: {race.unit} of CPU time on one thread, by library</title>"
    if ink != "currentColor":
        yield f"<style>svg {{ fill: {ink} }} @media (prefers-color-scheme: dark) {{ svg {{ fill: #e6e6e6 }} }}</style>"
    for k, name in enumerate(order):
        value = race.figures[name]
        y = height * k
        colour = "#009485" if name == OURS else "#9aa5ad"
        weight = ' font-weight="bold"' if name == OURS else ""
        yield f'<text x="{left - 8}" y="{y + 18}" text-anchor="end"{weight}>{name}</text>'
        yield f'<rect x="{left}" y="{y + 4}" width="{width * value / longest:.1f}" height="18" rx="2" fill="{colour}"/>'
        yield f'<text x="{left + width * value / longest + 6:.1f}" y="{y + 18}"{weight}>{number(value)}</text>'
    yield f'<text x="{left}" y="{total - 8}" font-size="12">{race.unit}: {race.what}, {VOCABULARY}, 1 thread</text>'
    yield "</svg>"


def contents(results: str) -> dict[Path, str]:
    """The files that hold figures, with the figures of these results."""
    plotted = "\n".join(plot(races(tables_of(results))[0], "#1f2328")) + "\n"
    files = {PLOT: plotted.replace(' fill="#1f2328">', ">", 1)}
    for page, part in ((ROOT / "README.md", readme_part), (ROOT / "docs" / "index.md", landing_part)):
        text = page.read_text("utf-8")
        if not MARKED.search(text):
            raise ValueError(f"{page}: has no marks <!-- figures --> and <!-- /figures -->")
        figures = part(results)
        files[page] = MARKED.sub(lambda marks, figures=figures: f"{marks[1]}{figures}\n{marks[2]}", text)  # type: ignore[misc]
    return files


def write() -> None:
    """Brings README, the landing page and the plot up to RESULTS.md."""
    for path, content in contents(RESULTS.read_text("utf-8")).items():
        path.write_text(content, "utf-8")


def outdated() -> list[Path]:
    """The files whose figures are not the ones of RESULTS.md."""
    files = contents(RESULTS.read_text("utf-8"))
    return [path for path, content in files.items() if not path.exists() or path.read_text("utf-8") != content]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is out of date")
    if not parser.parse_args().check:
        write()
        return 0
    files = outdated()
    print(*files, sep="\n")
    return 1 if files else 0


if __name__ == "__main__":
    sys.exit(main())
