"""The `fastlm` command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import tyro

from fastlm.commands.account import account
from fastlm.commands.count import count
from fastlm.commands.decode import decode
from fastlm.commands.demo import demo
from fastlm.commands.encode import encode
from fastlm.commands.generate import generate
from fastlm.commands.plan import plan
from fastlm.commands.train import train
from fastlm.commands.train_tokenizer import train_tokenizer
from fastlm.commands.verify import verify
from fastlm.commands.weights import export_model, import_model

COMMANDS: dict[str, Callable[..., Any]] = {
    "train-tokenizer": train_tokenizer,
    "encode": encode,
    "verify": verify,
    "decode": decode,
    "count": count,
    "demo": demo,
    "account": account,
    "plan": plan,
    "export": export_model,
    "import": import_model,
    "generate": generate,
    "train": train,
}

# who brings a package that is not always there
EXTRAS = {
    "torch": "model",
    "safetensors": "model",
    "pyarrow": "data",
    "orjson": "data",
    "fsspec": "data",
    "matplotlib": "report",
}


def main(args: list[str] | None = None) -> int:
    """Runs the command; returns 0, or 1 after printing what was wrong with its input."""
    try:
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="fastlm", description=__doc__, args=args)
    except (ValueError, TypeError, KeyError, OSError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"fastlm: {message}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        print(f"fastlm: {package} is not installed; pip install 'fastlm[{EXTRAS[package]}]'", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
