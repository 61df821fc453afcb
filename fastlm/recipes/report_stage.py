"""The stage `report`: the figures of all stages, as JSON and as Markdown, and a page about the training."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastlm.files.atomic import write_files
from fastlm.model.account import duration, size
from fastlm.process_memory import peak_bytes
from fastlm.recipes.recipe import Recipe
from fastlm.recipes.stage import Stage, StageJob, StageResult
from fastlm.recipes.stage_record import StageRecord, read_record
from fastlm.report.write import missing_package, write_report
from fastlm.text.escapes import escaped

REPORT, FIGURES = "report.md", "report.json"
# the folder of the page, which needs the extra `fastlm[report]`
PAGE = "page"
STAGES = ("corpus", "tokenizer", "shards", "training", "evaluation", "export")
_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 60


def _work(job: StageJob) -> StageResult:
    records = {stage: read_record(job.finished(stage)) for stage in STAGES}
    known = {stage: record for stage, record in records.items() if record is not None}
    figures = {
        "name": job.recipe.name,
        "stages": {
            stage: {"seconds": one.seconds, "digest": one.digest, **one.figures} for stage, one in known.items()
        },
        "peak_memory": peak_bytes(),
    }
    text = "\n".join(_lines(job.recipe, known, figures)) + "\n"
    write_files(job.folder, {FIGURES: f"{json.dumps(figures, indent=1)}\n".encode(), REPORT: text.encode()})
    shown = job.finished("report") / REPORT
    if missing_package() is None:
        write_report(job.folder / PAGE, runs={job.recipe.name: job.finished("training")}, sections=["runs"])
        shown = job.finished("report") / PAGE / "report.html"
    return StageResult([], {}, str(shown))


def _lines(recipe: Recipe, records: Mapping[str, StageRecord], figures: Mapping[str, Any]) -> Iterator[str]:
    training, evaluation = records["training"].figures, records["evaluation"].figures
    yield from (f"# {escaped(recipe.name)}", "", escaped(recipe.description), "")
    yield from ("| stage | time | result |", "|---|---|---|")
    for stage, record in records.items():
        shown = {name: value for name, value in record.figures.items() if isinstance(value, int | float)}
        text = ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in shown.items())
        yield f"| {stage} | {duration(record.seconds)} | {text} |"
    yield from ("", f"Peak memory of the last process: {size(figures['peak_memory'])}.", "", "## Loss", "")
    losses = [loss for _, loss in training["losses"]]
    yield from ("```", f"{losses[0]:.3f} {bars(losses)} {losses[-1]:.3f}", "```", "")
    if validation := evaluation["validation"]:
        yield f"Validation: loss {validation['loss']:.4f} nats per token, perplexity {validation['perplexity']:.2f}"
        if validation["bits_per_byte"] is not None:
            yield f"and {validation['bits_per_byte']:.4f} bits per byte"
        yield "."
    yield from ("", "## Continuations", "")
    for sample in evaluation["samples"]:
        quoted = escaped(f"{sample['prompt']}{sample['text']}", keep="\n\t").replace("```", "` ` `")
        yield from ("```text", quoted, "```", "")


def bars(values: list[float]) -> str:
    """A line of bars, at most 60, each the mean of consecutive values."""
    count = min(len(values), _MOST_BARS)
    edges = [round(k * len(values) / count) for k in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, spread = min(means), max(max(means) - min(means), 1e-9)
    return "".join(_BARS[round((mean - low) / spread * (len(_BARS) - 1))] for mean in means)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _options(recipe: Recipe) -> object:
    return {"name": recipe.name, "description": recipe.description}


REPORT_STAGE = Stage("report", STAGES, _work, _options)
