"""A training killed again and again, resumed each time: `python -m tests.training_kills --kills 100`.

SIGKILL at random moments of counting, spilling, merging runs, learning and saving. Each run must end with the merges of
one that was never killed, and at no moment may a file of the checkpoint be there that is not whole. Prints
`training kills: N tried, N survived, worst ...`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import fastlm
from benchmarks.synthetic import PROFILES, corpus

VOCAB_SIZE = 4000
CHECKPOINT_SECONDS = 0.05
TRAIN = """
import sys
import fastlm
path, directory, seconds, threads, memory = sys.argv[1:]
print("started", flush=True)
tokenizer = fastlm.train_bpe(
    path, {size}, num_threads=int(threads), max_memory=int(memory) or None, checkpoint=directory,
    checkpoint_seconds=float(seconds), resume=True,
)
print(tokenizer.vocabulary.fingerprint)
""".replace("{size}", str(VOCAB_SIZE))


def text_file(folder: Path, size: int) -> Path:
    """A synthetic text of about this number of bytes."""
    path = folder / "text"
    with open(path, "wb") as out:
        out.writelines(corpus(PROFILES["openwebtext"], size))
    return path


def started(path: Path, directory: Path, threads: int, memory: int) -> subprocess.Popen[str]:
    """A process that trains, from the moment at which it begins."""
    arguments = [str(path), str(directory), str(CHECKPOINT_SECONDS), str(threads), str(memory)]
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, *arguments],
        cwd=Path(__file__).resolve().parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "started\n":
        raise RuntimeError(process.communicate()[1])
    return process


def check_whole(directory: Path) -> None:
    """Raises AssertionError unless every file that the state names is whole."""
    path = directory / "state.json"
    if not path.exists():
        return
    checksum, content, _ = path.read_text().split("\n")
    assert hashlib.sha256(content.encode()).hexdigest() == checksum, "state.json is not whole"
    for run in json.loads(content)["state"]["runs"]:
        written = (directory / run["name"]).read_bytes()
        assert len(written) == run["size"], f"{run['name']} is not whole"
        assert zlib.crc32(written) == run["checksum"], f"{run['name']} is not whole"


def run(kills: int, path: Path, threads: int = 2, memory: int = 0, seed: int = 336) -> tuple[int, float]:
    """Kills trainings this number of times and resumes each to its end.

    Returns the number of trainings and the seconds of the slowest last resume. Raises AssertionError if a result is
    wrong.
    """
    expected = fastlm.train_bpe(path, VOCAB_SIZE).vocabulary.fingerprint
    rng = random.Random(seed)
    done = trainings = 0
    worst = 0.0
    usual = 1.0
    while done < kills:
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder) / "checkpoint"
            while True:
                start = time.monotonic()
                process = started(path, directory, threads, memory)
                left = rng.uniform(0, usual) if done < kills else None
                try:
                    output, errors = process.communicate(timeout=left)
                    assert process.returncode == 0, errors
                    assert output == expected + "\n", f"other merges after {done} kills"
                    check_whole(directory)
                    worst = max(worst, time.monotonic() - start)
                    usual = (usual + worst) / 2
                    trainings += 1
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    check_whole(directory)
                    done += 1
    return trainings, worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--size", type=int, default=60_000_000, help="bytes of text")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-memory", type=int, default=0, help="bytes; 0 for no limit")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = text_file(Path(folder), arguments.size)
        trainings, worst = run(arguments.kills, path, arguments.threads, arguments.max_memory)
    print(
        f"training kills: {arguments.kills} tried, {arguments.kills} survived, "
        f"in {trainings} trainings, the slowest last run of which took {worst:.1f} s"
    )


if __name__ == "__main__":
    main()
