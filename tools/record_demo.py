"""Runs `fastlm demo` and writes docs/assets/demo.svg, which README shows: `python tools/record_demo.py`.

The picture plays the output of the command as it came, with its colours, in a window of 100 columns. A pause of more
than two seconds is shortened to two.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = ["fastlm", "demo"]
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "assets" / "demo.svg"
COLUMNS = 100
LONGEST_PAUSE = 2.0
# a reader who asks for less motion sees the whole output at once
STYLE = """
    .demo-matrix text { opacity: 0; animation: demo-appear 0.1s linear forwards }
    @keyframes demo-appear { to { opacity: 1 } }
    @media (prefers-reduced-motion: reduce) { .demo-matrix text { opacity: 1; animation: none } }
"""


def recorded() -> tuple[bytes, list[tuple[float, int]]]:
    """The output of the demo, and its parts as they came: seconds since the part before, and bytes.

    The pseudo-terminal of `script` makes the demo write colours.
    """
    command = f"stty cols {COLUMNS}; {sys.executable} -m {' '.join(COMMAND)}"
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LANG": "C.UTF-8"}
    with tempfile.TemporaryDirectory() as folder:
        output, timing = Path(folder, "output"), Path(folder, "timing")
        logs = ["--log-out", str(output), "--log-timing", str(timing), "--logging-format", "classic"]
        subprocess.run(
            ["script", "--quiet", "--return", *logs, "--command", command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        parts = [line.split() for line in timing.read_text().splitlines()]
        # the log has a line of its own before and after the output
        content = output.read_bytes().split(b"\n", 1)[1].rpartition(b"\nScript done")[0]
    return content, [(float(seconds), int(size)) for seconds, size in parts]


def lines_with_times(content: bytes, parts: Sequence[tuple[float, int]]) -> list[tuple[str, float]]:
    """Each line as it is in the end, and the second at which it was whole."""
    times: list[float] = []  # of each byte
    now = 0.0
    for seconds, size in parts:
        now += min(seconds, LONGEST_PAUSE)
        times += [now] * size
    lines, at = [], 0
    for line in content.split(b"\n"):
        at += len(line) + 1
        # a progress bar writes its line again and again, and ends it by clearing it
        shown = line.decode().rstrip("\r").rsplit("\r", 1)[-1]
        shown = re.sub(r"\x1b\[[0-9;?]*[A-HJKSThl]", "", shown)
        lines.append((shown, times[min(at, len(times)) - 1]))
    while lines and not lines[-1][0].strip():
        lines.pop()
    return lines


def picture(lines: Sequence[tuple[str, float]]) -> str:
    """The SVG of an output. Its fonts are the ones of the reader: nothing is loaded from elsewhere."""
    times = [0.0]  # of each row
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text(f"$ {' '.join(COMMAND)}", style="bold"))
        for line, seconds in lines:
            text = Text.from_ansi(line)
            console.print(text)
            times += [seconds] * max(1, len(text.wrap(console, COLUMNS)))
        svg = console.export_svg(title=" ".join(COMMAND), unique_id="demo")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("</style>", f"{STYLE}</style>", 1)

    def with_delay(match: re.Match[str]) -> str:
        return f'<text style="animation-delay: {times[int(match[2])]:.1f}s"{match[1]}#demo-line-{match[2]})"'

    svg = re.sub(r'<text((?:(?!<text)[^>])*?clip-path="url\()#demo-line-(\d+)\)"', with_delay, svg)
    return svg.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono")


def main() -> None:
    svg = picture(lines_with_times(*recorded()))
    if re.search(r"(?:href=\"|url\()https?:", svg):
        raise ValueError("the picture loads something from another host")
    PICTURE.write_text(svg, "utf-8")


if __name__ == "__main__":
    main()
