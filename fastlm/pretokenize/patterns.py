"""Pre-tokenization patterns: how a text is split into pretokens, and by which scanner.

A pattern is a regular expression, or a sequence of them. Each expression splits the parts that the previous one made,
at its matches, as if a part were the whole text. The named patterns have a hand-written scanner. The `regex` module
runs the others, or, if they come from a tokenizer.json, the matcher in `oniguruma`. Text that an expression does not
match becomes pretokens, so that encoding never loses text.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NewType, TypeAlias

import numpy as np

from fastlm._arguments import did_you_mean
from fastlm._types import Int64Array
from fastlm.forks import no_fork
from fastlm.pretokenize import _scan
from fastlm.pretokenize.regex_splitter import RegexSplitter, compile_expression

if TYPE_CHECKING:
    from fastlm.pretokenize.oniguruma import OnigurumaSplitter

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
R50K = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
# The Digits pre-tokenizer of tokenizers knows the numbers of Unicode 17. Expressions do not know the last thirteen
DIGITS = "[\\p{N}\U00011de0-\U00011de9\U00016ff4-\U00016ff6]"
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
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KIMI_K2 = r"[\p{Han}]+|" + O200K.replace(r"\p{M}]", r"\p{M}&&[^\p{Han}]]").replace(r"[\r\n/]*", r"[\r\n]*")
DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)


Syntax: TypeAlias = Literal["regex", "oniguruma"]
"""The syntax of expressions: of Python's `regex` module, or of the Oniguruma in tokenizers (for tokenizer.json)."""


@dataclass(frozen=True)
class Pattern:
    """How texts are split into pretokens.

    Attributes:
        splits: The expressions.
        name: The name, or None if it has none.
        scanner: The scanner, one of _scan.SCANNERS, or None if a matcher of expressions does the work.
        onig_splits: The expressions in the syntax of Oniguruma, if that differs.
        models: Models that use the pattern.
        syntax: The syntax of `splits`.
    """

    splits: tuple[str, ...]
    name: str | None = None
    scanner: str | None = None
    onig_splits: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    syntax: Syntax = "regex"

    @property
    def regex(self) -> str:
        """The expression; or the expressions as a JSON array, which `find_pattern` reads."""
        return self.splits[0] if len(self.splits) == 1 else json.dumps(self.splits, ensure_ascii=False)

    @property
    def specification(self) -> str:
        """`regex`, or a JSON object if `regex` does not tell the syntax. `find_pattern` reads it back as the same."""
        if self.syntax == "oniguruma":
            return json.dumps({self.syntax: self.splits}, ensure_ascii=False)
        return self.regex

    @property
    def canonical_regex(self) -> str:
        """The expression for fingerprints: one for all patterns with the same scanner, as these split alike."""
        if self.scanner is None:
            return self.regex
        return next(pattern.regex for pattern in PATTERNS.values() if pattern.scanner == self.scanner)

    @property
    def for_onig(self) -> tuple[str, ...]:
        """The expressions for Oniguruma, which `tokenizers` uses. There $ ends a line and {1,3}+ repeats."""
        return self.onig_splits or self.splits

    @property
    def changes_text(self) -> bool:
        """Whether pretokens, joined, may differ from the text."""
        return False

    @property
    def needs_position(self) -> bool:
        """Whether pretokens depend on where in a text they are."""
        return False

    def check_is_text(self) -> None:
        """Raises ValueError if the pattern is more than expressions, so that `find_pattern` cannot read it."""

    def find_ends(self, text: bytes) -> Int64Array:
        """Returns the end of each pretoken of UTF-8 text, int64 (pretokens,), in bytes.

        Raises:
            InvalidUTF8Error: The text is not UTF-8.
        """
        if self.scanner:
            return _scan.pretoken_ends(text, self.scanner)
        if self.splits == WHOLE_TEXT.splits:
            _scan.check_utf8(text)
            return np.array([len(text)] if text else [], np.int64)
        return _splitter(self.splits, self.syntax).ends(text)

    def safe_start(self, text: bytes | memoryview, limit: int) -> int:
        """Returns the last offset in (0, limit] at which a pretoken starts whatever follows, or 0 if none is known.

        For a pattern without a scanner none is known. `text` must begin at the start of a pretoken.
        """
        return _scan.safe_start(text, limit, self.scanner) if self.scanner else 0


