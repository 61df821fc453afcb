"""Two versions of fastlm: whether their ids are the same, and how the times compare.

    python -m benchmarks.versions OTHER_CHECKOUT [--corpora english ...] [--vocabularies gpt2 ...] [--rounds 9]
    [--quick]

The other checkout must have its native modules built in place. Each version runs in a process of its own with the
same interpreter. Both encode every text first, and the ids are compared. Then the two take turns, and a cell of the
table is the median, over the rounds, of the CPU time of the other version divided by the CPU time of this version:
above 1, this one is faster. The states of the tokenizer are:

    warm   the tokenizer has encoded the text before
    cold   the tokenizer is new and has encoded one other word before the clock starts
    first  the tokenizer is new, and the clock includes what the first call sets up

The texts are real ones of FASTLM_DATA; the longest text repeats them. Exits with 1 if ids differ or a ratio is below
LEAST.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LEAST = 0.98
SIZES = {"100 B": 100, "3 KB": 3000, "20 MB": 20_000_000}
QUICK_SIZES = {"100 B": 100, "3 KB": 3000, "2 MB": 2_000_000}
FORMS = {"list": "encode", "array": "encode_to_numpy"}
STATES = ("warm", "cold", "first")
VOCABULARIES = {"gpt2": "gpt2_vocab.json", "cl100k": "cl100k_base.tiktoken", "o200k": "o200k_base.tiktoken"}
CORPORA = ("english", "code", "multilingual")
# CPU seconds of the calls that one measurement of a warm tokenizer makes
WARM_SECONDS = 0.02
# tokenizers that one measurement of new tokenizers makes, at most
NEW_TOKENIZERS = 2


class Version:
    """A process that encodes with the fastlm of a checkout."""

    def __init__(self, checkout: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        command = [sys.executable, "-P", str(Path(__file__).resolve()), "--serve"]
        self.process = subprocess.Popen(
            command, cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **question: Any) -> Any:
        """The answer of the process. Raises RuntimeError if it has ended."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process has ended, with code {self.process.wait()}")
        return json.loads(answer)

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="a checkout of the other version")
    parser.add_argument("--corpora", nargs="+", default=CORPORA, choices=CORPORA)
    parser.add_argument("--vocabularies", nargs="+", default=list(VOCABULARIES), choices=VOCABULARIES)
    parser.add_argument("--states", nargs="+", default=STATES, choices=STATES)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="a text of 2 MB in the place of 20 MB")
    arguments = parser.parse_args()
    from benchmarks import DATA

    sizes = QUICK_SIZES if arguments.quick else SIZES
    ours, other = Version(Path(__file__).resolve().parents[1]), Version(arguments.other.resolve())
    print("fastlm of", ours.ask(do="where"), "and of", other.ask(do="where"), flush=True)
    columns = [(size, form) for size in sizes for form in FORMS]
    heads = [f"{size} {form}" for size, form in columns]
    print("\n| corpus | vocabulary | state | " + " | ".join(heads) + " |")
    print("|---|---|---|" + "---:|" * len(columns), flush=True)
    ratios: list[float] = []
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        for corpus in arguments.corpora:
            paths = written_texts(corpus, sizes, Path(folder))
            for name in arguments.vocabularies:
                vocabulary = {"name": name, "vocabulary": str(DATA / "vectors" / VOCABULARIES[name])}
                for path in paths.values():
                    differing += len({version.ask(do="ids", path=path, **vocabulary) for version in (ours, other)}) - 1
                for state in arguments.states:
                    questions: list[dict[str, Any]] = [
                        {"do": "time", "state": state, "path": paths[size], "method": FORMS[form], **vocabulary}
                        for size, form in columns
                    ]
                    row = [compared(ours, other, arguments.rounds, question) for question in questions]
                    ratios += row
                    cells = " | ".join(f"{ratio:.2f}{'' if ratio >= LEAST else ' **no**'}" for ratio in row)
                    print(f"| {corpus} | {name} | {state} | {cells} |", flush=True)
    ours.end()
    other.end()
    low = sum(ratio < LEAST for ratio in ratios)
    print(f"\n{differing} texts whose ids differ; {low} of {len(ratios)} ratios below {LEAST}, least {min(ratios):.3f}")
    return 1 if differing or low else 0


