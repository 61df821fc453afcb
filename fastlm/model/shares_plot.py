"""A plot of the share of a model's FLOPs that each part takes, by size and by context length."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

from fastlm.files.atomic import write_files
from fastlm.model.flops import Part, flops_by_part
from fastlm.model.presets import PRESETS

SIZES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
CONTEXTS = (1024, 4096, 16_384, 65_536)
COLOURS: dict[Part, str] = {
    "attention projections": "#4c78a8",
    "attention scores": "#9ecae9",
    "feed-forward": "#f58518",
    "output layer": "#bab0ac",
}


def plot_shares(path: Path) -> None:
    """Writes the plot, for GPT-2's sizes and for gpt2-xl by context length.

    Args:
        path: The image. Its suffix selects the format.

    Raises:
        ValueError: The suffix is no image format.
        OSError: The file cannot be written.
    """
    # not pyplot, which stores figures globally and may need a display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    by_size, by_context = figure.subplots(1, 2, sharey=True)
    shapes = {name: PRESETS[name] for name in SIZES}
    contexts = {f"{length:,}": replace(PRESETS["gpt2-xl"], context_length=length) for length in CONTEXTS}
    for axes, models, title in (
        (by_size, shapes, "size, 1,024 tokens"),
        (by_context, contexts, "context length, gpt2-xl"),
    ):
        bottom = [0.0] * len(models)
        found = [flops_by_part(config) for config in models.values()]
        for part, colour in COLOURS.items():
            heights = [100 * parts[part] / sum(parts.values()) for parts in found]
            axes.bar(list(models), heights, bottom=bottom, color=colour, label=part)
            bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
        axes.set_title(f"forward FLOPs by {title}")
    by_size.set_ylabel("% of forward FLOPs")
    figure.legend(*by_size.get_legend_handles_labels(), loc="outside lower center", ncols=len(COLOURS))
    image = BytesIO()
    figure.savefig(image, format=path.suffix.lstrip(".") or "png", dpi=150)
    write_files(path.parent, {path.name: image.getvalue()})
