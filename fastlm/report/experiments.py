"""Problem tokenizer_experiments: compression, throughput, hours for The Pile, the dtype of ids."""

from __future__ import annotations

import time
from dataclasses import replace

from fastlm.corpus.shard_formats import ids_dtype
from fastlm.report.bpe_training import Trained
from fastlm.report.content import Better, Figure, Figures, Plot, Section, Table, Text
from fastlm.report.plots import grouped_bars
from fastlm.report.then import then
from fastlm.threads import thread_count
from fastlm.tokenizer import Tokenizer

MB = 1e6
HOUR = 3600
# an encoder has seen the text before in a warm round
WARM_ROUNDS = 3


def tokenizer_experiments(stories: Trained, web: Trained, threads: int | None = None) -> Section:
    """The section: a table of tokenizer and corpus, MB/s cold and warm, hours for The Pile, the dtype of ids."""
    section = Section("tokenizer_experiments", "Experiments with the tokenizers")
    samples = {trained.text.name: trained.text.sample() for trained in (stories, web)}
    sizes = {name: sum(len(document.encode()) for document in documents) for name, documents in samples.items()}
    ratios = {
        trained.text.name: {
            name: sizes[name] / sum(map(trained.tokenizer.count, documents)) for name, documents in samples.items()
        }
        for trained in (stories, web)
    }
    names = list(samples)
    section.add(
        Text(
            "Bytes of UTF-8 per token, on documents from the beginning of each corpus: "
            + ", ".join(f"{len(samples[name]):,} of {name} ({sizes[name] / MB:,.2f} MB)" for name in names)
            + "."
        ),
        Table(
            ["tokenizer", *(f"on {_shown(trained)}" for trained in (stories, web))],
            [
                [f"{name}, {_vocabulary(name, stories, web)}", *(round(ratios[name][on], 3) for on in names)]
                for name in names
            ],
            "Bytes a token.",
        ),
        Plot(
            grouped_bars(names, {f"on {on}": [ratios[name][on] for name in names] for on in names}, "bytes a token"),
            "Bytes a token by tokenizer; the colours are the corpora.",
        ),
        Figures(
            [
                _compression(ratios, stories, stories, "tinystories"),
                _compression(ratios, web, web, "openwebtext"),
                replace(
                    _compression(ratios, stories, web, "across"),
                    note="the write-up gives one figure across; the assignment asks for this direction",
                ),
            ]
        ),
    )
    _add_throughput(section, web, samples[web.text.name], threads)
    _add_dtype(section, stories, web)
    return section


def _shown(trained: Trained) -> str:
    return f"{trained.text.name}{' (stand-in)' if trained.is_stand_in else ''}"


def _vocabulary(name: str, *all_trained: Trained) -> str:
    tokens = next(trained.tokenizer.vocab_size for trained in all_trained if trained.text.name == name)
    return f"{tokens:,} tokens"


def _compression(ratios: dict[str, dict[str, float]], tokenizer: Trained, on: Trained, name: str) -> Figure:
    """The bytes a token of a tokenizer on a corpus; better or worse only where both are the write-up's corpora."""
    figure = then(f"tokenizer_experiments.{name}")
    better: Better = "equal" if tokenizer.is_stand_in or on.is_stand_in else "higher"
    names = (tokenizer.text.name, on.text.name)
    return Figure(
        f"{names[0]} tokenizer on {names[1]}", round(ratios[names[0]][names[1]], 3), "bytes a token", figure, better
    )


def _add_throughput(section: Section, trained: Trained, documents: list[str], threads: int | None) -> None:
    """Times the first encoding of a text by a new tokenizer, and the best of some later ones."""
    size = sum(len(document.encode()) for document in documents)
    workers = thread_count(threads)
    figures = []
    for label, count in {"one thread": 1, f"{workers} threads": workers}.items():
        if count == 1 and label != "one thread":
            continue
        cold, warm = _seconds(trained.tokenizer, documents, count)
        for state, seconds in (("cold", cold), ("warm", warm)):
            rate = size / MB / seconds
            figures += [
                Figure(
                    f"{label}, {state}", round(rate, 1), "MB/s", then("tokenizer_experiments.mb_per_second"), "higher"
                ),
                Figure(
                    f"{label}, {state}: The Pile, 825 GB",
                    round(float(then("tokenizer_experiments.pile_bytes").value) / MB / rate / HOUR, 3),
                    "hours",
                    then("tokenizer_experiments.pile_hours"),
                    "lower",
                ),
            ]
    section.add(
        Text(
            f"Throughput of the OpenWebText tokenizer on {size / MB:,.1f} MB in memory, ids as one NumPy array. Cold "
            f"is the first encoding by a new tokenizer, warm the best of {WARM_ROUNDS} that follow. The hours for The "
            "Pile follow from the rate; reading and writing are not part of them (`fastlm plan` includes them)."
        ),
        Figures(figures),
    )


def _seconds(tokenizer: Tokenizer, documents: list[str], threads: int) -> tuple[float, float]:
    new = Tokenizer.from_vocabulary(tokenizer.vocabulary)
    rounds = []
    for _ in range(1 + WARM_ROUNDS):
        start = time.perf_counter()
        new.encode_batch_flat(documents, num_threads=threads)
        rounds.append(time.perf_counter() - start)
    return rounds[0], min(rounds[1:])


def _add_dtype(section: Section, *all_trained: Trained) -> None:
    """The dtype that holds all ids of each vocabulary."""
    rows = []
    for trained in all_trained:
        tokens = trained.tokenizer.vocab_size
        dtype = ids_dtype("npy", len(trained.tokenizer.vocabulary)).name
        figure = Figure(
            f"dtype of the ids of {tokens:,} tokens", dtype, "", then("tokenizer_experiments.id_type"),
            note=f"the greatest id is {len(trained.tokenizer.vocabulary) - 1:,}; uint16 holds ids up to 65,535",
        )  # fmt: skip
        rows.append(figure)
    section.add(Text("The dtype follows from the size of the vocabulary."), Figures(rows))
