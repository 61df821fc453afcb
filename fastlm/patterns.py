"""Pre-tokenisation patterns: how a text is cut into pretokens, and by which scanner.

A pattern is a regular expression. The named ones have a hand-written scanner; any other expression is run by the
`regex` module, which is correct and slow. Text that an expression does not match becomes pretokens of its own, so
that encoding never loses text.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastlm import _scan
from fastlm._types import Int64Array

if TYPE_CHECKING:
    from regex import Pattern as CompiledRegex

# spellings of one split: as first published with GPT-2, in tiktoken, and in Stanford's CS336
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_GPT2_SPELLINGS = (
    GPT2,
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
)
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
CL100K_ONIG = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s+\z|\s*[\r\n]|\s+(?!\S)|\s"
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MINBPE_GPT4 = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
NANOCHAT = MINBPE_GPT4.replace("{1,3}", "{1,2}")


@dataclass(frozen=True)
class Pattern:
    """A way to cut text into pretokens. `name` and `scanner` are None where the `regex` module does the work."""

    regex: str
    name: str | None = None
    scanner: str | None = None
    onig_regex: str | None = None

    @property
    def for_onig(self) -> str:
        """The expression for Oniguruma, which `tokenizers` uses: there $ ends a line and {1,3}+ repeats."""
        return self.onig_regex or self.regex

    @functools.cached_property
    def _compiled(self) -> CompiledRegex[str]:
        import regex

        warnings.warn(
            f"no scanner for the pattern {self.regex!r}: the regex module {regex.__version__} splits the text, slowly "
            "and by its own version of Unicode",
            stacklevel=2,
        )
        return regex.compile(self.regex)

    def find_ends(self, text: bytes) -> Int64Array:
        """End offset of each pretoken of UTF-8 text.

        Raises ValueError naming the offset of the first byte that is not UTF-8.
        """
        if self.scanner:
            return _scan.pretoken_ends(text, self.scanner)
        return _regex_ends(self._compiled.finditer, text)

    def safe_start(self, text: bytes | memoryview, limit: int) -> int:
        """Last offset in (0, limit] where a pretoken starts whatever follows, 0 where none is known.

        For an expression without a scanner none ever is.
        """
        return _scan.safe_start(text, limit, self.scanner) if self.scanner else 0


def _regex_ends(finditer: Callable[[str], object], text: bytes) -> Int64Array:
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise _scan.invalid_utf8(text, error.start) from None
    cuts = {len(decoded)}
    for match in finditer(decoded):  # type: ignore[attr-defined]
        cuts.update(match.span())
    cuts.discard(0)
    ends = np.array(sorted(cuts), np.int64)
    if len(decoded) == len(text):
        return ends
    byte_offsets = np.flatnonzero((np.frombuffer(text, np.uint8) & 0xC0) != 0x80)
    return np.append(byte_offsets, len(text))[ends]


PATTERNS: dict[str, Pattern] = {
    "gpt2": Pattern(GPT2, "gpt2", "gpt2"),
    "cl100k_base": Pattern(CL100K, "cl100k_base", "cl100k", CL100K_ONIG),
    "llama3": Pattern(LLAMA3, "llama3", "llama3"),
    "qwen2": Pattern(QWEN2, "qwen2", "qwen2"),
    "qwen3.5": Pattern(QWEN35, "qwen3.5", "qwen3.5"),
    "minbpe-gpt4": Pattern(MINBPE_GPT4, "minbpe-gpt4", "llama3"),
    "nanochat": Pattern(NANOCHAT, "nanochat", "nanochat"),
}
"""The named patterns. cl100k_base differs from llama3 where blanks follow a newline at the end of a text."""
_BY_REGEX = {spelling: pattern for pattern in PATTERNS.values() for spelling in (pattern.regex, pattern.for_onig)}
_BY_REGEX |= dict.fromkeys(_GPT2_SPELLINGS, PATTERNS["gpt2"])


def find_pattern(name_or_regex: str | tuple[str, ...]) -> Pattern:
    """The pattern of this name, or of this regular expression.

    Raises ValueError where the expression is none.
    """
    if isinstance(name_or_regex, tuple) and len(name_or_regex) == 1:
        name_or_regex = name_or_regex[0]
    if not isinstance(name_or_regex, str):
        raise TypeError(f"pattern must be a name or a regular expression, not {type(name_or_regex).__name__}")
    known = PATTERNS.get(name_or_regex) or _BY_REGEX.get(name_or_regex)
    if known:
        return known
    if name_or_regex.isidentifier():
        raise ValueError(f"no pattern is named {name_or_regex!r}; there are {sorted(PATTERNS)}, or give an expression")
    import regex

    try:
        regex.compile(name_or_regex)
    except (regex.error, RecursionError) as error:
        raise ValueError(f"pattern {name_or_regex!r} is not a regular expression: {error}") from None
    return Pattern(name_or_regex)
