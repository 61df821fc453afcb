"""The right outcomes of the programs that a reading of the code gave rise to."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.repro.verdict import Right, Run

# of the messages for wrong arguments: the thing, the expectation, and the value where there is one
MESSAGES = (
    r"^ValueError: vocab_size must be at least 257, .*, got 100$",
    r"^ValueError: engine='ray' does not support max_memory",
    r"^ValueError: special_tokens cannot be given together with base",
    r"^ValueError: the vocabulary lacks 255 of the 256 bytes, the first is 0x00$",
    r"^TypeError: text must be str or bytes, got int$",
    r"^ValueError: on_special must be 'token', 'text' or 'raise', got 'none'$",
    r"^TypeError: expected a sequence of texts, got one str$",
    r"^TypeError: ids must be integers .*, got float64$",
    r"^TypeError: ids must be integers, got str$",
    r"^FileNotFoundError: .*'/tmp/nothing'$",
    r"^FileNotFoundError: /tmp: holds none of tokenizer\.fastlm, tokenizer\.json,",
    r"^ValueError: no format is named 'nope'; there are \[",
    r"^ValueError: uint8 does not hold all ids of the vocabulary, .* 257$",
    r"^ValueError: vocab_size must be from 257 to 258, got 10$",
    r"^ValueError: merge 0 of b'a' and b'b': b'ab' is not in the vocabulary$",
    r"^ValueError: out must be a contiguous uint16 or uint32 array .*, got int32 \(4,\)$",
)


def _same_ids(run: Run) -> Iterator[str]:
    windows = [ast.literal_eval(line[line.index("[") :]) for line in run.out.splitlines() if "[" in line]
    if len(windows) != 2 or windows[0] != windows[1]:
        yield f"trained on {windows[:1]}, the ids are {windows[1:]}"


def _unrelated_component_is_cheap(run: Run) -> Iterator[str]:
    (first,), (after,) = run.numbers(r"^first encode +([\d.]+) ms"), run.numbers(r"^after .* ([\d.]+) ms")
    if after > first / 10:
        yield f"{after} ms of CPU time after an unrelated component, {first} for the first encode"


def _bad_text_is_cheap(run: Run) -> Iterator[str]:
    slowest = max(run.numbers(r"next good ([\d.]+) ms"))
    if slowest > 5:
        yield f"{slowest} ms of CPU time for the text after a bad one"


def _all_refused(run: Run) -> Iterator[str]:
    for line in run.out.splitlines():
        if "rc 1 ['TypeError: " not in line and "rc 1 ['RuntimeError: " not in line:
            yield line


def _threads_as_documented(run: Run) -> Iterator[str]:
    stay = run.numbers(r"^after +(\d+)") > run.numbers(r"^before +(\d+)")
    if stay and "Threads are made for a call and gone after it" in run.page("tokenizer.md"):
        yield "threads stay after a call, against docs/tokenizer.md"


def _no_stale_files(run: Run) -> Iterator[str]:
    last = ast.literal_eval(run.out.splitlines()[-1])
    if last != ["tokenizer.fastlm"]:
        yield f"files after the second save: {last}"


def _documented_vocab_size(run: Run) -> Iterator[str]:
    if "holds no more than bytes and special tokens" in run.page("training.md"):
        yield "docs/training.md says that 257 tokens are refused"


def _few_frames(run: Run) -> Iterator[str]:
    (frames,) = run.numbers(r"^warm encode, python frames \((\d+),")
    if frames > 2:
        yield f"a warm encode takes {frames:.0f} Python frames"


def _readers_agree(run: Run) -> Iterator[str]:
    rows = [line.split(" | ") for line in run.out.splitlines()]
    if len(rows) != 8:
        yield f"{len(rows)} of 8 variants were read"
    for name, *outcomes in rows:
        ids = {outcome.partition("=")[2] if "=[" in outcome else "refused" for outcome in outcomes}
        if len(ids) != 1:
            yield f"{name}: {outcomes}"


def _no_faster_than_all_writers(run: Run) -> Iterator[str]:
    planned, least = run.numbers(r"says encode (\d+) s"), run.numbers(r"MB/s of ids: (\d+) s")
    # workers write the shards: the second number is for one of them
    if len(planned) != 3 or any(
        one < limit / cores for one, limit, cores in zip(planned, least, (1, 16, 512), strict=True)
    ):
        yield f"planned {planned} s, one writer needs {least} s"


def _linear(run: Run) -> Iterator[str]:
    few, many = run.numbers(r"^fastlm\.compat\.tokenizers \d+ tokens: ([\d.]+) CPU s")
    if many > 0.1 and many > 10 * few:
        yield f"{few} s of CPU time for 2,001 tokens, {many} s for 8,001"


REVIEW = {
    "review/r1": Right((r"^manifest dtype <u4 tokens 402$", r"^TokenFiles sees 402 ids$"), check=_same_ids),
    "review/r2": Right((r"^second encode",), check=_unrelated_component_is_cheap),
    "review/r3": Right((r"^bad ",), check=_bad_text_is_cheap),
    "review/r4": Right((r"^count with bogus scanner rc 1 ",), check=_all_refused),
    "review/r5": Right((r" CPU s False$",)),
    "review/r6": Right((r"^before 1$", r"^after +\d"), check=_threads_as_documented),
    # it ends with a traceback, because the file of the first save is gone
    "review/r7": Right(
        errors=(
            r"the format 'gpt2' is left out: vocab\.json and merges\.txt cannot hold the rules ignore_merges=True$",
            r"removed tokenizer\.json, vocab\.json, merges\.txt, which held another tokenizer$",
            r"^FileNotFoundError: .*tokenizer\.json'$",
        ),
        check=_no_stale_files,
        returncode=1,
    ),
    "review/r8": Right((r"^257$", *MESSAGES), check=_documented_vocab_size),
    "review/r9": Right((r"^same fingerprint: False ids changed: 8991$",)),
    "review/r10": Right(
        (r"^3500 ids of 1 document in 1 shard in ",),
        errors=(r"note: the text contains '<\|endoftext\|>' 500 times, but without --separator",),
        check=_few_frames,
    ),
    "review/r11": Right(check=_readers_agree),
    "review/r12": Right(check=_no_faster_than_all_writers),
    "review/r13": Right(check=_linear),
    "review/r14p": Right((r"^MemoryError: ", r"^(second: RuntimeError .*incomplete|None$)"), never=("Timeout",)),
    "review/r15": Right((r"^MemoryError ",), never=("Timeout",), arguments=("400", "2")),
}
