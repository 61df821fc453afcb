"""The `fastlm` command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, arg

from fastlm.commands.account import account
from fastlm.commands.encode import encode
from fastlm.commands.generate import generate
from fastlm.commands.plan import plan
from fastlm.commands.train import train
from fastlm.commands.train_tokenizer import train_tokenizer
from fastlm.commands.verify import verify
from fastlm.commands.weights import export_model, import_model


def decode(
    ids: Annotated[Positional[Path], arg(metavar="DIR|FILE.npy")], /, tokenizer: Path, split: str = "train"
) -> None:
    """Write the text of ids to standard output, as the very bytes.

    Args:
        ids: A directory that `fastlm encode` wrote, or a .npy file.
        tokenizer: Directory or file of the tokenizer.
        split: Which shards of a directory: train or val.
    """
    from fastlm import load
    from fastlm.corpus.layout import map_npy
    from fastlm.corpus.manifest import read_manifest

    if ids.is_dir():
        arrays = read_manifest(ids).map(ids, split)
    else:
        arrays = [map_npy(ids)]
        if arrays[0].ndim != 1 or arrays[0].dtype.kind not in "iu":
            found = f"{arrays[0].dtype} {arrays[0].shape}"
            raise ValueError(f"{ids}: expected a one-dimensional array of integers, found {found}")
    loaded = load(tokenizer)
    for array in arrays:
        for start in range(0, len(array), 1 << 20):
            part = array[start : start + (1 << 20)]
            try:
                sys.stdout.buffer.write(loaded.decode_bytes(part))
            except KeyError:
                known = loaded.vocab
                at, id = next((at, id) for at, id in enumerate(part.tolist(), start) if id not in known)
                raise ValueError(f"{ids}: id {id} at position {at} is not in the vocabulary") from None
    sys.stdout.buffer.flush()


def count(inputs: Annotated[Positional[tuple[Path, ...]], arg(metavar="INPUT...")], /, tokenizer: Path) -> None:
    """Count the tokens of UTF-8 text, file by file.

    Args:
        inputs: Files of text.
        tokenizer: Directory or file of the tokenizer.
    """
    from fastlm import load
    from fastlm.corpus.encode import count_tokens

    loaded = load(tokenizer)
    total = 0
    for path in inputs:
        found = count_tokens(loaded, path)
        total += found
        print(f"{found:>15,}  {path}")
    if len(inputs) > 1:
        print(f"{total:>15,}  in all")


def demo(input: Positional[Path | None] = None, /, out: Path | None = None, model: bool = False) -> None:
    """Train, encode, decode and compare, and print what it took: on English that comes with CPython, or on a file.

    Args:
        input: A UTF-8 file to use instead.
        out: Directory that keeps what is made.
        model: Train a small language model too, and let it write; some two minutes on two cores.
    """
    if model:
        from fastlm.demo_model import run_model_demo

        run_model_demo(input, out)
    else:
        from fastlm.demo import run_demo

        run_demo(input, out)


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
