"""The `fastlm` command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tyro.conf import Positional, arg

from fastlm.commands.account import account
from fastlm.commands.bars import bars
from fastlm.commands.generate import generate
from fastlm.commands.train import train
from fastlm.commands.train_tokenizer import train_tokenizer
from fastlm.commands.weights import export_model, import_model

Inputs = Positional[tuple[Path, ...]]


def encode(
    inputs: Annotated[Inputs, arg(metavar="INPUT...")],
    /,
    tokenizer: Path,
    out: Path,
    threads: int | None = None,
) -> None:
    """Encode UTF-8 text to a .npy array of ids, uint16 where they fit, else uint32.

    Args:
        inputs: Files of text, encoded one after the other.
        tokenizer: Directory or file of the tokenizer.
        out: File to write; open it with numpy.load(out, mmap_mode="r").
        threads: Number of threads; all processors where it is not given.
    """
    from fastlm import load
    from fastlm.encode_files import encode_files

    if not inputs:
        raise ValueError("give at least one INPUT")
    with bars() as report:
        written = encode_files(
            load(tokenizer),
            inputs,
            out,
            num_threads=threads,
            progress=lambda done, total: report("encode", done, total),
        )
    print(f"{written} ids in {out}")


def decode(ids: Annotated[Positional[Path], arg(metavar="FILE.npy")], /, tokenizer: Path) -> None:
    """Write the text of an array of ids to standard output, as the very bytes.

    Args:
        ids: A .npy file, such as `fastlm encode` writes.
        tokenizer: Directory or file of the tokenizer.
    """
    from fastlm import load

    try:
        array = np.lib.format.open_memmap(ids, mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{ids}: not a .npy file of integers: {error}") from None
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{ids}: expected a one-dimensional array of integers, found {array.dtype} {array.shape}")
    loaded = load(tokenizer)
    for start in range(0, len(array), 1 << 20):
        part = array[start : start + (1 << 20)]
        try:
            sys.stdout.buffer.write(loaded.decode_bytes(part))
        except KeyError:
            known = loaded.vocab
            at, id = next((at, id) for at, id in enumerate(part.tolist(), start) if id not in known)
            raise ValueError(f"{ids}: id {id} at position {at} is not in the vocabulary") from None
    sys.stdout.buffer.flush()


def count(inputs: Annotated[Inputs, arg(metavar="INPUT...")], /, tokenizer: Path) -> None:
    """Count the tokens of UTF-8 text, file by file.

    Args:
        inputs: Files of text.
        tokenizer: Directory or file of the tokenizer.
    """
    from fastlm import load
    from fastlm.encode_files import count_file

    loaded = load(tokenizer)
    total = 0
    for path in inputs:
        found = count_file(loaded, path)
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
    "decode": decode,
    "count": count,
    "demo": demo,
    "account": account,
    "export": export_model,
    "import": import_model,
    "generate": generate,
    "train": train,
}


def main(args: list[str] | None = None) -> int:
    """Runs the command; returns 0, or 1 after printing what was wrong with its input."""
    try:
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="fastlm", description=__doc__, args=args)
    except (ValueError, TypeError, KeyError, OSError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"fastlm: {message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
