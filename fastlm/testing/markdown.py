"""A comparison as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from fastlm.testing.results import Comparison, Cost, Difference, TrainingResult
from fastlm.text.shown import shown

MOST_SHOWN = 20
"""Tokens, pretokens or merges of one text."""
LONGEST_TEXT, LONGEST_TOKEN = 200, 60
"""Characters of a text and of a token."""


def markdown_of(comparison: Comparison) -> str:
    """The comparison as Markdown, for a pull request."""
    return "\n".join(_lines(comparison)) + "\n"


def _lines(found: Comparison) -> Iterator[str]:
    yield f"### fastlm check: {code(found.tokenizer)}"
    yield ""
    verdict = "All ids are equal." if not any(row.differing_texts for row in found.results) else "**Ids differ.**"
    texts = f"{found.texts:,} text{'s' if found.texts > 1 else ''}"
    yield f"{verdict} {texts}, {found.text_bytes:,} bytes, {found.ids:,} ids."
    yield ""
    yield "| library | tokenizer made from | texts that differ | MB per CPU second | wall s | memory |"
    yield "|---|---|--:|--:|--:|--:|"
    yield f"| fastlm {found.version} | {code(found.tokenizer)} | | {_cost(found.cost, found.sample_bytes)} |"
    for row in found.results:
        differing = f"{row.differing_texts:,} of {found.texts:,}"
        cells = _cost(row.cost, found.sample_bytes)
        yield f"| {row.library} {row.version} | {cell(row.source)} | {differing} | {cells} |"
    for name, reason in found.skipped.items():
        yield f"| {name} | not compared: {cell(reason)} | | | | |"
    yield ""
    if found.cost is not None:
        yield (
            f"One thread, medians of {found.cost.rounds} rounds in turns on {found.sample_bytes:,} bytes, after one "
            "round that is not timed. Memory: growth of a new process from the imported library to its peak."
        )
    yield f"{found.machine}."
    for row in found.results:
        for number, difference in enumerate(row.differences, 1):
            yield from _difference(difference, number)
    for result in found.training:
        yield from _training(result)


def _cost(cost: Cost | None, size: int) -> str:
    if cost is None:
        return "– | – | –"
    memory = f"{cost.memory_bytes / 1e6:,.0f} MB" if cost.memory_bytes else "–"
    return f"{size / 1e6 / max(cost.cpu_seconds, 1e-9):,.1f} | {cost.wall_seconds:.3f} | {memory}"


def _difference(found: Difference, number: int) -> Iterator[str]:
    yield ""
    yield f"#### Difference {number} from {found.library}: {found.kind}"
    yield ""
    yield f"Text {found.text_index}, character {found.character:,}, in {code(shown(found.around.encode()))}"
    yield ""
    yield f"Smallest text found: {code(short(shown(found.smallest.encode()), LONGEST_TEXT))}"
    yield ""
    yield f"| | fastlm | {found.library} |"
    yield "|---|---|---|"
    yield f"| tokens | {_codes(found.our_tokens)} | {_codes(found.their_tokens)} |"
    yield f"| ids | {_ids(found.ours)} | {_ids(found.theirs)} |"
    if found.our_pretokens:
        yield f"| pretokens | {_codes(found.our_pretokens)} | {_codes(found.their_pretokens)} |"
    if found.our_merges or found.their_merges:
        yield f"| merges | {_merges(found.our_merges)} | {_merges(found.their_merges)} |"
    yield ""
    yield from (f"- {plain(reason)}" for reason in found.reasons)


def _codes(tokens: list[str]) -> str:
    shortened = tokens[:MOST_SHOWN] + (["…"] if len(tokens) > MOST_SHOWN else [])
    return " ".join(code(short(token, LONGEST_TOKEN)) for token in shortened)


def _merges(merges: list[str]) -> str:
    return "<br>".join(map(cell, merges[:MOST_SHOWN] + (["…"] if len(merges) > MOST_SHOWN else [])))


def _ids(ids: list[int]) -> str:
    return " ".join(map(str, ids[:MOST_SHOWN])) + (" …" if len(ids) > MOST_SHOWN else "")


def _training(result: TrainingResult) -> Iterator[str]:
    yield ""
    yield f"#### Training to {result.vocab_size:,} tokens: fastlm and {result.library} {result.version}"
    yield ""
    if result.difference is None:
        yield f"All {result.our_merges:,} merges are equal."
    else:
        yield f"**Merge {result.difference.index:,} differs.** {plain(result.difference.reason)}"
    yield ""
    yield f"CPU seconds: fastlm {result.our_seconds:.2f}, {result.library} {result.their_seconds:.2f}."


def short(text: str, most: int) -> str:
    """The text, or its beginning and its length."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def code(text: str) -> str:
    """Text as code, also for a cell of a table."""
    fence = "`"
    while fence in text:
        fence += "`"
    space = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def cell(text: str) -> str:
    """Plain text in a table."""
    return plain(text).replace("|", "\\|")


def plain(text: str) -> str:
    """Text in one line, in which Markdown and HTML have no meaning."""
    escaped = "".join(f"\\{char}" if char in "\\`*_<>[]#" else char for char in text)
    return " ".join(escaped.split())
