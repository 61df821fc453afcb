"""Prints the growth of this process, in bytes, while a library loads a tokenizer and encodes texts.

`cost` runs this file as a program of its own, because a process that imported another library has its memory already.
"""

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLEAR_PEAK = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")

Encode = Callable[[list[str]], list[list[int]]]


def fastlm_encoder(job: dict[str, Any]) -> Callable[[], Encode]:
    """Imports fastlm; the result loads the tokenizer."""
    from fastlm.tokenizer_files import load

    def make() -> Encode:
        tokenizer = load(job["path"])
        return lambda texts: tokenizer.encode_batch(texts, 1, on_special=job["on_special"])

    return make


def tiktoken_encoder(job: dict[str, Any]) -> Callable[[], Encode]:
    """Imports tiktoken; the result loads the tokenizer."""
    import tiktoken

    def make() -> Encode:
        lines = Path(job["path"]).read_bytes().splitlines()
        ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
        options = {"pat_str": job["pattern"], "mergeable_ranks": ranks, "special_tokens": job["special"]}
        encoding = tiktoken.Encoding("memory", **options)
        if job["on_special"] == "text":
            return lambda texts: [encoding.encode_ordinary(text) for text in texts]
        return lambda texts: [encoding.encode(text, allowed_special="all") for text in texts]

    return make


def tokenizers_encoder(job: dict[str, Any]) -> Callable[[], Encode]:
    """Imports tokenizers; the result loads the tokenizer."""
    import os

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    def make() -> Encode:
        tokenizer = Tokenizer.from_file(job["path"])
        tokenizer.encode_special_tokens = job["on_special"] == "text"
        return lambda texts: [found.ids for found in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    return make


ENCODERS = {"fastlm": fastlm_encoder, "tiktoken": tiktoken_encoder, "tokenizers": tokenizers_encoder}


def status_bytes(name: str) -> int:
    """A line of Linux's status of this process in bytes; 0 on other systems."""
    if not STATUS.exists():
        return 0
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def main() -> None:
    """Measures the job that the command line gives as JSON."""
    job = json.loads(sys.argv[1])
    texts = json.loads(Path(job["texts"]).read_text("utf-8"))
    make = ENCODERS[job["library"]](job)
    if CLEAR_PEAK.exists():
        CLEAR_PEAK.write_text("5")
    before = status_bytes("VmRSS")
    encode = make()
    ids = encode(texts)
    assert len(ids) == len(texts)
    print(max(0, status_bytes("VmHWM") - before))


if __name__ == "__main__":
    main()
