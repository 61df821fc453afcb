"""The text of `fastlm --help`: the commands in groups, with examples."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

DESCRIPTION = "Train tokenizers and language models, encode corpora to token ids, and generate text."

GROUPS: dict[str, tuple[str, ...]] = {
    "Tokenizers": ("train-tokenizer", "tokenize", "count", "view", "check"),
    "Corpora": ("encode", "merge", "verify", "decode", "plan"),
    "Models": ("train", "run", "replay", "generate", "chat", "account", "export", "import"),
    "Tours": ("demo", "report"),
}
"""Heading -> commands below it. A command in no group is listed last."""

EXAMPLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Train a tokenizer", ("train-tokenizer", "corpus.txt", "--vocab-size", "10000", "--out", "tokenizer")),
    ("Encode a corpus", ("encode", "corpus.txt", "--tokenizer", "tokenizer", "--out", "ids")),
    ("Train a model", ("train", "config.toml", "--data", "ids", "--out", "run")),
    ("Generate text", ("generate", "run/model", "--prompt", "Once upon a time")),
)

OPTIONS = (
    ("-h, --help", "Describe the commands, or after a command its options."),
    ("--version", "Print the version."),
    ("--log-seconds SECONDS", "Seconds between two lines about the progress without a terminal; 30 by default."),
    ("--log-json", "Write each line of standard error as a JSON object."),
    ("--tyro-print-completion SHELL", "Print a script that completes commands and options in bash or zsh."),
)

_INDENT = "  "
MOST_COLUMNS = 100


def overview(commands: Mapping[str, Callable[..., Any]]) -> str:
    """The help text, as wide as the terminal.

    Args:
        commands: Name -> function. The first line of its docstring describes a command.
    """
    width = min(shutil.get_terminal_size().columns, MOST_COLUMNS)
    column = max(map(len, commands)) + 2
    lines = ["Usage: fastlm COMMAND [OPTIONS]", "", *textwrap.wrap(DESCRIPTION, width)]
    for heading, names in grouped(commands).items():
        rows = [(name, summary(commands[name])) for name in names]
        lines += ["", _heading(heading), *_table(rows, column, width)]
    lines += ["", _heading("Options"), *_table(OPTIONS, column, width), "", _heading("Examples")]
    for title, arguments in EXAMPLES:
        lines += [f"{_INDENT}{title}:", *_command_lines(("fastlm", *arguments), width)]
    return "\n".join([*lines, "", *textwrap.wrap("`fastlm COMMAND --help` describes a command.", width)])


def grouped(commands: Iterable[str]) -> dict[str, list[str]]:
    """Heading -> names of the commands below it."""
    names = list(commands)
    known = {name for group in GROUPS.values() for name in group}
    groups = {**GROUPS, "Other commands": tuple(name for name in names if name not in known)}
    found = {heading: [name for name in group if name in names] for heading, group in groups.items()}
    return {heading: group for heading, group in found.items() if group}


def summary(command: Callable[..., Any]) -> str:
    """The first line of the docstring of a command."""
    return (command.__doc__ or "").strip().partition("\n")[0]


def _heading(text: str) -> str:
    """The text, in bold on a terminal. The variable NO_COLOR turns that off, as https://no-color.org asks."""
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def _table(rows: tuple[tuple[str, str], ...] | list[tuple[str, str]], column: int, width: int) -> list[str]:
    lines = []
    for name, text in rows:
        start = " " * (len(_INDENT) + column)
        if len(name) < column:
            lines += textwrap.wrap(text, width, initial_indent=f"{_INDENT}{name:<{column}}", subsequent_indent=start)
        else:
            lines += [_INDENT + name, *textwrap.wrap(text, width, initial_indent=start, subsequent_indent=start)]
    return lines


def _command_lines(arguments: tuple[str, ...], width: int) -> list[str]:
    """A command for a shell, broken before options where it is too wide."""
    lines: list[str] = []
    current = _INDENT * 2
    for k, argument in enumerate(map(shlex.quote, arguments)):
        value = shlex.quote(arguments[k + 1]) if argument.startswith("--") and k + 1 < len(arguments) else ""
        if argument.startswith("--") and len(f"{current} {argument} {value} \\") > width:
            lines.append(f"{current} \\")
            current = _INDENT * 4 + argument
        else:
            current += argument if current.isspace() else f" {argument}"
    return [*lines, current]