@functools.lru_cache(maxsize=64)
def _splitter(splits: tuple[str, ...], syntax: Syntax) -> RegexSplitter | OnigurumaSplitter:
    """The splitter of a pattern without a scanner. Warns once for each pattern that the `regex` module runs."""
    if syntax == "regex":
        return RegexSplitter(splits, stacklevel=3)
    splitter: OnigurumaSplitter = _oniguruma().OnigurumaSplitter(splits)
    return splitter


def _oniguruma() -> Any:
    """The package `oniguruma`, which most vocabularies do not need."""
    with no_fork:
        from fastlm.pretokenize import oniguruma
    return oniguruma


PATTERNS: dict[str, Pattern] = {
    pattern.name: pattern
    for pattern in (
        Pattern((GPT2,), "gpt2", "gpt2", models=("GPT-2", "CS336", "GPT-Neo", "GPT-J", "OPT", "MPT", "OLMo")),
        Pattern((R50K,), "r50k_base", "gpt2", models=("GPT-3", "Codex (p50k_base)")),
        Pattern(
            (DIGITS, GPT2),
            "starcoder",
            "starcoder",
            models=("StarCoder", "SmolLM", "Command R", "Refact", "CodeShell", "Granite Code"),
        ),
        Pattern((r"\p{N}", GPT2), "gpt2-digits", "gpt2-digits", models=("starcoder as llama.cpp splits it",)),
        Pattern(
            (CL100K,), "cl100k_base", "cl100k", (CL100K_ONIG,), models=("GPT-4", "GPT-3.5 Turbo", "text-embedding-3")
        ),
        Pattern((LLAMA3,), "llama3", "llama3", models=("Llama 3 to 3.3", "GLM-4", "DBRX")),
        Pattern((QWEN2,), "qwen2", "qwen2", models=("Qwen2", "Qwen2.5", "Qwen3", "StableLM 2")),
        Pattern((QWEN35,), "qwen3.5", "qwen3.5", models=("Qwen3.5", "Qwen3.6")),
        Pattern((MINBPE_GPT4,), "minbpe-gpt4", "llama3", models=("minbpe", "rustbpe")),
        Pattern((NANOCHAT,), "nanochat", "nanochat", models=("nanochat",)),
        Pattern(
            (O200K,),
            "o200k_base",
            "o200k",
            models=("GPT-4o", "GPT-4.1", "GPT-5", "gpt-oss", "Llama 4", "MiniMax-M2", "Kanana 2"),
        ),
        Pattern((TEKKEN,), "tekken", "tekken", models=("Mistral NeMo", "Pixtral", "Ministral")),
        Pattern((KIMI_K2,), "kimi-k2", "kimi", models=("Kimi K2", "Kimi K2.5", "Kimi-VL", "Moonlight")),
        Pattern(DEEPSEEK_V3, "deepseek-v3", "deepseek", models=("DeepSeek-V3", "DeepSeek-R1", "Hunyuan")),
    )
    if pattern.name
}
"""The named patterns. cl100k_base differs from llama3 if spaces follow a newline at the end of a text."""
ALIASES = {
    "cs336": "gpt2",
    "p50k_base": "r50k_base",
    "p50k_edit": "r50k_base",
    "smollm": "starcoder",
    "command-r": "starcoder",
    "qwen2.5": "qwen2",
    "qwen3": "qwen2",
    "qwen3.6": "qwen3.5",
    "o200k_harmony": "o200k_base",
    "gpt-oss": "o200k_base",
    "llama4": "o200k_base",
    "minimax-m2": "o200k_base",
    "deepseek-r1": "deepseek-v3",
}
"""Other names of the patterns."""

PatternName: TypeAlias = Literal[
    "gpt2", "r50k_base", "starcoder", "gpt2-digits", "cl100k_base", "llama3", "qwen2", "qwen3.5", "minbpe-gpt4",
    "nanochat", "o200k_base", "tekken", "kimi-k2", "deepseek-v3", "cs336", "p50k_base", "p50k_edit", "smollm",
    "command-r", "qwen2.5", "qwen3", "qwen3.6", "o200k_harmony", "gpt-oss", "llama4", "minimax-m2", "deepseek-r1",
]  # fmt: skip
"""The keys of PATTERNS and ALIASES, for type checkers."""

