"""Writes docs/patterns.md: the named patterns as fastlm.patterns has them (python tools/write_patterns_page.py)."""

from __future__ import annotations

from pathlib import Path

from fastlm.patterns import PATTERNS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "patterns.md"

MODELS = {
    "gpt2": "GPT-2, r50k_base, p50k_base; Stanford's CS336",
    "cl100k_base": "GPT-3.5 and GPT-4 (tiktoken's cl100k_base)",
    "llama3": "Llama 3",
    "qwen2": "Qwen2, Qwen2.5, Qwen3",
    "qwen3.5": "Qwen3.5, Qwen3.6",
    "minbpe-gpt4": "minbpe's GPT-4 pattern, rustbpe's default",
    "nanochat": "nanochat",
    "o200k_base": "GPT-4o, gpt-oss, Llama 4",
    "tekken": "Mistral's tekken.json",
    "kimi-k2": "Kimi K2",
    "deepseek-v3": "DeepSeek-V3",
    "starcoder": "StarCoder",
}
"""Whose vocabularies are split so."""

_BEFORE = """\
# Patterns

Before merges apply, a text is cut into pretokens: stretches that no token crosses. A pattern is the regular expression
whose matches are the pretokens; what it does not match becomes pretokens of its own, so no text is lost. `pattern=`
takes a name of this list or an expression.

## Named patterns

"""

_AFTER = """
## Names, spellings and other expressions

The named patterns have a hand-written scanner, and so has every spelling of them that is known to be the same split.
Any other expression is run by the `regex` module, which is slow and follows its own version of Unicode; the first use
warns.

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
ValueError: no pattern is named 'llama'; there are [...], or give an expression

```

cl100k_base differs from llama3 where blanks follow a newline at the end of a text.
"""


def page() -> str:
    """The page, Markdown."""
    entries = []
    for name, pattern in PATTERNS.items():
        expressions = [pattern.regex] if isinstance(pattern.regex, str) else list(pattern.regex)
        used_by = f"\nUsed by {MODELS[name]}.\n" if name in MODELS else ""
        entries.append(f"### {name}\n{used_by}\n```text\n" + "\n".join(expressions) + "\n```\n")
    return _BEFORE + "\n".join(entries) + _AFTER


if __name__ == "__main__":
    PAGE.write_text(page())
