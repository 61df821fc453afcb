"""`fastlm check`: compares the ids of a tokenizer with the ids of tiktoken and tokenizers."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from fastlm.commands.inputs import AS_NAMED, OptionalPath, ReadingOptions, corpus_of, folder_to_write, option
from fastlm.commands.output import note, say

SMALLEST_VOCABULARY = 257
"""The 256 bytes and one merge."""


def check(
    tokenizer: Annotated[Positional[Path], arg(metavar="TOKENIZER")],
    corpus: Annotated[Positional[tuple[str, ...]], arg(metavar="CORPUS...", help_behavior_hint="(required)")],
    /,
    out: OptionalPath = None,
    json: bool = False,
    peer: Annotated[UseAppendAction[tuple[Literal["tiktoken", "tokenizers"], ...]], option("LIBRARY")] = (),
    on_special: Literal["token", "text"] = "token",
    limit_mb: int = 64,
    rounds: int = 5,
    train: Annotated[int | None, option("VOCAB_SIZE")] = None,
    reading: ReadingOptions = AS_NAMED,
) -> None:
    """Compare ids, time and memory with tiktoken and tokenizers on your own text. Prints Markdown for a pull request.

    The exit code is 1 if ids or merges differ.

    Args:
        tokenizer: Directory or file of the tokenizer, or name of a model in the Hub's local cache.
        corpus: Files, directories, globs, addresses, or - for standard input.
        out: File for the result; by default it is printed.
        json: Write JSON instead of Markdown.
        peer: Library to compare with: tiktoken or tokenizers; repeat the option for both. By default both, if
            they are installed and can hold the vocabulary.
        on_special: Whether special tokens in the text are tokens or ordinary text.
        limit_mb: Megabytes of text to compare. They are kept in memory.
        rounds: How often each library is timed; 0 for ids only.
        train: Also train a vocabulary of this size with fastlm and tokenizers, and compare the merges.
    """
    from fastlm.files.atomic import replacing
    from fastlm.testing import compare, markdown_of

    if limit_mb < 1 or rounds < 0:
        raise ValueError(f"--limit-mb must be at least 1 and --rounds at least 0, got {limit_mb} and {rounds}")
    if train is not None and train < SMALLEST_VOCABULARY:
        raise ValueError(f"--train must be at least {SMALLEST_VOCABULARY}, got {train}")
    if out is not None:
        folder_to_write(out.parent)
        if out.is_dir():
            raise IsADirectoryError(f"--out {out}: is a directory; give a file")
    found = compare(
        tokenizer,
        corpus_of(corpus, reading),
        peers=peer or None,
        on_special=on_special,
        limit_bytes=limit_mb * 1_000_000,
        rounds=rounds,
        train=train,
    )
    content = dumps(found.to_json(), indent=1) + "\n" if json else markdown_of(found)
    if out is None:
        for line in content.splitlines():
            say(line)
    else:
        with replacing(out) as file:
            file.write(content.encode())
        note(f"wrote {out}")
    if not found.equal:
        differing = [f"{row.library} in {row.differing_texts:,} texts" for row in found.results if row.differing_texts]
        differing += [f"the trainer of {row.library}" for row in found.training if row.difference is not None]
        raise ValueError(f"fastlm differs from {', '.join(differing)}")
