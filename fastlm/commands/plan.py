"""`fastlm plan`: estimates the time and memory that a corpus takes, before it exists."""

from __future__ import annotations

from json import dumps, loads
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from fastlm.commands.inputs import OptionalPath
from fastlm.commands.sizes import parse_size
from fastlm.planning.estimate import ASSUMPTIONS, GROWTHS, Cluster, Growth, Plan, Rates
from fastlm.planning.estimate import plan as plan_of
from fastlm.progress import shown


def plan(
    size: Annotated[Positional[str], arg(metavar="SIZE")],
    /,
    cores: tuple[int, ...] = (1, 16, 512),
    machine_cores: int = 16,
    memory: Annotated[str, arg(metavar="SIZE")] = "64GB",
    disk: Annotated[str, arg(metavar="SIZE")] = "2GB",
    vocab_size: int = 32_000,
    growth: Literal["openwebtext", "tinystories"] = "openwebtext",
    task_size: Annotated[str, arg(aliases=["--task"], metavar="SIZE")] = "1GB",
    text: OptionalPath = None,
    tokenizer: OptionalPath = None,
    rates: OptionalPath = None,
    json: bool = False,
) -> None:
    """Estimate the time and memory to train a tokenizer on a corpus, and to encode the corpus.

    Args:
        size: Size of the corpus as text, such as 825GB or 15TB.
        cores: Numbers of cores to plan for.
        machine_cores: Cores of a machine.
        memory: Memory of a machine.
        disk: Bytes that a machine reads or writes in a second.
        vocab_size: Number of tokens.
        growth: Growth of the number of distinct pretokens with the text: as in OpenWebText, or as in TinyStories.
        task_size: Bytes of text that a core gets at a time.
        text: File to measure the rates on, about 100 MB of text like the corpus; by default English and Python that
            come with CPython.
        tokenizer: Directory or file of the tokenizer that encodes; by default one trained on the text.
        rates: JSON that --json printed before, or its "rates"; then nothing is measured.
        json: Print JSON.
    """
    size_bytes = parse_size(size, "size")
    law = GROWTHS[growth]
    if not cores:
        raise ValueError("cores: expected at least one number")
    machine = (machine_cores, parse_size(memory), parse_size(disk, "disk"))
    clusters = [Cluster(number, *machine) for number in cores]
    found = _read(rates) if rates else _measured(text, tokenizer, vocab_size)
    task_bytes = parse_size(task_size, "task_size")
    plans = [plan_of(size_bytes, law, found, cluster, vocab_size, task_bytes) for cluster in clusters]
    if json:
        content = {
            "size": size_bytes,
            "growth": vars(law),
            "rates": vars(found),
            "assumptions": ASSUMPTIONS,
            "plans": [one.to_dict() for one in plans],
        }
        print(dumps(content, indent=2))
    else:
        print(table(size_bytes, law, found, plans))


def _measured(text: Path | None, tokenizer: Path | None, vocab_size: int) -> Rates:
    from fastlm import load
    from fastlm.demo.texts import demo_corpus
    from fastlm.planning.rates import measure_rates

    with shown() as report:
        return measure_rates(text or demo_corpus(), vocab_size, load(tokenizer) if tokenizer else None, progress=report)


def _read(path: Path) -> Rates:
    try:
        content: Any = loads(path.read_text("utf-8"))
        return Rates(**content.get("rates", content))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the rates of a plan: {error}") from None


def table(size: float, growth: Growth, rates: Rates, plans: list[Plan]) -> str:
    """The plans side by side, with their rates and assumptions, as lines of text."""
    from fastlm.model.account import duration
    from fastlm.model.account import size as bytes_of

    def column(plan: Plan) -> list[str]:
        return [
            f"{plan.cores:,}",
            f"{plan.machines:,}",
            duration(plan.count_seconds),
            plan.count_bound,
            duration(plan.add_seconds),
            duration(plan.merge_seconds),
            duration(plan.train_seconds),
            plan.train_bound,
            bytes_of(int(plan.table_memory)),
            f"{plan.spills:,.0f}",
            bytes_of(int(plan.merge_memory)) + ("" if plan.fits else ", does not fit"),
            duration(plan.encode_seconds),
            plan.encode_bound,
        ]

    names = [
        "cores", "machines", "counting", "  bound by", "adding up tables", "merging", "training in all",
        "  longest", "tables on a machine", "  spills of tables", "memory for merging", "encoding", "  bound by",
    ]  # fmt: skip
    rows = [names, *map(column, plans)]
    widths = [max(map(len, row)) for row in rows]
    lines = [
        f"{name:<{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        for name, *cells in zip(*rows, strict=True)
    ]
    first = plans[0]
    return "\n".join(
        [
            f"{bytes_of(int(size))} of text in {first.tasks:,} tasks: {first.distinct / 1e6:,.1f} million distinct "
            f"pretokens, {first.tokens / 1e9:,.1f} billion tokens, {bytes_of(int(first.shard_bytes))} of shards",
            "",
            *lines,
            "",
            f"rates of a core: counting {rates.count_bytes / 1e6:,.0f} MB/s, adding {rates.add_words / 1e6:,.1f} "
            f"million distinct pretokens/s, merging {rates.merge_words / 1e6:,.2f} million/s, encoding "
            f"{rates.encode_bytes / 1e6:,.0f} MB/s, hashing and writing ids {rates.write_bytes / 1e6:,.0f} MB/s; "
            f"{rates.token_bytes:.2f} bytes a token, {rates.word_bytes:.1f} a distinct pretoken",
            f"growth: {growth.distinct:,.0f} distinct pretokens in {bytes_of(int(growth.size))}, exponent "
            f"{growth.exponent}",
            "assumptions:",
            *(f"- {assumption}" for assumption in ASSUMPTIONS),
        ]
    )
