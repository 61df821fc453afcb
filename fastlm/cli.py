"""The `fastlm` command line."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import tyro

from fastlm.commands.account import account
from fastlm.commands.count import count
from fastlm.commands.decode import decode
from fastlm.commands.demo import demo
from fastlm.commands.encode import encode
from fastlm.commands.generate import generate
from fastlm.commands.helps import one_line_helps
from fastlm.commands.logs import logged, split_log_options
from fastlm.commands.output import escaped_errors, note
from fastlm.commands.plan import plan
from fastlm.commands.report import report
from fastlm.commands.tokenize import tokenize
from fastlm.commands.train import train
from fastlm.commands.train_tokenizer import train_tokenizer
from fastlm.commands.verify import verify
from fastlm.commands.view import view
from fastlm.commands.weights import export_model, import_model
from fastlm.interrupts import INTERRUPTS, Terminated
from fastlm.text.escapes import escaped

COMMANDS: dict[str, Callable[..., Any]] = {
    "train-tokenizer": train_tokenizer,
    "encode": encode,
    "verify": verify,
    "decode": decode,
    "count": count,
    "tokenize": tokenize,
    "view": view,
    "demo": demo,
    "account": account,
    "plan": plan,
    "report": report,
    "export": export_model,
    "import": import_model,
    "generate": generate,
    "train": train,
}

DESCRIPTION = """Train tokenizers and language models, encode corpora to token ids, and generate text.
`fastlm COMMAND --help` describes the options of a command; `fastlm --version` prints the version.
Without a terminal, long commands print a line about their progress every 30 seconds. Two options of every command
change this: --log-seconds SECONDS, and --log-json, which writes each line of the standard error as a JSON object."""

# the extra of pip install that brings a package
EXTRAS = {
    "torch": "model",
    "safetensors": "model",
    "pyarrow": "data",
    "orjson": "data",
    "fsspec": "data",
    "jinja2": "report",
    "matplotlib": "report",
}

# exit codes of a shell for a process that SIGINT, SIGPIPE and SIGTERM end
INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143


def main(args: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        args: The arguments; by default sys.argv.

    Returns:
        The exit code: 0; 1 for an error, which is printed as one line; 130 after Ctrl-C; 141 where standard output was
        closed; 143 after SIGTERM.
    """
    arguments = sys.argv[1:] if args is None else args
    if arguments == ["--version"]:
        from fastlm import __version__

        print(f"fastlm {__version__}")
        return 0
    try:
        arguments, logs = split_log_options(arguments)
    except ValueError as error:
        note(str(error))
        return 1
    with logged(logs):
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    """Runs a command and returns the exit code."""
    try:
        commands = {name: _deferred(one_line_helps(command)) for name, command in COMMANDS.items()}
        # tyro repeats wrong arguments as they are
        with escaped_errors() if any(map(_acts_on_terminals, arguments)) else nullcontext():
            run = tyro.extras.subcommand_cli_from_dict(commands, prog="fastlm", description=DESCRIPTION, args=arguments)
        run()
        sys.stdout.flush()
    except BrokenPipeError:
        # whatever is still buffered has no reader
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - in use until the process ends
        return BROKEN_PIPE
    except INTERRUPTS as error:
        is_terminated = isinstance(error, Terminated)
        name = "terminated" if is_terminated else "interrupted"
        note(f"{name}: {error.args[0] if error.args else 'nothing to resume; the same command starts again'}", "error")
        return TERMINATED if is_terminated else INTERRUPTED
    except (ValueError, TypeError, KeyError, OSError, MemoryError, RuntimeError, ModuleNotFoundError) as error:
        message = _message(error)
        if message is None:
            raise
        note(message, "error")
        return 1
    return 0


def _deferred(command: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """A function with the same signature and help that returns the call, so that only parsing happens inside tyro."""

    @functools.wraps(command)
    def deferred(*args: Any, **options: Any) -> Callable[[], Any]:
        return functools.partial(command, *args, **options)

    return deferred


def _acts_on_terminals(argument: str) -> bool:
    return escaped(argument) != argument


def _message(error: Exception) -> str | None:
    """One line for an error that a user can cause; None for an error of the program."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            return None
        return f"{package} is not installed; pip install 'fastlm[{EXTRAS[package]}]'"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    first = (text.strip().splitlines() or [""])[0]
    if isinstance(error, MemoryError):
        return f"out of memory{': ' + first if first else ''}"
    if isinstance(error, RuntimeError):
        # torch raises RuntimeError for a lack of memory and of a compiler
        if "memory" in text:
            return f"out of memory: {first}"
        is_of_torch = any(type_.__module__.partition(".")[0] == "torch" for type_ in type(error).__mro__)
        return first if is_of_torch else None
    return escaped(text) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
