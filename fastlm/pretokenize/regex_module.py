"""The `regex` module, which splits texts by patterns that have no scanner. It is imported at its first use."""

from __future__ import annotations

from typing import Any

from fastlm._extras import install_command
from fastlm.forks import no_fork


def regex_module() -> Any:
    """Returns the module `regex`. Raises ValueError if it is not installed."""
    with no_fork:
        try:
            import regex
        except ModuleNotFoundError as error:
            if error.name != "regex":
                raise
            command = install_command("regex")
            raise ValueError(f"a pattern without a scanner needs the package regex: {command}") from None
    return regex
