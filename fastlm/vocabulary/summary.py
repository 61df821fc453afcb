"""A vocabulary as a short piece of HTML, for notebooks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from html import escape

import numpy as np

from fastlm.text.shown import shown
from fastlm.vocabulary.vocabulary import Vocabulary

SAMPLE = "Tokenizers split text into tokens: lowercase, UPPERCASE, 12345.\n"
"""The text whose tokens the summary shows."""
MOST_NAMED = 8
LONGEST = 12
_COLOURS = ("#d8e6ff", "#d9f2dc", "#ffe9c7", "#f6dbf0", "#d6f1f1", "#ece4fb")
_MONOSPACE = "font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"


def summary_html(vocabulary: Vocabulary, sample_ids: Iterable[int]) -> str:
    """What decides ids, the ids of SAMPLE, and the longest words among the tokens, as HTML without scripts and links.

    Args:
        vocabulary: The vocabulary.
        sample_ids: The ids of SAMPLE.
    """
    longest = itertools.islice(_words(vocabulary), LONGEST)
    added = [escape(shown(token.content.encode())) for token in vocabulary.added_tokens]
    names = ", ".join(added[:MOST_NAMED]) + (f" and {len(added) - MOST_NAMED} more" if len(added) > MOST_NAMED else "")
    rows = [
        ("vocabulary", f"{int((vocabulary.token_lengths > 0).sum()):,} tokens, {len(vocabulary.merge_new):,} merges"),
        ("pattern", escape(vocabulary.pattern.name or vocabulary.pattern.regex)),
        ("added tokens", names or "none"),
        ("rules", escape(vocabulary.rules.changed()) or "default"),
        ("a sample", _tokens(vocabulary, sample_ids)),
        ("longest words", _tokens(vocabulary, longest)),
    ]
    cells = "".join(
        f'<tr><th style="text-align:left;vertical-align:top;padding-right:1em;white-space:nowrap">{name}</th>'
        f'<td style="text-align:left;overflow-wrap:anywhere">{value}</td></tr>'
        for name, value in rows
    )
    return f"<table><caption><b>fastlm.Tokenizer</b></caption><tbody>{cells}</tbody></table>"


def _words(vocabulary: Vocabulary) -> Iterator[int]:
    """The ids of tokens that are words, with or without a space before them, the longest first."""
    ordinary = vocabulary.ordinary_ids
    in_order = np.argsort(-vocabulary.token_lengths[ordinary], kind="stable")
    for token_id in ordinary[in_order].tolist():
        if vocabulary.bytes_of(token_id).decode("utf-8", "replace").removeprefix(" ").isalpha():
            yield token_id


def _tokens(vocabulary: Vocabulary, ids: Iterable[int]) -> str:
    """Tokens in colours. The id and the bytes of a token are its tooltip."""
    return " ".join(
        f'<span title="id {token_id}, bytes {token.hex(" ", 1)}" style="{_MONOSPACE};color:#1d2330;'
        f'background:{_COLOURS[k % len(_COLOURS)]};border-radius:3px;padding:0 2px">{escape(shown(token))}</span>'
        for k, token_id in enumerate(ids)
        for token in [vocabulary.bytes_of(token_id)]
    )
