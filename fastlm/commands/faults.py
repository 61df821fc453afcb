"""Errors that a user can cause, as one line; and the exit codes of the command."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Sequence

from fastlm._extras import install_command
from fastlm.text.escapes import escaped

EXTRAS = {
    "regex": "regex",
    "torch": "model",
    "safetensors": "model",
    "numba": "model",
    "llvmlite": "model",
    "pyarrow": "data",
    "orjson": "data",
    "fsspec": "data",
    "ray": "dist",
    "matplotlib": "report",
    "jinja2": "report",
    "tensorboard": "report",
    "huggingface_hub": "hub",
    "transformers": "transformers",
    "tokenizers": "transformers",
}
"""Package -> the extra that brings it."""

EXIT_CODES = {
    0: "The command succeeded.",
    1: "The command failed. One line on standard error names the cause.",
    2: "The command line is wrong: an unknown command or option, a missing argument, or a value of another type.",
    130: "Ctrl-C interrupted the command.",
    141: "The reader of standard output went away, as `head` does.",
    143: "SIGTERM ended the command.",
}
"""Exit code -> its meaning. From 130 on they are the codes of a shell for a process that a signal ends."""

# packages whose errors are about networks, services and files of users
_SERVICES = {"aiohttp", "botocore", "google", "gcsfs", "httpcore", "httpx", "huggingface_hub", "pyarrow", "ray"}
_SERVICES |= {"requests", "s3fs", "urllib3"}

# part of a message -> the option that helps, where the command has it
_REMEDIES = (
    (r"no (?:field|column) '", "--field", "--field names the field or column of the text"),
    (r"resume is not given", "--resume", "--resume continues from it"),
    (r"line \d+: not JSON", "--kind", "--kind text reads it as text"),
)


def line_of(error: Exception, options: Callable[[], Collection[str]]) -> str | None:
    """One line for an error that a user can cause; None for an error of the program.

    Args:
        error: The error.
        options: Gives the options of the command, such as --out.
    """
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            return None
        return f"{package} is not installed; {install_command(EXTRAS[package])}"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    first = (text.strip().splitlines() or [""])[0]
    if isinstance(error, MemoryError):
        return f"out of memory{': ' + first if first else ''}"
    if isinstance(error, RuntimeError) and not _is_of(error, _SERVICES):
        # torch raises RuntimeError for a lack of memory and of a compiler
        if "memory" in text:
            return f"out of memory: {first}"
        return first if _is_of(error, {"torch"}) else None
    if isinstance(error, OSError) and error.errno is not None and error.strerror and error.filename is not None:
        names = [name for name in (error.filename, error.filename2) if name is not None]
        reason = error.strerror[0].lower() + error.strerror[1:]
        return escaped(with_options(f"{' -> '.join(map(_shown, names))}: {reason}", options))
    if isinstance(error, ValueError | TypeError | KeyError | OSError):
        return escaped(with_options(text, options)) or type(error).__name__
    return f"{type(error).__name__}: {escaped(first)}" if _is_of(error, _SERVICES) else None


def with_options(message: str, options: Callable[[], Collection[str]]) -> str:
    """A message of a Python function in words of the command line.

    An argument at its beginning becomes the option of that name, and an option that helps is named at its end.
    """
    message = re.sub(r"^field '(\w+)' is missing", r"\1 is missing", message)
    start = re.match(r"([a-z][a-z0-9_.]*)(?:=True)?(?= )", message)
    remedies = [remedy for remedy in _REMEDIES if re.search(remedy[0], message)]
    known = options() if start or remedies else ()
    if start and (name := f"--{start[1].replace('_', '-')}") in known:
        message = name + message[start.end() :]
    hints = [hint for _, option, hint in remedies if option in known]
    return "; ".join([message, *hints])


def with_blame(message: str, arguments: Sequence[str]) -> str:
    """A message that begins with the value of an option, such as a path, with the option before it."""
    for option, value in itertools.pairwise(arguments):
        if option.startswith("--") and value and re.match(rf"{re.escape(escaped(value))}(?=[:, ])", message):
            return f"{option} {message}"
    # a file of fields is not to blame for a field that an option has replaced
    field = re.match(r"(?:.*?: )?(model: )?([a-z][a-z0-9_]*)(?= is )", message)
    if field:
        option = f"--{'model.' if field[1] else ''}{field[2].replace('_', '-')}"
        if option in {argument.partition("=")[0].replace("_", "-") for argument in arguments}:
            return option + message[field.end() :]
    return message


def _is_of(error: Exception, packages: Collection[str]) -> bool:
    return any(type_.__module__.partition(".")[0] in packages for type_ in type(error).__mro__)


def _shown(name: object) -> str:
    return name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)
