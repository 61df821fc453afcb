"""Runs `fastlm demo` and writes docs/assets/demo.svg, which README shows: `python tools/record_demo.py`.

The picture has the output of the command as it is, with its colours, in a window of 100 columns.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = ["fastlm", "demo"]
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "assets" / "demo.svg"
COLUMNS = 100


def recorded() -> str:
    """The output of the demo with its escape codes. The pseudo-terminal of `script` makes it write colours."""
    command = f"stty cols {COLUMNS}; {sys.executable} -m {' '.join(COMMAND)}"
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LANG": "C.UTF-8"}
    ended = subprocess.run(
        ["script", "--quiet", "--return", "--command", command, "/dev/null"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    lines = ended.stdout.decode().replace("\r\n", "\n").split("\n")
    # a progress bar writes its line again and again, and ends it by clearing it
    shown = [line.rsplit("\r", 1)[-1] for line in lines]
    return re.sub(r"\x1b\[[0-9;?]*[A-HJKSThl]", "", "\n".join(shown)).rstrip() + "\n"


def picture(output: str) -> str:
    """The SVG of an output. Its fonts are the ones of the reader: nothing is loaded from elsewhere."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text(f"$ {' '.join(COMMAND)}", style="bold"))
        console.print(Text.from_ansi(output))
        svg = console.export_svg(title=" ".join(COMMAND), unique_id="demo")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono")


def main() -> None:
    svg = picture(recorded())
    if re.search(r"(?:href=\"|url\()https?:", svg):
        raise ValueError("the picture loads something from another host")
    PICTURE.write_text(svg, "utf-8")


if __name__ == "__main__":
    main()
