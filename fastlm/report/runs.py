"""Problems experiment_log, learning_rate, generate and the ablations: a comparison of training runs by their
logs."""

from __future__ import annotations

import statistics
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from fastlm.model.parameters import num_parameters
from fastlm.report.content import Cell, Figure, Figures, Plot, Sample, Section, Table, Text
from fastlm.report.plots import Curve, curves
from fastlm.report.then import then
from fastlm.training.config import TrainingConfig, load_config
from fastlm.training.log import read_log

# fields in which runs may differ that are compared by learning rate
RATE_FIELDS = {"learning_rate", "min_learning_rate", "warmup_steps"}
# the choice of a field -> its name in the assignment
ABLATIONS = {
    ("model.norm", "none"): "no RMSNorm",
    ("model.norm", "post"): "post-norm",
    ("model.rope_theta", None): "NoPE",
    ("model.ffn", "silu"): "SiLU",
}
ABLATED_FIELDS = {field for field, _ in ABLATIONS} | {"model.d_ff"}
# the smallest model of the assignment with TinyStories
TARGET_VOCAB_SIZE, TARGET_TOKENS = 10_000, 300_000_000
SAMPLE_TOKENS = 160
SAMPLE_OPTIONS: dict[str, Any] = {"temperature": 0.8, "top_p": 0.9}


@dataclass(frozen=True, eq=False)
class Run:
    """A training run, read from its folder.

    Attributes:
        name: A short name that no other run of the report has.
        folder: Its folder.
        config: Its configuration.
        log: Its log.
    """

    name: str
    folder: Path
    config: TrainingConfig
    log: list[dict[str, Any]]

    def logged(self, key: str) -> dict[int, float]:
        """The logged values of a key by step."""
        return {line["step"]: line[key] for line in self.log if key in line}

    def last(self, key: str) -> float | None:
        """The last logged value of a key."""
        values = list(self.logged(key).values())
        return values[-1] if values else None

    @property
    def steps(self) -> int:
        """The last logged step."""
        return max((line["step"] for line in self.log), default=0)

    @property
    def tokens(self) -> int:
        """Tokens on which the run was trained."""
        return self.steps * self.config.batch_size * self.config.model.context_length

    @property
    def state(self) -> str:
        """Whether all steps were done."""
        return "finished" if self.steps >= self.config.steps else f"ended at step {self.steps:,}"

    def ablations(self) -> tuple[str, ...]:
        """The ablations of the run, by the assignment's names."""
        fields = self.config.deciding()
        return tuple(name for (field, value), name in ABLATIONS.items() if fields[field] == value)


def read_runs(folders: Sequence[str | PathLike[str]] | Mapping[str, str | PathLike[str]]) -> list[Run]:
    """Reads training runs.

    Args:
        folders: Their folders, each the `out` of a configuration, or names with folders. Without names a run has the
            name of its folder, or the path where several folders have the same name.

    Returns:
        The runs, with different names.

    Raises:
        OSError: A folder has no configuration or no log, or they cannot be read.
        ValueError: A file has a wrong content, or no step was logged.
    """
    paths = [Path(folder) for folder in (folders.values() if isinstance(folders, Mapping) else folders)]
    names = list(folders) if isinstance(folders, Mapping) else [path.resolve().name for path in paths]
    found = []
    for path, name in zip(paths, names, strict=True):
        for needed in ("config.toml", "log.jsonl"):
            if not (path / needed).exists():
                raise FileNotFoundError(
                    f"{path}: no {needed}; expected the folder that a training run writes to (`out`)"
                )
        try:
            log = read_log(path / "log.jsonl")
        except ValueError as error:
            raise ValueError(f"{path / 'log.jsonl'}: not a log: {error}") from None
        if not any("loss" in line for line in log):
            raise ValueError(f"{path / 'log.jsonl'}: no step was logged")
        unique = name if names.count(name) == 1 else str(path)
        found.append(Run(unique, path, load_config(path / "config.toml"), log))
    return found


