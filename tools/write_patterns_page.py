"""Writes docs/patterns.md: the named patterns (python tools/write_patterns_page.py)."""

from __future__ import annotations

from pathlib import Path

from fastlm.pretokenize.patterns import ALIASES, PATTERNS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "patterns.md"

_BEFORE = """\
# Patterns

A pattern is a regular expression that splits a text into pretokens before merges apply. No token crosses the boundary
of a pretoken. The text between two matches becomes a pretoken too, so no text is lost. `pattern=` takes a name of this
list, an expression, or a sequence of expressions. Each expression of a sequence splits the pretokens of the previous
one.

## Named patterns

"""

_AFTER = """
## Names, spellings and other expressions

The named patterns have a hand-written scanner. Other spellings of the same split that fastlm knows use that scanner.
Any other expression runs in the `regex` module (extra `[regex]`), which is slow and has its own version of Unicode. The
first use warns.
Expressions of a tokenizer.json have the syntax of Oniguruma, in which `$` ends a line and `\\h` is a hexadecimal digit.
fastlm has a matcher for them, which gives the matches of tokenizers, or refuses an unsupported element by name.

```pycon
>>> import fastlm
>>> fastlm.train_bpe(["ab ab"], 258, pattern="llama3").pattern
'llama3'
>>> expression = (
...     r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
...     r"|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
...     r"|\\s+(?!\\S)|\\s+"
... )
>>> fastlm.train_bpe(["ab ab"], 258, pattern=expression).pattern
'llama3'
>>> fastlm.train_bpe(["ab ab"], 258, pattern="llama")
Traceback (most recent call last):
...
ValueError: no pattern is named 'llama' (did you mean 'llama3' or 'llama4'?); there are [...], or give an expression

```

cl100k_base and llama3 split spaces after a newline at the end of a text differently.
"""


def page() -> str:
    """The page, Markdown."""
    entries = []
    for name, pattern in PATTERNS.items():
        also = ", ".join(f"`{alias}`" for alias, meant in ALIASES.items() if meant == name)
        names = f"Other names: {also}. " if also else ""
        expressions = "\n".join(pattern.splits)
        entries.append(f"### {name}\n\n{names}Used by {', '.join(pattern.models)}.\n\n```text\n{expressions}\n```\n")
    return _BEFORE + "\n".join(entries) + _AFTER


if __name__ == "__main__":
    PAGE.write_text(page())