Expression = NewType("Expression", str)
"""The type of a regular expression: `Expression(r"\\S+|\\s+")`. A str that is not an Expression must be a name, so that
type checkers find misspelled names. At run time both are str."""

PatternLike: TypeAlias = PatternName | Expression | list[str] | tuple[str, ...]
"""The name of a pattern, a regular expression, or a sequence of them."""

# other spellings of one split: tiktoken's first one, CS336's, and llama.cpp's, which leaves single spaces unmatched
_GPT2_SPELLINGS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    GPT2.removesuffix(r"|\s+"),
)
_BY_SPLITS = {splits: pattern for pattern in PATTERNS.values() for splits in (pattern.splits, pattern.for_onig)}
for _spelling in _GPT2_SPELLINGS:
    _BY_SPLITS[_spelling,] = PATTERNS["gpt2"]
    _BY_SPLITS[r"\p{N}", _spelling] = PATTERNS["gpt2-digits"]
# with newlines instead of their escapes
_BY_SPLITS[tuple(split.replace(r"\r\n", "\r\n") for split in DEEPSEEK_V3)] = PATTERNS["deepseek-v3"]


# what tokenizers reads in another way than `regex` means something else in a tokenizer.json
_BY_ONIG_SPLITS = {
    splits: pattern for splits, pattern in _BY_SPLITS.items() if splits != pattern.splits or not pattern.onig_splits
}
WHOLE_TEXT = Pattern((r"(?s:.+)",), onig_splits=(r"(?m:.+)",))
"""Does not split: a text is one pretoken."""
_BY_SPLITS[WHOLE_TEXT.splits] = _BY_ONIG_SPLITS[WHOLE_TEXT.onig_splits] = WHOLE_TEXT


def covering_scanner(expression: str) -> str | None:
    """The scanner of an expression in Oniguruma's syntax, if the matches of the expression leave no text out."""
    found = _BY_ONIG_SPLITS.get((expression,))
    # other spellings than the first may leave whitespace out
    return found.scanner if found is not None and found.for_onig == (expression,) else None


def find_pattern(pattern: str | Sequence[str], syntax: Syntax = "regex") -> Pattern:
    """Finds a pattern.

    Args:
        pattern: A name or an alias, a regular expression, a sequence of them, a JSON array of them, or a
            `Pattern.specification`.
        syntax: The syntax of the expressions.

    Raises:
        TypeError: The pattern has another type.
        ValueError: The name is unknown, or an expression is not a regular expression or not supported.
    """
    if isinstance(pattern, str):
        name = ALIASES.get(pattern, pattern)
        if name in PATTERNS:
            return PATTERNS[name]
        if re.fullmatch(r"[A-Za-z][\w.-]*", name):
            names = sorted([*PATTERNS, *ALIASES])
            hint = did_you_mean(name, names)
            raise ValueError(f"no pattern is named {name!r}{hint}; there are {names}, or give an expression")
        return _find_splits(*_parse(pattern, syntax))
    if not isinstance(pattern, Sequence) or not all(isinstance(split, str) for split in pattern) or not pattern:
        raise TypeError(f"pattern must be a name or regular expressions, got {type(pattern).__name__}")
    return _find_splits(tuple(pattern), syntax)


def _parse(text: str, syntax: Syntax) -> tuple[tuple[str, ...], Syntax]:
    """The expressions of a JSON array of two or more strings or of a JSON object, or the text, and the syntax."""
    try:
        parsed: object = json.loads(text) if text.startswith(("[", '{"oniguruma"')) else None
    except (ValueError, RecursionError):
        parsed = None
    splits = parsed.get("oniguruma") if isinstance(parsed, dict) and len(parsed) == 1 else parsed
    if isinstance(splits, list) and all(isinstance(split, str) for split in splits):
        if splits and parsed is not splits:
            return tuple(splits), "oniguruma"
        if len(splits) > 1:
            return tuple(splits), syntax
    return (text,), syntax


def _find_splits(splits: tuple[str, ...], syntax: Syntax) -> Pattern:
    """Returns the named pattern of these expressions, or a pattern for a matcher of expressions."""
    is_onig = syntax == "oniguruma"
    known = (_BY_ONIG_SPLITS if is_onig else _BY_SPLITS).get(splits)
    if known:
        return known
    for split in splits:
        if is_onig:
            _oniguruma().compile_expression(split)
        else:
            compile_expression(split)
    return Pattern(splits, syntax=syntax)