def experiments(runs: Sequence[Run], samples: bool = True) -> list[Section]:
    """The sections about runs: curves, comparisons, samples.

    Args:
        runs: The runs.
        samples: Whether text is generated with the models of the runs.
    """
    sections = [_curves(runs)]
    groups = [group for group in _rate_groups(runs) if len(group) > 1]
    if groups:
        sections.append(_learning_rates(groups))
    if any(run.ablations() for run in runs):
        sections.append(_ablations(runs))
    if samples:
        sections.append(_samples(runs))
    return sections


def _curves(runs: Sequence[Run]) -> Section:
    section = Section("experiment_log", "Training runs")
    names = [
        "run",
        "parameters",
        "tokens",
        "seconds",
        "tokens/s",
        "training loss",
        "validation loss",
        "bits a byte",
        "state",
    ]
    section.add(
        Table(names, [_summary(run) for run in runs], "Losses are in nats a token, of the last logged step."),
        Figures([row for run in runs for row in _figures(run)]),
    )
    for key, title in (("loss", "training loss"), ("valid_loss", "validation loss")):
        by_step = {run.name: _curve(run, key) for run in runs if run.logged(key)}
        by_time = {run.name: curve for run in runs if (curve := _curve_by_seconds(run, key)) is not None}
        if by_step:
            section.add(Plot(curves(by_step, "step", title), f"The {title} by step."))
        if by_time:
            section.add(Plot(curves(by_time, "seconds", title), f"The {title} by wall time."))
    differing = _differing(runs)
    if differing:
        rows: list[list[Cell]] = [
            [run.name, *(_shown(run.config.deciding()[field]) for field in differing)] for run in runs
        ]
        section.add(Table(["run", *differing], rows, "The fields in which the runs differ."))
    return section


def _summary(run: Run) -> list[Cell]:
    rates = list(run.logged("tokens_per_second").values())
    bits = run.last("valid_bits_per_byte")
    seconds = run.last("seconds")
    return [
        run.name,
        num_parameters(run.config.model),
        run.tokens,
        None if seconds is None else round(seconds, 1),
        round(statistics.median(rates)) if rates else None,
        _rounded(run.last("loss")),
        _rounded(run.last("valid_loss")),
        _rounded(bits),
        run.state,
    ]


def _figures(run: Run) -> list[Figure]:
    """The loss of a run next to the assignment's target, which holds for a vocabulary of 10,000 tokens."""
    loss = run.last("valid_loss")
    if loss is None or run.config.model.vocab_size != TARGET_VOCAB_SIZE:
        return []
    name = "validation_loss" if run.tokens >= TARGET_TOKENS else "low_resource_validation_loss"
    note = "a target of the assignment, for TinyStories"
    what = f"{run.name}: validation loss"
    return [Figure(what, _rounded(loss), "nats a token", then(f"learning_rate.{name}"), "lower", note)]


def _curve(run: Run, key: str) -> Curve:
    values = run.logged(key)
    return Curve(list(values), list(values.values()), marked=key == "valid_loss")


def _curve_by_seconds(run: Run, key: str) -> Curve | None:
    """A curve by wall time. A step without a time takes the time of the last step before it that has one."""
    seconds = run.logged("seconds")
    timed = sorted(seconds)
    points = [(timed[after - 1], value) for step, value in run.logged(key).items() if (after := bisect(timed, step))]
    if not points:
        return None
    return Curve([seconds[step] for step, _ in points], [y for _, y in points], marked=key == "valid_loss")


def _differing(runs: Sequence[Run]) -> list[str]:
    fields = [run.config.deciding() for run in runs]
    return [name for name in fields[0] if any(one[name] != fields[0][name] for one in fields)]


