"""`fastlm tokenize`: prints the tokens of a text."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from fastlm.commands.colours import coloured, has_colours
from fastlm.commands.output import note, say
from fastlm.text.plural import plural
from fastlm.text.shown import shown

if TYPE_CHECKING:
    from fastlm.tokenizer import Tokenizer

SEPARATOR = "|"
"""Between tokens where there are no colours."""


def tokenize(
    text: Annotated[Positional[str], arg(metavar="TEXT|FILE|-")],
    /,
    tokenizer: Path,
    on_special: Literal["token", "text", "raise"] = "token",
    add_special_tokens: bool = False,
    json: bool = False,
) -> None:
    """Print the tokens and ids of a text. On a terminal the tokens are coloured, unless NO_COLOR is set.

    Whitespace has signs, and control characters are written as escapes.

    Args:
        text: A text, the name of a file with UTF-8 text, or - for standard input.
        tokenizer: Directory or file of the tokenizer, or name of a model in the Hub's local cache.
        on_special: What becomes of special tokens in the text: their ids, ordinary text, or an error.
        add_special_tokens: Add the ids that begin and end a text.
        json: Print one JSON object: ids, and for each token its bytes in hexadecimal and its place in the text.
    """
    from fastlm import InvalidUTF8Error, load

    loaded = load(tokenizer)
    content = _content(text)
    try:
        ids, spans = loaded.encode_with_offsets(content, on_special=on_special)
    except InvalidUTF8Error as error:
        raise ValueError(f"{text}: {error}") from None
    found, places = ids.tolist(), spans.tolist()
    if add_special_tokens:
        rules = loaded.vocabulary.rules
        end = len(content.decode())
        found = [*rules.begin, *found, *rules.end]
        places = [*([0, 0] for _ in rules.begin), *places, *([end, end] for _ in rules.end)]
    if json:
        say(dumps(_description(loaded, content, found, places)))
        return
    _print_tokens([loaded.vocabulary.bytes_of(token_id) for token_id in found])
    say(f"ids: {' '.join(map(str, found))}")
    size = f", {len(content) / len(found):.2f} bytes per token" if found else ""
    say(f"{plural(len(found), 'token')}, {plural(len(content), 'byte')}{size}")


def _content(text: str) -> bytes:
    """The bytes of a text that is given, of a file, or of standard input."""
    if text == "-":
        return sys.stdin.buffer.read()
    path = Path(text)
    try:
        is_file = path.is_file()
    except OSError:  # a long text is no name of a file
        is_file = False
    if is_file:
        return path.read_bytes()
    if path.suffix and " " not in text and len(path.suffix) <= 5:
        note(f"no file is named {text}; its name is the text")
    return os.fsencode(text)


def _print_tokens(tokens: list[bytes]) -> None:
    """Prints tokens, and begins a new line after each token that ends with a newline."""
    cuts = [0, *(k + 1 for k, token in enumerate(tokens) if token.endswith(b"\n")), len(tokens)]
    colours = has_colours(sys.stdout)
    for start, end in pairwise(cuts):
        if start == end:
            continue
        parts = list(map(shown, tokens[start:end]))
        encoding = sys.stdout.encoding or "utf-8"
        safe = [part.encode(encoding, "backslashreplace").decode(encoding) for part in parts]
        print(coloured(safe) if colours else SEPARATOR.join(safe))


def _description(tokenizer: Tokenizer, content: bytes, ids: list[int], places: list[list[int]]) -> dict[str, Any]:
    """What --json prints."""
    tokens = [
        {"id": token_id, "token": shown(token), "bytes": token.hex(), "start": start, "end": end}
        for token_id, (start, end) in zip(ids, places, strict=True)
        for token in [tokenizer.vocabulary.bytes_of(token_id)]
    ]
    return {"ids": ids, "tokens": tokens, "bytes": len(content)}
