"""Plots as SVG for a page: text stays text, and colours are the page's, so they follow its light and dark schemes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from itertools import count
from typing import Any

# A plot is drawn in these colours, which are then replaced by the names of the page's colours.
SERIES = {f"#a1000{number}": f"var(--series-{number})" for number in range(1, 7)}
INK, GRID, SURFACE = "#a100f0", "#a100f1", "#a100f2"
PAGE_COLOURS = {**SERIES, INK: "var(--ink-soft)", GRID: "var(--line)", SURFACE: "var(--surface)"}
# inches of 72 points: the width of a phone, so that letters are readable there
SIZE = (4.9, 3.3)
FONT_POINTS = 10
# makes the ids of each plot its own, because a page holds several
_numbers = count()


@dataclass(frozen=True)
class Curve:
    """A line of a plot: its points, and whether they are marked."""

    x: Sequence[float]
    y: Sequence[float]
    marked: bool = False


def stacked_bars(
    labels: Sequence[str], series: Mapping[str, Sequence[float]], axis: str, horizontal: bool = False
) -> str:
    """Draws bars of parts.

    Args:
        labels: A label for each bar.
        series: Name of a part -> its size in each bar.
        axis: Label of the axis of sizes.
        horizontal: Whether the bars are horizontal.

    Returns:
        An <svg> element.
    """

    def draw(axes: Any) -> None:
        base = [0.0] * len(labels)
        for colour, (name, sizes) in zip(SERIES, series.items(), strict=False):
            options = {"color": colour, "label": name, "edgecolor": SURFACE, "linewidth": 1}
            if horizontal:
                axes.barh(list(labels), sizes, left=base, height=0.5, **options)
            else:
                axes.bar(list(labels), sizes, bottom=base, width=0.7, **options)
            base = [below + size for below, size in zip(base, sizes, strict=True)]
        (axes.set_xlabel if horizontal else axes.set_ylabel)(axis)
        axes.margins(0.03)

    described = f"{axis}: {', '.join(series)} of {', '.join(labels)}"
    return _drawn(draw, described, height=1.5 if horizontal else SIZE[1], grid="x" if horizontal else "y")


def grouped_bars(labels: Sequence[str], series: Mapping[str, Sequence[float]], axis: str) -> str:
    """Draws groups of bars with their values on them: name of a series -> a value for each label."""

    def draw(axes: Any) -> None:
        width = 0.8 / len(series)
        for number, (colour, (name, values)) in enumerate(zip(SERIES, series.items(), strict=False)):
            places = [place - 0.4 + (number + 0.5) * width for place in range(len(labels))]
            bars = axes.bar(places, values, width=0.92 * width, color=colour, label=name)
            axes.bar_label(bars, fmt="{:.2f}", padding=2, color=INK)
        axes.set_xticks(range(len(labels)), list(labels))
        axes.set_ylabel(axis)
        axes.margins(y=0.12)

    return _drawn(draw, f"{axis}: {', '.join(series)} by {', '.join(labels)}")


def curves(lines: Mapping[str, Curve], x_axis: str, y_axis: str, log_x: bool = False) -> str:
    """Draws lines: name -> points."""

    def draw(axes: Any) -> None:
        for number, (name, line) in enumerate(lines.items()):
            colour = list(SERIES)[number % len(SERIES)]
            dashes = "-" if number < len(SERIES) else "--"
            marker = "o" if line.marked else ""
            axes.plot(line.x, line.y, color=colour, linestyle=dashes, marker=marker, markersize=4, label=name)
        if log_x:
            axes.set_xscale("log")
        axes.set_xlabel(x_axis)
        axes.set_ylabel(y_axis)

    return _drawn(draw, f"{y_axis} by {x_axis}: {', '.join(lines)}")


def _drawn(draw: Callable[[Any], None], described: str, height: float = SIZE[1], grid: Any = "y") -> str:
    """Makes an <svg> element from the drawing of a function on axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"fastlm-{next(_numbers)}",
        "font.size": FONT_POINTS,
        "axes.edgecolor": GRID,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": GRID,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(style):
        # not pyplot, which stores figures globally and may need a display
        figure = Figure(figsize=(SIZE[0], height), layout="constrained")
        axes = figure.subplots()
        axes.set_axisbelow(True)
        axes.grid(visible=True, axis=grid, linewidth=0.6)
        draw(axes)
        handles, labels = axes.get_legend_handles_labels()
        if len(labels) > 1:
            figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        target = StringIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(target.getvalue(), described)


def _for_page(svg: str, described: str) -> str:
    """The <svg> element alone, with the colours and the font of the page, and of any width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"(font: [\d.]+px) [^;\"]*", r"\1 var(--sans)", svg)
    for drawn, named in PAGE_COLOURS.items():
        svg = svg.replace(drawn, named)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(described, quote=True)}"', 1).strip()
