"""Compares this checkout with another one, output by output and byte by byte.

    python -m tests.same_as ../fastlm-before            # some minutes: all texts with all vocabularies
    python -m tests.same_as ../fastlm-before --quick    # a part of the texts

Both checkouts run tests/same_as_outputs.py on the shared data, which uses the public API and the command line only.
It compares ids of every vocabulary, trained merges, saved tokenizer files, shards, exported files, model checkpoints
and generated texts. INTENDED lists the differences that a version intends, with their reasons. Prints all differences;
exits with 1 if there are others. The other checkout must have its extension modules built.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

from tests.conftest import DATA

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = Path(__file__).with_name("same_as_outputs.py")
MOST_NAMED = 4

ADDED_WITH_TEXT = "added tokens that are not special count in ordinary text, as in tokenizers (encode_special_tokens)"
INTENDED: dict[str, str] = {
    "commands/export/llama/*config.json": "a model without a first id keeps it so, instead of id 0",
    "tokenizers/falcon/*": "Falcon's pre-tokenizers were refused",
    "commands/train/log.jsonl": "the log holds times and rates",
    "commands/*.safetensors": "the header lists the tensors in a fixed order; the tensors are compared apart",
    "commands/*/model.json": "the file holds the ids of the special tokens",
    "commands/train/config.toml": "options have new names, and new options have defaults",
    "commands/encode/*/manifest.json": "version 2: options have new names, and a checksum follows",
    "*/tokenizer.fastlm": "the header holds checksums of the files next to it; tokens and merges are compared apart",
    "saved/*/tokenizer.json/*/tokenizer.json": "components of the original file are kept",
    "saved/*.tokenizer.json/*/tokenizer.json": "components of the original file are kept",
    **{
        f"ids/{name}/tokenizer.json/{text}": ADDED_WITH_TEXT
        for name in ("gpt_neox", "modernbert", "mpt", "olmo-pii", "phi-2")
        for text in ("*/lines", "strings/text", "strings/ordinary")
    },
}
"""Pattern of output names -> why these outputs may differ."""


def write_inputs(data: Path, folder: Path) -> None:
    """The corpora that both checkouts encode; the manifest of shards names their paths and times of change."""
    text = (data / "tinystories" / "ts_v2_train_head.txt").read_bytes()[:600_000].decode("utf-8", "ignore")
    (folder / "documents.txt").write_text(text, "utf-8")
    (folder / "documents.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    records = [json.dumps({"text": document}) for document in text.split("<|endoftext|>")]
    (folder / "documents.jsonl").write_text("\n".join(records), "utf-8")


def start(checkout: Path, inputs: Path, folder: Path, options: list[str]) -> subprocess.Popen[bytes]:
    """The program in a checkout; it writes outputs.json into the folder."""
    folder.mkdir()
    environment = os.environ | {
        "PYTHONPATH": str(checkout),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NUMBA_CACHE_DIR": f"{folder}-numba",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-P", str(PROGRAM), str(DATA), str(inputs), str(folder)]
    return subprocess.Popen([*command, *options], env=environment, cwd=folder)


def outputs_of(checkouts: list[Path], options: list[str]) -> list[dict[str, str]]:
    """Outputs of each checkout. The programs run at the same time, and end if this one is interrupted."""
    with tempfile.TemporaryDirectory() as directory:
        inputs = Path(directory, "inputs")
        inputs.mkdir()
        write_inputs(DATA, inputs)
        folders = [Path(directory, str(index)) for index in range(len(checkouts))]
        pairs = zip(checkouts, folders, strict=True)
        started = [start(checkout, inputs, folder, options) for checkout, folder in pairs]
        try:
            for checkout, process in zip(checkouts, started, strict=True):
                if process.wait() != 0:
                    raise SystemExit(f"{checkout}: the program ended with status {process.returncode}")
        finally:
            for process in started:
                process.kill()
        return [json.loads((folder / "outputs.json").read_text()) for folder in folders]


def reason(name: str, newly_read: set[str]) -> str | None:
    """Why an output may differ, or None. newly_read: vocabularies that only this checkout loads."""
    kind, _, rest = name.partition("/")
    if kind in ("load", "ids", "saved", "vocabulary") and any(f"{rest}/".startswith(f"{v}/") for v in newly_read):
        return "the other checkout refuses to load this vocabulary"
    return next((why for pattern, why in INTENDED.items() if fnmatchcase(name, pattern)), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--quick", action="store_true", help="a part of the texts")
    parser.add_argument("--only", choices=("ids", "compat", "merges", "commands"), help="one kind of outputs")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        parser.error(f"no folder {DATA}: set FASTLM_DATA to real texts and official vocabularies")
    options = ["--quick"] * arguments.quick + ([f"--only={arguments.only}"] if arguments.only else [])
    other, here = outputs_of([arguments.other.resolve(), ROOT], options)
    differing = sorted(name for name in other.keys() | here.keys() if other.get(name) != here.get(name))
    newly_read = {name.removeprefix("load/") for name in other.keys() - here.keys() if name.startswith("load/")}
    reasons = {name: reason(name, newly_read) for name in differing}
    unintended = [name for name, why in reasons.items() if why is None]
    kinds = Counter(name.split("/")[0] for name in here)
    print(f"{len(other.keys() | here.keys()):,} outputs:", ", ".join(f"{n:,} {kind}" for kind, n in kinds.items()))
    for why, count in Counter(why for why in reasons.values() if why is not None).items():
        names = [name for name in differing if reasons[name] == why]
        print(f"  {count} differ as intended: {why}: {', '.join(names[:MOST_NAMED])}{', ...' * (count > MOST_NAMED)}")
    for name in unintended:
        print(f"  differs: {name}: there {other.get(name, 'missing')[:16]}, here {here.get(name, 'missing')[:16]}")
    print(f"{len(differing) - len(unintended)} differ as intended, {len(unintended)} differ")
    return 1 if unintended else 0


if __name__ == "__main__":
    sys.exit(main())
