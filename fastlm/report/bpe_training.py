"""Problems train_bpe_tinystories and train_bpe_expts_owt: two trainings, their measurements, and the
merges that their tokenizers share."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastlm.report.content import Cell, Figure, Figures, Plot, Section, Table, Text
from fastlm.report.corpora import TrainingText
from fastlm.report.plots import stacked_bars
from fastlm.report.then import Then, then
from fastlm.report.training_job import Measured
from fastlm.tokenizer import Tokenizer

MB = 1e6
LONGEST = 8
# relative difference of two sizes of the same corpus
TOLERANCE = 0.1


@dataclass(frozen=True)
class Trained:
    """A corpus, its tokenizer, and the figures of the training."""

    text: TrainingText
    tokenizer: Tokenizer
    measured: Measured

    @property
    def is_stand_in(self) -> bool:
        """Whether other text stood in for the corpus."""
        return bool(self.text.stands_in)


def train_bpe_tinystories(trained: Trained) -> Section:
    """The section of the training on TinyStories."""
    section = Section("train_bpe_tinystories", "BPE training on TinyStories")
    found = trained.measured
    share = 100 * found.counting_seconds / found.seconds
    rows = _common(trained, section.name)
    rows.append(
        Figure(
            "share of wall time in counting pretokens",
            round(share, 1),
            "%",
            then(f"{section.name}.counting_share"),
            note="the write-up: in the pool that pre-tokenizes",
        )
    )
    section.add(*_intro(trained, section.name), Figures(rows), *_phases(trained), _longest(trained))
    return section


def train_bpe_expts_owt(trained: Trained, other: Trained) -> Section:
    """The section of the training on OpenWebText, and the comparison with the `other` training, on TinyStories."""
    section = Section("train_bpe_expts_owt", "BPE training on OpenWebText")
    rows = _common(trained, section.name)
    shared = set(trained.tokenizer.merges) & set(other.tokenizer.merges)
    merges = len(other.tokenizer.merges)
    rows += [
        Figure("merges shared with the TinyStories tokenizer", len(shared), f"of {merges:,}"),
        Figure(
            "share of its merges",
            round(100 * len(shared) / merges, 1),
            "%",
            then(f"{section.name}.shared_share"),
            note="the write-up says half, without the digits",
        ),
    ]
    section.add(*_intro(trained, section.name), Figures(rows), *_phases(trained), _longest(trained))
    return section


def _intro(trained: Trained, section: str) -> list[Text]:
    """The text that was used, if it is not the whole corpus."""
    if _is_whole(trained, section):
        return []
    if trained.is_stand_in:
        used = f"{trained.text.stands_in} stood in for {trained.text.name}."
    else:
        megabytes = trained.measured.bytes / MB
        whole = _megabytes(section).value
        used = f"The text has {megabytes:,.1f} MB; the write-up's {trained.text.name} has {whole:,} MB."
    return [Text(f"{used} Times and memory of texts of different sizes cannot be compared, so they have no ratio.")]


def _is_whole(trained: Trained, section: str) -> bool:
    """Whether the text is the write-up's corpus, by its size."""
    ratio = trained.measured.bytes / MB / float(_megabytes(section).value)
    return not trained.is_stand_in and abs(ratio - 1) < TOLERANCE


def _common(trained: Trained, section: str) -> list[Figure]:
    """The figures that both trainings have."""
    found, whole = trained.measured, _is_whole(trained, section)
    megabytes = found.bytes / MB
    longest = _longest_tokens(trained.tokenizer)[0]
    return [
        Figure("text", _significant(megabytes), "MB", _megabytes(section), comparable=whole),
        Figure("tokens of the vocabulary", trained.tokenizer.vocab_size, "", then(f"{section}.vocab_size")),
        Figure("wall time", round(found.seconds, 3), "s", then(f"{section}.seconds"), "lower", comparable=whole),
        Figure("CPU time", round(found.cpu_seconds, 3), "s", then(f"{section}.cpu_seconds"), "lower", comparable=whole),
        Figure(
            "peak memory", round(found.peak_bytes / MB, 1), "MB", then(f"{section}.peak_mb"), "lower", comparable=whole
        ),
        Figure(
            "text by wall time",
            _significant(megabytes / found.seconds),
            "MB/s",
            then(f"{section}.mb_per_second"),
            "higher",
        ),
        Figure(
            "text by CPU time",
            _significant(megabytes / found.cpu_seconds),
            "MB/CPU s",
            then(f"{section}.mb_per_cpu_second"),
            "higher",
        ),
        Figure("longest token", repr(longest), "", then(f"{section}.longest_token"), comparable=False),
        Figure("its length", len(longest), "bytes", then(f"{section}.longest_token_bytes"), comparable=whole),
    ]


def _significant(value: float) -> float:
    """A value rounded to four significant digits."""
    return float(f"{value:.4g}")


def _megabytes(section: str) -> Then:
    """The size of the write-up's corpus."""
    size = then(f"{section}.bytes")
    return replace(size, value=round(float(size.value) / MB))


def _phases(trained: Trained) -> list[Table | Plot]:
    found = trained.measured
    rest = max(0.0, found.seconds - found.counting_seconds - found.merging_seconds)
    phases = {
        "counting pretokens": found.counting_seconds,
        "learning merges": found.merging_seconds,
        "the rest": rest,
    }
    rows: list[list[Cell]] = [
        [name, round(seconds, 3), round(100 * seconds / found.seconds, 1)] for name, seconds in phases.items()
    ]
    caption = (
        f"Phases of the training. Counting includes reading, and took {found.counting_cpu_seconds:.3f} CPU seconds; "
        "the rest adds up the tables of the threads and builds the vocabulary. The process held "
        f"{found.base_bytes / MB:,.0f} MB before it began."
    )
    bars = stacked_bars(
        [trained.text.name],
        {name: [100 * seconds / found.seconds] for name, seconds in phases.items()},
        "% of wall time",
        horizontal=True,
    )
    return [
        Table(["phase", "seconds", "% of wall time"], rows, caption),
        Plot(bars, "Wall time by phase."),
    ]


def _longest(trained: Trained) -> Table:
    rows: list[list[Cell]] = [[repr(token), len(token)] for token in _longest_tokens(trained.tokenizer)]
    return Table(["longest tokens", "bytes"], rows, "The longest tokens of the vocabulary.")


def _longest_tokens(tokenizer: Tokenizer) -> list[bytes]:
    """The longest tokens that are not special, the longest first; of equal ones the first learned."""
    special = set(tokenizer.special_tokens.values())
    tokens = [token for token_id, token in tokenizer.vocab.items() if token_id not in special]
    return sorted(tokens, key=len, reverse=True)[:LONGEST]
