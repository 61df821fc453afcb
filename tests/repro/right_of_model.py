"""The right outcomes of the programs about shards, models and training."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.repro.verdict import Right, Run

FOREIGN_IDS = r"late\.npy: id 300 at position 150000; expected ids below the model's vocab_size, 300"


def _only_finite_weights(run: Run) -> Iterator[str]:
    counts = run.numbers(r"numbers that are not finite: (\d+)$")
    if not counts or any(counts):
        yield f"weights that are not finite in the files: {counts}"


def _no_other_losses(run: Run) -> Iterator[str]:
    first, second = [ast.literal_eval(line) for line in run.out.splitlines() if line.startswith("[")]
    if second[: len(first)] != first:
        yield f"losses {second} after resuming, {first} before"


def _whole_text(run: Run) -> Iterator[str]:
    """The text is the one without a stop string: that occurs nowhere in it."""
    text, stop = re.match(r"(.*) ('\w+') False\n", run.out).groups()
    if f"text={text}," not in run.out:
        yield f"stopped at a part of {stop}"


def _documented_accuracy(run: Run) -> Iterator[str]:
    largest = max(run.numbers(r"\d: ([\d.e-]+)[,}]"))
    if largest > 1e-5:
        yield f"logits differ by {largest}"
    if "are the same to the last bit at the widths tried" in run.page("weights.md"):
        yield "docs/weights.md claims equality to the last bit"


def _same_logits(run: Run) -> Iterator[str]:
    differences = run.numbers(r"dlogit ([\d.e-]+)$")
    if len(differences) != 3 or max(differences) > 1e-5:
        yield f"logits of the three folders differ by {differences}"


MODEL = {
    "model/a01": Right((r"^bin manifest dtype <u4$", r"^\[train\] rc 0$", r"^ ok$"), never=("WRONG",)),
    "model/a02": Right(
        (
            r"^\[train\] rc 1$",
            r"ids/manifest\.json: its tokenizer has the fingerprint \w{64}, but the tokenizer other has",
        )
    ),
    "model/a03": Right(
        (r"^transformers: \[2\]$", r"^fastlm: Completion\(ids=\[\], text='', finish_reason='stop'\)$"),
    ),
    "model/a04": Right(
        (
            r"^\[diverges\] rc 1$",
            r"^   a/checkpoints/step-00000001\.safetensors numbers that are not finite: 0$",
            r"^\[last step\] rc 1$",
            r"lower learning_rate",
        ),
        check=_only_finite_weights,
    ),
    "model/a06": Right(
        (r"^undisturbed rc 0$", r"^resumed, rank 1 without checkpoint: rc [01]$"), check=_no_other_losses
    ),
    "model/a08": Right((r"^1000 ids, the file has 1000; first window \[0, 1, 2, 3, 4, 5, 6, 7, 8\]$",)),
    "model/a09": Right((r"finish_reason='length'\)$",), check=_whole_text),
    "model/a11": Right(
        (
            r"(?s)\[text\] rc 0.*note: no token separates the documents",
            r"(?s)\[jsonl\] rc 0.*note: no token separates the documents",
        )
    ),
    "model/a12": Right((r"same fingerprint: False$",)),
    "model/a14": Right(
        errors=(
            r"^run: .* bfloat16 on 1 x cpu, steps 1 to 6$",
            r"(?s)^run: [^\n]* bfloat16 on 1 x cpu, steps \d to 6, resumed from step-0000000\d\.safetensors$",
        )
    ),
    # the program ends with a traceback because the second run is refused before it writes a log
    "model/a15": Right(
        (rf"(?s)\[in the training data\] rc 1.*{FOREIGN_IDS}.*\[in the validation data\] rc 1.*{FOREIGN_IDS}",),
        errors=(r"^FileNotFoundError: .*'r2/log\.jsonl'$",),
        returncode=1,
    ),
    "model/b01": Right(
        (r"^0o644 run/model/model\.safetensors $", r"^0o644 llama/model\.safetensors $"), never=("WRONG",)
    ),
    "model/b02": Right((r"(?s)^\.model\.safetensors.* 1 links.*^\.model\.safetensors.* 1 links",), never=("WRONG",)),
    "model/b05": Right((r"^64 172 ", r"^128 344 ", r"^512 1344 "), check=_documented_accuracy),
    "model/c01": Right((r"^\[TOML\] rc 0$", r"^\[option\] rc 0$", r"^ok$"), never=(r"^config\.toml of that run:",)),
    "model/c03": Right((r"^\[none\] rc 0$", r"^\[None\] rc 0$")),
    "model/d00": Right(tuple(rf"^{name} .*fastlm: rc 0" for name in ("tied", "mixed", "swish")), check=_same_logits),
    "model/d05": Right((r"^\[used\] rc 0$", r"^\[used, --tokenizer tok\] rc 0$")),
    "model/d07": Right((r"^\[import\] rc 1$", r"fastlm: h/pytorch_model\.bin: .*save_pretrained")),
    # all four kinds are imported without a word
    "model/d08": Right((r"\A\s*\Z",)),
    "model/e01": Right(tuple(rf"^\[seed {seed}\] rc 0$" for seed in range(3)), never=("KeyError",)),
    "model/e04": Right(
        (
            r"(?s)\[no memory\] rc 1\n.*stderr \(1 lines\): .*not enough memory.*micro_batch_size",
            r"(?s)\[no compiler\] rc 1\n.*stderr \([1-6] lines\): .*compile = false",
        ),
        never=("Traceback",),
    ),
    "model/e05": Right(
        (
            r"^SIGINT rc 130 \| stderr lines [1-6] .* checkpoints \['step-\d{8}\.safetensors'\]$",
            r"^SIGTERM rc 143 \| stderr lines [1-6] .* checkpoints \['step-\d{8}\.safetensors'\]$",
        )
    ),
    "model/e06": Right((r"^'parameters .*\\n(0|141)\\n' ''$",)),
    "model/e07": Right((r"^1 '' .*fastlm: run/checkpoints/step-00000002\.safetensors: file too large",)),
    "model/e08": Right((r"^\[ids\] rc 0$", r"^\[ids/train-\*\.npy\] rc 0$")),
    "model/e10": Right(
        (
            r"^\[train\] rc 1$",
            r"step-00000004\.safetensors is whole: remove step-00000006\.safetensors to resume",
            r"^\['step-00000004\.safetensors', 'step-00000006\.safetensors'\]$",
            r"^\[after removing it\] rc 0$",
        )
    ),
    "model/e13": Right((r"^Completion\(ids=\[\d+, \d+\], text=None, finish_reason='length'\)$",)),
    "model/e14": Right((r"^warmup 5 of 5: \[0\.2, 0\.4, 0\.6, 0\.8, 1\.0\]",)),
    "model/f01": Right((r"^\[--steps 4\] rc 0$", r"extended from 2 to 4 steps: from step 3 on", r"--init-from")),
    "model/f03": Right((r"^\[train\] rc 0$", r"step 10: validation loss \d", r"step 50: validation loss \d")),
}
