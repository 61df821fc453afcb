"""Problem transformer_accounting: the parameters and FLOPs of GPT-2, with the errors of the write-up named."""

from __future__ import annotations

from dataclasses import replace

from fastlm.model.config import ModelConfig
from fastlm.model.flops import Part, flops_by_part, forward_flops
from fastlm.model.parameters import num_parameters
from fastlm.model.presets import PRESETS
from fastlm.model.shares_plot import CONTEXTS, SIZES
from fastlm.model.writeup import claims
from fastlm.report.content import Cell, Figure, Figures, Plot, Section, Table, Text
from fastlm.report.plots import stacked_bars
from fastlm.report.then import Then

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def transformer_accounting() -> Section:
    """The section: every figure of the write-up's accounting, its errors, and FLOP shares by size and context."""
    section = Section("transformer_accounting", "Transformer accounting")
    found = claims()
    slips = [claim for claim in found if not claim.right]
    section.add(
        Text(
            "Parameters and forward FLOPs of GPT-2's sizes as the assignment counts them: three matrices of 4 d_model "
            "in the feed-forward network, an output layer that is not tied, all T x T scores. `fastlm account` prints "
            "the same figures for any model; tests compare its FLOPs with torch's FlopCounterMode."
        ),
        Figures(
            [
                Figure(
                    claim.what,
                    claim.computed,
                    "",
                    Then(claim.printed, section.name),
                    note="" if claim.right else "slip",
                )
                for claim in found
            ]
        ),
        Text(f"The write-up has {NUMBERS[len(slips)]} slips:"),
        Table(
            ["figure", "printed", "right", "the slip"],
            [[claim.what, claim.printed, claim.computed, claim.slip] for claim in slips],
        ),
    )
    sizes = {name: PRESETS[name] for name in SIZES}
    contexts = {f"{length:,}": replace(PRESETS["gpt2-xl"], context_length=length) for length in CONTEXTS}
    section.add(
        *_shares(sizes, "size", "Shares of the forward FLOPs by size, at 1,024 tokens. The share of the feed-forward "
                                "network grows with the width, the share of the output layer falls."),
        *_shares(contexts, "context of GPT-2 XL", "Shares by context length. The scores grow with its square."),
    )  # fmt: skip
    long = replace(PRESETS["gpt2-xl"], context_length=16_384)
    growth = forward_flops(long) / forward_flops(PRESETS["gpt2-xl"])
    causal = forward_flops(long, convention="causal") / forward_flops(long)
    section.add(
        Text(
            f"With 16 times the context, a sequence takes {growth:.2f} times the FLOPs. The figures count all scores. "
            f"A causal kernel computes half of them, which at 16,384 tokens is {100 * causal:.1f} % of the total."
        )
    )
    return section


def _shares(models: dict[str, ModelConfig], title: str, caption: str) -> list[Table | Plot]:
    """A table and a plot of the shares of FLOPs that the parts of each model take."""
    parts = {name: flops_by_part(config) for name, config in models.items()}
    names: list[Part] = list(next(iter(parts.values())))
    shares = {name: [100 * found[part] / sum(found.values()) for part in names] for name, found in parts.items()}
    rows: list[list[Cell]] = [
        [name, num_parameters(models[name]), sum(parts[name].values()), *(round(share, 1) for share in found)]
        for name, found in shares.items()
    ]
    series = {part: [found[number] for found in shares.values()] for number, part in enumerate(names)}
    head = [title, "parameters", "forward FLOPs", *(f"{part}, %" for part in names)]
    plot = stacked_bars(list(models), {str(part): values for part, values in series.items()}, "% of forward FLOPs")
    return [Table(head, rows, caption), Plot(plot, f"Shares by {title}.")]