def written_texts(corpus: str, sizes: dict[str, int], folder: Path) -> dict[str, str]:
    """Files with a text of each size, by the name of the size."""
    from benchmarks.corpus import documents

    found = documents(corpus)
    text = "".join(found)
    paths = {}
    for number, (name, size) in enumerate(sizes.items()):
        # a different place for each size, not the beginning, which may be a heading
        start = len(text) * (number + 1) // (len(sizes) + 2)
        long = text[start:] + text * (size // max(1, len(text)) + 1) if size > len(text) // 2 else text[start:]
        content = long.encode()[:size].decode("utf-8", "ignore")
        path = folder / f"{corpus}-{number}.txt"
        path.write_bytes(content.encode())
        paths[name] = str(path)
    return paths


def compared(ours: Version, other: Version, rounds: int, question: dict[str, Any]) -> float:
    """The median of the ratios of CPU times; the two versions take turns to go first.

    A median below LEAST is taken again over four times the rounds, the first ones included: on a busy machine a few
    pairs are not enough.
    """
    calls = max(1, round(WARM_SECONDS / max(ours.ask(calls=1, **question), 1e-7)))
    ratios: list[float] = []
    for number in range(4 * rounds):
        if number == rounds and statistics.median(ratios) >= LEAST:
            break
        order = (ours, other) if number % 2 else (other, ours)
        seconds = {version: version.ask(calls=calls, **question) for version in order}
        ratios.append(float(seconds[other] / seconds[ours]))
    return statistics.median(ratios)


# --- the process of a version ---


def serve() -> None:
    """Answers the questions of Version.ask. Uses only what every version of fastlm has."""
    import fastlm

    tokenizers: dict[str, fastlm.Tokenizer] = {}
    texts: dict[str, str] = {}
    for line in sys.stdin:
        question = json.loads(line)
        answer: object = str(Path(fastlm.__file__).parents[1])
        if question["do"] != "where":
            tokenizer = tokenizers.get(question["name"]) or loaded(Path(question["vocabulary"]))
            tokenizers[question["name"]] = tokenizer
            if question["path"] not in texts:
                texts.clear()
                texts[question["path"]] = Path(question["path"]).read_text("utf-8")
            text = texts[question["path"]]
            if question["do"] == "ids":
                answer = digest_of(tokenizer, text)
            elif question["state"] == "warm":
                answer = warm_seconds(getattr(tokenizer, question["method"]), text, question["calls"])
            else:
                is_first = question["state"] == "first"
                answer = new_seconds(tokenizer, question["method"], text, is_first, question["calls"])
        print(json.dumps(answer), flush=True)


def loaded(path: Path) -> Any:
    import fastlm

    if path.suffix == ".json":
        return fastlm.Tokenizer.from_files(path, path.parent / "gpt2_merges.txt", ["<|endoftext|>"])
    return fastlm.load(path)


def digest_of(tokenizer: Any, text: str) -> str:
    """A hash of the ids by both methods, and of the ids of the text in parts."""
    ids = tokenizer.encode_to_numpy(text)
    parts, offsets = tokenizer.encode_batch_flat(text.splitlines(keepends=True), 2)
    assert tokenizer.encode(text) == ids.tolist()
    assert tokenizer.count(text) == len(ids)
    return hashlib.sha256(ids.tobytes() + parts.tobytes() + offsets.tobytes()).hexdigest()


def warm_seconds(encode: Callable[[str], object], text: str, calls: int) -> float:
    """CPU seconds of a call, after one that is not counted."""
    encode(text)
    start = time.process_time()
    for _ in range(calls):
        encode(text)
    return (time.process_time() - start) / calls


def new_seconds(tokenizer: Any, method: str, text: str, is_first: bool, calls: int) -> float:
    """CPU seconds of the first call of a new tokenizer, or of its second call; the mean of a few tokenizers."""
    seconds = 0.0
    count = min(NEW_TOKENIZERS, calls)
    for _ in range(count):
        new = type(tokenizer).from_vocabulary(tokenizer.vocabulary)
        if not is_first:
            new.encode("word")
        encode = getattr(new, method)
        start = time.process_time()
        result = encode(text)
        seconds += time.process_time() - start
        del result, encode, new
    return seconds / count


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve()
    else:
        sys.exit(main())
