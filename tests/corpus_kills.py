"""Kills encode jobs with SIGKILL at random moments, and resumes them.

    python -m tests.corpus_kills --kills 100

After each kill every file with the name of a shard must be whole, and after the last the shards must equal the shards
of a job that was not killed. Half of the jobs are killed again after they resume. Prints the counts; exits with 1 if
anything differed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import fastlm
from fastlm.corpus import encode_corpus, job_folder, text_blocks
from fastlm.corpus.job_storage import UNFINISHED
from fastlm.corpus.read import Corpus
from fastlm.corpus.verify import verify_shards
from tests import texts

SEPARATOR = "<|endoftext|>"
FORMATS = ("bin", "npy", "megatron")


def encode(tokenizer: fastlm.Tokenizer, corpus: Corpus, out: Path, shard_format: str, threads: int) -> None:
    """The job that is killed: many blocks, each with a checkpoint, many shards, two splits."""
    encode_corpus.encode_corpus(
        tokenizer,
        corpus,
        out,
        format=shard_format,
        shard_tokens=7001,
        end_of_text=SEPARATOR,
        validation_fraction=0.2,
        resume=True,
        num_threads=threads,
    )


def sums(folder: Path) -> dict[str, str]:
    """Name -> sha256 of the shards in a folder."""
    paths = [path for path in folder.iterdir() if path.name.startswith(("train-", "val-"))]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def killed(seconds: float, *run) -> bool:
    """Kills a job in a child process after this number of seconds; False if it had ended before."""
    child = os.fork()
    if not child:
        try:
            encode(*run)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    text_blocks.BLOCK_BYTES, job_folder.CHECKPOINT_SECONDS = 8192, 0.0
    chance = random.Random(arguments.seed)
    # in memory where there is such a folder: a kill is no power cut, and a disk would only slow the runs down
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    folder = Path(tempfile.mkdtemp(prefix="fastlm-kills-", dir=memory))
    documents = [chance.choice(texts.DOCUMENTS) * chance.randrange(4) for _ in range(60)]
    (folder / "a.txt").write_bytes(SEPARATOR.join(documents[:40]).encode())
    (folder / "b.txt").write_bytes(SEPARATOR.join(documents[40:]).encode())
    corpus = Corpus([folder / "a.txt", folder / "b.txt"], separator=SEPARATOR)
    tokenizer = fastlm.train_bpe(corpus, 600)
    expected, seconds = {}, {}
    for shard_format in FORMATS:
        encode(tokenizer, corpus, folder / shard_format, shard_format, 1)
        verify_shards(folder / shard_format)
        start = time.perf_counter()
        shutil.rmtree(folder / shard_format)
        encode(tokenizer, corpus, folder / shard_format, shard_format, 1)
        seconds[shard_format] = time.perf_counter() - start
        expected[shard_format] = sums(folder / shard_format)

    size = sum(path.stat().st_size for path in folder.glob("*.txt"))
    print(f"{size:,} bytes in {seconds} s, {sum(map(len, expected.values()))} files", flush=True)
    kills = wrong = late = 0
    while kills < arguments.kills:
        shard_format = chance.choice(FORMATS)
        out = folder / "out"
        run = (tokenizer, corpus, out, shard_format, chance.choice((1, 2)))
        for _ in range(chance.choice((1, 2))):
            if not killed(chance.random() * seconds[shard_format], *run):
                late += 1
                seconds[shard_format] *= 0.8
                continue
            seconds[shard_format] *= 1.1
            kills += 1
            found = sums(out) if out.exists() else {}
            if not found.items() <= expected[shard_format].items():
                print(f"after kill {kills} ({shard_format}) a shard is not whole")
                wrong += 1
        encode(*run)
        verify_shards(out)
        if sums(out) != expected[shard_format] or (out / UNFINISHED).exists():
            print(f"after kill {kills} ({shard_format}) the shards differ from the shards of a job that was not killed")
            wrong += 1
        shutil.rmtree(out)
    shutil.rmtree(folder)
    print(f"kills in encoding: {kills} tried, {kills - wrong} survived; {late} came after the end")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
