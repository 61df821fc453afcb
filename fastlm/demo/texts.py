"""Text that ships with CPython: its documentation, the sources of its standard library, and prose out of both."""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

END_OF_TEXT = "<|endoftext|>"
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3", "__pycache__"}
# consecutive lines that are comments
COMMENT = re.compile(r"(?:^[ \t]*#[^\n]*\n){2,}", re.MULTILINE)
PARAGRAPH_END = re.compile(r"\n\s*\n")
# minimum number of characters of a paragraph of prose
SHORTEST = 80
# minimum share of letters and of marks that sentences have
PROSE_SHARE = 0.96
PROSE_MARKS = set(" ,.;'\"’“”-()")


def demo_corpus() -> list[str]:
    """Documents that ship with CPython: the language reference's help topics, then the standard library's sources."""
    return [*_help_topics(), *_sources()]


def prose() -> list[str]:
    """Paragraphs of English sentences: of help topics, docstrings and comments. Each appears once."""
    found: dict[str, None] = {}
    for text in _help_topics():
        found.update(dict.fromkeys(paragraphs(text)))
    for source in _sources():
        for text in (*_docstrings(source), *_comments(source)):
            found.update(dict.fromkeys(paragraphs(text)))
    return list(found)


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a text that read as prose, each as one line: sentences, without code, lists and tables."""
    for paragraph in PARAGRAPH_END.split(text):
        line = " ".join(paragraph.split())
        if len(line) < SHORTEST or not line[0].isupper() or line[-1] not in ".!?":
            continue
        marks = sum(character.isalpha() or character in PROSE_MARKS for character in line)
        if marks >= PROSE_SHARE * len(line):
            yield line


def _help_topics() -> list[str]:
    from pydoc_data import topics

    return list(topics.topics.values())


def _sources() -> Iterator[str]:
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if not LEFT_OUT.intersection(path.parts):
            yield path.read_text("utf-8", "replace")


def _docstrings(source: str) -> list[str]:
    """The docstrings of a module; none if it is not valid Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError:
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    strings = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))
    return [text for text in strings if text]


def _comments(source: str) -> list[str]:
    """The blocks of comments of a source, without their marks."""
    return [re.sub(r"^[ \t]*#+ ?", "", block, flags=re.MULTILINE) for block in COMMENT.findall(source)]
