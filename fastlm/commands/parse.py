"""The arguments of a command, parsed by tyro, with suggestions for misspelled options."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tyro

from fastlm._arguments import did_you_mean
from fastlm.commands.helps import one_line_helps
from fastlm.commands.output import note
from fastlm.commands.overview import MOST_COLUMNS
from fastlm.text.escapes import escaped

USAGE_ERROR = 2
# the value of an option of `fastlm train` that was not given; a user cannot mean it
FROM_FILE = "from CONFIG"


def parsed(name: str, command: Callable[..., Any], arguments: Sequence[str]) -> Callable[[], Any]:
    """Parses the arguments of a command.

    Args:
        name: The name of the command.
        command: Its function. Options come from its signature, their help from its docstring.
        arguments: The arguments after the name.

    Returns:
        A function without arguments that runs the command.

    Raises:
        SystemExit: The help was printed, or an error, with the code USAGE_ERROR.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return _parse(name, command, arguments)
    except SystemExit as error:
        if error.code == USAGE_ERROR and (unknown := _unknown(arguments, options_of(name, command))):
            for option, hint in unknown:
                note(f"{name} has no option {option}{hint}")
            note(f"`fastlm {name} --help` describes the options")
        elif line := _wrong_value(printed.getvalue(), arguments):
            note(line)
        else:
            sys.stderr.write(_safe(printed.getvalue(), arguments))
        raise


def print_completion(commands: dict[str, Callable[..., Any]], arguments: Sequence[str]) -> None:
    """Prints or writes a completion script of all commands, as tyro's options in the arguments say."""
    deferred = {name: _deferred(one_line_helps(command)) for name, command in commands.items()}
    config = (tyro.conf.FlagCreatePairsOff,)
    tyro.extras.subcommand_cli_from_dict(deferred, prog="fastlm", args=list(arguments), config=config)


def options_of(name: str, command: Callable[..., Any]) -> set[str]:
    """The options of a command that its help names, such as --out."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        _parse(name, command, ["--help"])
    return set(re.findall(r"(?<![\w-])--[a-z](?:[\w.-]*\w)?", printed.getvalue()))


def unknown_command(name: str, commands: Iterable[str]) -> None:
    """Prints the error for an unknown command."""
    known = list(commands)
    what = "option" if name.startswith("-") else "command"
    note(f"no {what} {name!r}{'' if what == 'option' else did_you_mean(name, known)}; the commands: {', '.join(known)}")
    note("`fastlm --help` describes the commands")


def _parse(name: str, command: Callable[..., Any], arguments: Sequence[str]) -> Callable[[], Any]:
    if os.environ.get("NO_COLOR"):
        tyro._experimental_options["ansi_codes"] = False
    deferred = _deferred(one_line_helps(command))
    if {"-h", "--help"} & set(itertools.takewhile(lambda argument: argument != "--", arguments)):
        # tyro would print it as wide as it is
        print(_description(deferred.__doc__ or ""), end="\n\n")
    config = (tyro.conf.FlagCreatePairsOff,)  # a flag is off unless it is given, and needs no second name
    run: Callable[[], Any] = tyro.cli(
        deferred, prog=f"fastlm {name}", description="", args=list(arguments), config=config
    )
    return run


def _deferred(command: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """A function with the same signature and help that returns the call, so that only parsing happens inside tyro."""

    @functools.wraps(command)
    def deferred(*args: Any, **options: Any) -> Callable[[], Any]:
        return functools.partial(command, *args, **options)

    return deferred


def _description(docstring: str) -> str:
    """The text of a docstring before the arguments, at most as wide as the terminal."""
    width = min(shutil.get_terminal_size().columns, MOST_COLUMNS)
    paragraphs = docstring.partition("\nArgs:\n")[0].strip().split("\n\n")
    return "\n\n".join(textwrap.fill(" ".join(part.split()), width) for part in paragraphs)


def _unknown(arguments: Sequence[str], known: set[str]) -> list[tuple[str, str]]:
    """The arguments that look like options and are none, each with a suggestion."""
    found = []
    for argument in arguments:
        if argument == "--":
            break
        option = argument.partition("=")[0]
        if option.startswith("--") and option.replace("_", "-") not in known:
            found.append((option, did_you_mean(option, known)))
    return found


def _wrong_value(printed: str, arguments: Sequence[str]) -> str:
    """One line for an error of tyro about the value of an option; "" for other errors."""
    words = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", printed).split())
    if found := re.search(r"invalid choice '(.*)' for argument '([^']*)'\. Expected one of \((.*?),?\)\.", words):
        value, option = found[1], found[2].rpartition("/")[2]
        choices = sorted(set(re.findall(r"'([^']*)'", found[3])) - {FROM_FILE})
        return f"{option} is {value!r}{did_you_mean(value, choices)}; expected one of {', '.join(choices)}"
    found = re.search(r"Error parsing (--[\w./-]+): .* Argument helptext: --[\w.-]+ (\[(\w+) .*?\]\]|[^ ,]+)", words)
    if found is None:
        return ""
    names = found[1].split("/")
    given = [argument.partition("=") for argument in arguments]
    for k, (name, equals, value) in enumerate(given):
        if (option := name.replace("_", "-")) in names:
            shown = value if equals else arguments[k + 1] if k + 1 < len(arguments) else ""
            expected = f"one or more {found[3]}" if found[3] else found[2].replace("|", " or ")
            return f"{option} is {shown!r}; expected {expected}"
    return ""


def _safe(printed: str, arguments: Sequence[str]) -> str:
    """What tyro printed. It repeats wrong arguments as they are, so that control characters in them are escaped."""
    if all(escaped(argument) == argument for argument in arguments):
        return printed
    return "".join(escaped(line) + "\n" for line in printed.splitlines())
