"""The `fastlm` command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from fastlm.commands.account import account
from fastlm.commands.chat import chat
from fastlm.commands.check import check
from fastlm.commands.count import count
from fastlm.commands.decode import decode
from fastlm.commands.demo import demo
from fastlm.commands.encode import encode
from fastlm.commands.faults import line_of, with_blame
from fastlm.commands.generate import generate
from fastlm.commands.logs import logged, split_log_options
from fastlm.commands.merge import merge
from fastlm.commands.output import note
from fastlm.commands.overview import overview
from fastlm.commands.parse import USAGE_ERROR, options_of, parsed, print_completion, unknown_command
from fastlm.commands.plan import plan
from fastlm.commands.replay import replay
from fastlm.commands.report import report
from fastlm.commands.run import run
from fastlm.commands.tokenize import tokenize
from fastlm.commands.train import train
from fastlm.commands.train_tokenizer import train_tokenizer
from fastlm.commands.verify import verify
from fastlm.commands.view import view
from fastlm.commands.weights import export_model, import_model
from fastlm.interrupts import INTERRUPTS, Terminated

COMMANDS: dict[str, Callable[..., Any]] = {
    "train-tokenizer": train_tokenizer,
    "encode": encode,
    "verify": verify,
    "merge": merge,
    "decode": decode,
    "count": count,
    "tokenize": tokenize,
    "view": view,
    "check": check,
    "demo": demo,
    "account": account,
    "plan": plan,
    "report": report,
    "export": export_model,
    "import": import_model,
    "generate": generate,
    "chat": chat,
    "train": train,
    "run": run,
    "replay": replay,
}

# exit codes of a shell for a process that SIGINT, SIGPIPE and SIGTERM end
INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143


def main(args: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        args: The arguments; by default sys.argv.

    Returns:
        The exit code, one of faults.EXIT_CODES.

    Raises:
        SystemExit: tyro printed the help of a command or an error in its arguments.
    """
    arguments = sys.argv[1:] if args is None else args
    try:
        arguments, logs = split_log_options(arguments)
    except ValueError as error:
        note(str(error))
        return 1
    with logged(logs):
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    """Runs a command and returns the exit code."""
    name = arguments[0] if arguments else ""
    try:
        if name not in COMMANDS:
            return _without_command(arguments)
        parsed(name, COMMANDS[name], arguments[1:])()
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except INTERRUPTS as error:
        is_terminated = isinstance(error, Terminated)
        what = "terminated" if is_terminated else "interrupted"
        note(f"{what}: {error.args[0] if error.args else 'nothing to resume; the same command starts again'}", "error")
        return TERMINATED if is_terminated else INTERRUPTED
    except Exception as error:
        line = line_of(error, lambda: options_of(name, COMMANDS[name]) if name in COMMANDS else ())
        if line is None:
            raise
        _discard_output()
        note(with_blame(line, arguments), "error")
        return 1
    return 0


def _without_command(arguments: list[str]) -> int:
    """Handles a command line that begins with no command; returns the exit code."""
    name = arguments[0] if arguments else ""
    if name == "--version":
        from fastlm import __version__

        print(f"fastlm {__version__}")
    elif name in ("-h", "--help"):
        print(overview(COMMANDS))
    elif name.startswith("--tyro-"):
        print_completion(COMMANDS, arguments)
    elif not name:
        print(overview(COMMANDS), file=sys.stderr)
        return USAGE_ERROR
    else:
        unknown_command(name, COMMANDS)
        return USAGE_ERROR
    sys.stdout.flush()
    return 0


def _discard_output() -> None:
    """Gives up the buffered output if it cannot be written, as to a full disk."""
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - in use until the process ends


if __name__ == "__main__":
    sys.exit(main())
