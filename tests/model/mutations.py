"""Files of models, changed at random: each is refused, or loaded to what was written, and none is executed.

    python -m tests.model.mutations --mutations 2000          # of each format

Bytes are flipped, files cut, lengthened, or exchanged for those of another model, fields of JSON dropped, swapped or
given other values, tensors swapped. Of llama2c's file, which has no place for a checksum, everything but the weights is
changed. Prints what became of them; exits with 1 where a file was taken for another model or failed otherwise.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fastlm
from fastlm.model import TransformerLM
from fastlm.model.files import load_model, save_model
from fastlm.model.hf import export_llama, import_llama
from fastlm.model.llama2c import export_llama2c, import_llama2c
from tests.model.models import TINY, made, same_weights

VALUES = (None, True, False, 0, 1, -1, 7, 1 << 31, 1 << 70, 0.5, 1e308, "", "half", "post", [], {}, [8], {"a": 1})
EXECUTING = ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "exec", "compile")
SMALL = replace(TINY, vocab_size=264, num_layers=1, rope_layout="interleaved")


@dataclass
class Format:
    """How a model is written to a folder and read from it, and which bytes of which files may be changed."""

    write: Callable[[TransformerLM, Path, fastlm.Tokenizer], object]
    read: Callable[[Path], TransformerLM]
    files: dict[str, Callable[[int], tuple[int, int]]]


def _all(size: int) -> tuple[int, int]:
    return 0, size


FORMATS = {
    "fastlm": Format(save_model, load_model, {"model.json": _all, "model.safetensors": _all}),
    "llama": Format(
        export_llama, import_llama, {"config.json": _all, "model.safetensors": _all, "tokenizer.json": _all}
    ),
    "llama2c": Format(
        lambda model, folder, _: (folder.mkdir(), export_llama2c(model, folder / "model.bin")),
        lambda folder: import_llama2c(folder / "model.bin"),
        {"model.bin": lambda size: (0, 28)},
    ),
}


def flipped(rng: random.Random, content: bytes, places: tuple[int, int]) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        changed[rng.randrange(*places)] ^= rng.choice((1 << rng.randrange(8), rng.randrange(1, 256)))
    return bytes(changed)


def resized(rng: random.Random, content: bytes, places: tuple[int, int]) -> bytes:
    at = rng.randrange(len(content))
    return rng.choice((content[:at], content + content[at:], content[at:], content + b"\0" * (at + 1)))


def with_other_fields(rng: random.Random, fields: dict[str, Any]) -> None:
    """Changes a JSON object in one place, at any depth."""
    names = list(fields)
    name, other = rng.choice(names), rng.choice(names)
    inner = fields[name]
    if isinstance(inner, dict) and inner and rng.random() < 0.8:
        with_other_fields(rng, inner)
    else:
        change = rng.randrange(4)
        if change == 0:
            del fields[name]
        elif change == 1:
            fields[name], fields[other] = fields[other], fields[name]
        elif change == 2:
            fields[f"{name}s"] = fields.pop(name)
        else:
            fields[name] = rng.choice(VALUES)


def with_other_json(rng: random.Random, content: bytes) -> bytes:
    fields = json.loads(content)
    with_other_fields(rng, fields)
    return json.dumps(fields).encode()


def with_other_header(rng: random.Random, content: bytes) -> bytes:
    """A safetensors file of which the header, JSON too, says something else, and fits in length."""
    length = struct.unpack_from("<Q", content)[0]
    changed = with_other_json(rng, content[8 : 8 + length])
    return struct.pack("<Q", len(changed)) + changed + content[8 + length :]


def mutated(rng: random.Random, name: str, content: bytes, other: bytes, places: tuple[int, int]) -> bytes:
    kinds = [flipped, flipped, resized]
    kind = rng.randrange(len(kinds) + 2)
    if kind < len(kinds):
        return kinds[kind](rng, content, places)
    if kind == len(kinds) and name != "model.bin":
        return other
    if name.endswith(".json"):
        return with_other_json(rng, content)
    if name.endswith(".safetensors"):
        return with_other_header(rng, content)
    return struct.pack("<i", rng.choice((0, -1, 1, 3, 1 << 30, -(1 << 31)))) + content[4:]


def run_mutations(name: str, mutations: int, seed: int, folder: Path) -> Counter[str]:
    """What became of so many changed models of a format: refused, same, other, or the name of an exception."""
    form, rng, outcomes = FORMATS[name], random.Random(seed), Counter[str]()
    tokenizer = fastlm.train_bpe(["a tokenizer of few tokens"], 264, ["<|endoftext|>"])
    other_tokenizer = fastlm.train_bpe(["other text, other tokens"], 264, ["<|endoftext|>"])
    form.write(made(SMALL), folder / "intact", tokenizer)
    form.write(made(replace(SMALL, d_ff=20), seed=6), folder / "other", other_tokenizer)
    expected = form.read(folder / "intact")
    executed: list[str] = []
    watching = True
    sys.addaudithook(lambda event, _: executed.append(event) if watching and event in EXECUTING else None)
    for _ in range(mutations):
        shutil.copytree(folder / "intact", folder / "changed")
        file = rng.choice(list(form.files))
        path = folder / "changed" / file
        content = path.read_bytes()
        other = (folder / "other" / file).read_bytes()
        path.write_bytes(mutated(rng, file, content, other, form.files[file](len(content))))
        try:
            found = form.read(folder / "changed")
        except (ValueError, OSError):
            outcomes["refused"] += 1
        except Exception as error:  # noqa: BLE001 - any other exception is the fault that is looked for
            outcomes[type(error).__name__] += 1
        else:
            same = found.config == expected.config and same_weights(found, expected)
            same = same and found.tokenizer_fingerprint == expected.tokenizer_fingerprint
            outcomes["same" if same else "other"] += 1
        shutil.rmtree(folder / "changed")
    watching = False
    outcomes.update(f"executed {event}" for event in executed)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    wrong = 0
    for name in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = run_mutations(name, arguments.mutations, arguments.seed, Path(folder))
        print(f"{name}: {arguments.mutations:,} tried, " + ", ".join(f"{n:,} {what}" for what, n in outcomes.items()))
        wrong += sum(outcomes.values()) - outcomes["refused"] - outcomes["same"]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
