"""Writes docs/patterns.md: the named patterns (python tools/write_patterns_page.py)."""

from __future__ import annotations

from pathlib import Path

from fastlm.pretokenize.patterns import ALIASES, PATTERNS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "patterns.md"

_BEFORE = """\
# Patterns

Before merges apply, a text is split into pretokens, whose boundaries no token crosses. A pattern is the regular
expression whose matches are the pretokens. Text between matches becomes pretokens too, so no text is lost. `pattern=`
takes a name of this list, an expression, or a sequence of expressions, each of which splits the pretokens of the one
before.

## Named patterns

"""

_AFTER = """
## Names, spellings and other expressions

The named patterns have a hand-written scanner, and so has every spelling of them that is known to be the same split.
Any other expression is run by the `regex` module, which is slow and follows its own version of Unicode; the first use
warns. Expressions of a tokenizer.json are in the syntax of Oniguruma, where `$` ends a line and `\\h` is a hexadecimal
digit. A matcher of fastlm runs them as `tokenizers` does, or refuses by name what it does not support.

```python
>>> import fastlm
>>> fastlm.train_bpe(["ab ab"], 258, pattern="llama3").pattern
'llama3'
>>> fastlm.train_bpe(["ab ab"], 258, pattern=r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
...     r"| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+").pattern
'llama3'
>>> fastlm.train_bpe(["ab ab"], 258, pattern="llama")
Traceback (most recent call last):
...
ValueError: no pattern is named 'llama' (did you mean 'llama3' or 'llama4'?); there are [...], or give an expression

```

cl100k_base differs from llama3 where spaces follow a newline at the end of a text.
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
