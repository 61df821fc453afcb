"""Words that comments, docstrings and messages of the package avoid: `python -m tests.prose [PATH...]`.

CONTRIBUTING.md asks for plain technical English, and docs/glossary.md defines the terms. This command finds the words
that are easy to find: metaphors, old names of a term, and clauses without a noun. It prints each line with the word and
the reason, and exits with 1 if there are any. In Python and Cython files it reads strings and comments, in C files
comments only, in Markdown everything but code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fastlm"

CLAUSE = "a clause needs a noun: write 'the ... that'"
AVOIDED: dict[str, str] = {
    r"(?<!Hugging )faces?": "write 'compatibility layer'",
    r"rooms?": "write 'space', 'capacity' or 'module'",
    r"floors?": "write 'layer'",
    r"stretch(es)?": "write 'span', 'chunk' or 'partition'",
    r"blanks?": "write 'space'",
    r"white spaces?": "write 'whitespace'",
    r"beside": "write 'next to', 'with' or 'compared with'",
    r"anew": "write 'again'",
    r"likewise": "write 'also'",
    r"stands?(?!-in\b)": "write 'is'",
    r"in the end": "write 'at the end' or 'finally'",
    r"those of": CLAUSE,
    r"so many": "name the number",
    r"(what|that) which": CLAUSE,
    r"what (is|are)": CLAUSE,
    r"all that": CLAUSE,
}
"""Regular expression of a word or phrase -> what to write."""

_STRING = r"(?:\"\"\"|''').*?(?:\"\"\"|''')|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
# a string comes first, so that neither a quote in a comment nor a mark in a string ends the other
_PYTHON = re.compile(rf"{_STRING}|(?P<comment>#[^\n]*)", re.DOTALL)
_C = re.compile(rf"(?:{_STRING})|(?P<comment>//[^\n]*|/\*.*?\*/)", re.DOTALL)
_WORDS = re.compile("|".join(rf"(?P<w{i}>\b(?:{word})\b)" for i, word in enumerate(AVOIDED)), re.IGNORECASE)
_REASONS = list(AVOIDED.values())
_DOCTEST = re.compile(r"^\s*(>>>|\.\.\. )")


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of each line of prose."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        yield from _markdown(text)
        return
    in_c = path.suffix in (".h", ".hpp")
    for found in (_C if in_c else _PYTHON).finditer(text):
        if in_c and not found["comment"]:
            continue
        first = text.count("\n", 0, found.start()) + 1
        for offset, line in enumerate(found[0].splitlines()):
            # a string of one word is a name, as of a Unicode property
            if " " in line.strip() and not _DOCTEST.match(line):
                yield first + offset, line


def _markdown(text: str) -> Iterator[tuple[int, str]]:
    """The lines outside fenced code."""
    in_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code:
            yield number, line


def avoided_words(path: Path) -> Iterator[str]:
    """Each avoided word in a file: the place, the word, the reason, the line."""
    for number, line in prose_of(path):
        for found in _WORDS.finditer(line):
            assert found.lastgroup is not None
            reason = _REASONS[int(found.lastgroup[1:])]
            yield f"{path}:{number}: {found[0]!r}: {reason}\n    {line.strip()}"


def sources(paths: list[Path]) -> list[Path]:
    """The Python, Cython, C and Markdown files among files and below folders."""
    suffixes = {".py", ".pyx", ".pxd", ".pyi", ".h", ".hpp", ".md"}
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return sorted(file for file in files if file.suffix in suffixes)


def main() -> int:
    files = sources([Path(argument) for argument in sys.argv[1:]] or [PACKAGE])
    found = [message for path in files for message in avoided_words(path)]
    print(*found, f"{len(found)} words to replace", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