def _rate_groups(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups that differ in the learning rate only."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        same = {name: value for name, value in run.config.deciding().items() if name not in RATE_FIELDS}
        groups.setdefault(repr(sorted(same.items(), key=lambda item: item[0])), []).append(run)
    return [group for group in groups.values() if len({run.config.learning_rate for run in group}) > 1]


def _learning_rates(groups: Sequence[Sequence[Run]]) -> Section:
    section = Section("learning_rate", "Learning rates")
    for group in groups:
        ordered = sorted(group, key=lambda run: run.config.learning_rate)
        rows: list[list[Cell]] = [
            [run.name, run.config.learning_rate, _rounded(run.last("loss")), _rounded(_score(run)), run.state]
            for run in ordered
        ]
        best = min(ordered, key=lambda run: (run.state != "finished", _score(run)))
        section.add(
            Table(
                ["run", "learning rate", "training loss", "validation loss", "state"],
                rows,
                f"The best is {best.config.learning_rate:g}. A run that ended early had a loss that was not finite, or "
                "was stopped.",
            )
        )
        points = Curve([run.config.learning_rate for run in ordered], [_score(run) for run in ordered], marked=True)
        section.add(Plot(curves({"loss": points}, "learning rate", "final loss", log_x=True), "Loss by learning rate."))
    return section


def _score(run: Run) -> float:
    """The validation loss, or the training loss without one."""
    found = run.last("valid_loss")
    return found if found is not None else run.last("loss") or float("inf")


def _ablations(runs: Sequence[Run]) -> Section:
    """The runs with an ablation, each compared with a run without."""
    section = Section("ablations", "Ablations")
    ablated = [run for run in runs if run.ablations()]
    baselines = {run.name: _baseline(run, runs) for run in ablated}
    shown = list(dict.fromkeys([*(one for one in baselines.values() if one is not None), *ablated]))
    rows: list[list[Cell]] = []
    for run in shown:
        baseline = baselines.get(run.name)
        difference = None if baseline is None else _rounded(_score(run) - _score(baseline))
        names = ", ".join(run.ablations()) or "none"
        compared = None if baseline is None else baseline.name
        rows.append([run.name, names, run.config.learning_rate, _rounded(_score(run)), difference, compared, run.state])
    caption = (
        "A run without an ablation has pre-norm, RoPE and SwiGLU. The baseline of a run is the run without an "
        "ablation that differs from it in the fewest other fields."
    )
    key = "valid_loss" if all(run.logged("valid_loss") for run in shown) else "loss"
    lines = {f"{run.name}: {', '.join(run.ablations()) or 'baseline'}": _curve(run, key) for run in shown}
    head = ["run", "ablation", "learning rate", "loss", "minus baseline", "baseline", "state"]
    section.add(Table(head, rows, caption), Plot(curves(lines, "step", "loss"), "The loss of each ablation by step."))
    return section


def _baseline(run: Run, runs: Sequence[Run]) -> Run | None:
    """The run without ablations to compare a run with."""
    plain = [other for other in runs if not other.ablations()]

    def distance(other: Run) -> tuple[int, float]:
        mine, others = run.config.deciding(), other.config.deciding()
        unlike = sum(mine[name] != others[name] for name in mine if name not in ABLATED_FIELDS)
        return unlike, _score(other)

    return min(plain, key=distance, default=None)


def _samples(runs: Sequence[Run]) -> Section:
    section = Section("generate", "Generated text")
    options = ", ".join(f"{name} {value}" for name, value in SAMPLE_OPTIONS.items())
    section.add(Text(f"At most {SAMPLE_TOKENS} tokens, {options}. The prompt is the token that ends a document."))
    for run in runs:
        section.add(*_samples_of(run))
    return section


def _samples_of(run: Run) -> list[Sample | Text]:
    """Two samples of the model of a run."""
    if not (run.folder / "model" / "model.json").exists():
        return [Text(f"{run.name}: the run has no model yet.")]
    from fastlm.generation import generate
    from fastlm.model.files import load_model
    from fastlm.tokenizer_files import load

    try:
        tokenizer = load(run.folder / "model")
    except OSError:
        return [Text(f"{run.name}: the run has no tokenizer, so its tokens have no text.")]
    model = load_model(run.folder / "model", tokenizer)
    special = tokenizer.special_tokens
    prompt = "<|endoftext|>" if "<|endoftext|>" in special else "The"
    found: list[Sample | Text] = []
    for seed in range(2):
        made = generate(model, prompt, tokenizer, max_new_tokens=SAMPLE_TOKENS, seed=seed, **SAMPLE_OPTIONS)
        shown = "" if prompt in special else prompt
        found.append(Sample(shown, made.text or "", f"{run.name}, seed {seed}, {made.finish_reason}"))
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _shown(value: Any) -> Cell:
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else str(value).lower()
