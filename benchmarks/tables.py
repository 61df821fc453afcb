"""Figures and tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Entry = dict[str, Any]
"""The result of one benchmark: its extra_info."""
Row = Sequence[str]


def select(entries: Iterable[Entry], **wanted: object) -> list[Entry]:
    """The entries with these values."""
    return [entry for entry in entries if all(entry.get(key) == value for key, value in wanted.items())]


def distinct(entries: Iterable[Entry], *keys: str) -> list[tuple[Any, ...]]:
    """The distinct values of these keys, in order."""
    return list(dict.fromkeys(tuple(entry[key] for key in keys) for entry in entries))


def threads_of(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"


def number(value: float) -> str:
    """About three digits."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def table(rows: Sequence[Row], words: int = 1) -> str:
    """A Markdown table whose first `words` columns are text and whose others are figures."""
    head, *body = rows
    rule = [*["---"] * words, *["---:"] * (len(head) - words)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])
