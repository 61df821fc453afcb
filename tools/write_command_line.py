"""Writes docs/command_line.md and the help texts in tests/commands/help, which tests compare with the commands.

Run it after a change of a command or its options: `python tools/write_command_line.py`.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fastlm import cli  # noqa: E402 - of this checkout
from fastlm.commands import faults, overview  # noqa: E402

PAGE = ROOT / "docs" / "command_line.md"
HELPS = ROOT / "tests" / "commands" / "help"
WIDTHS = (80, 40)

BEGINNING = """# The command line

<!-- written by tools/write_command_line.py -->

`fastlm COMMAND --help` describes the options of a command, and `fastlm --help` the commands. `python -m fastlm` is the
same program. An option has the name of the Python argument and of the field of a TOML file: `--vocab-size` is
`vocab_size`. Underscores are accepted in the place of hyphens.
"""

MODELS = "[Train a model](model_training.md) describes the configuration of a model, which `fastlm train` reads:"
NEEDS = "# needs a configuration"

END = """
## Errors and exit codes

An error is one line on standard error. It names the file or the option, what was found and what was expected. A
misspelled command, option, pattern or preset is answered with the nearest known name.
`fastlm encode corpus.txt --toknizer tokenizer --out ids` prints:

```text
fastlm: encode has no option --toknizer (did you mean '--tokenizer'?)
fastlm: `fastlm encode --help` describes the options
```

| code | meaning |
|---|---|
{codes}

A traceback means a fault of fastlm; please report it.

## Inputs

`encode`, `train-tokenizer` and `count` read files, directories, globs, addresses such as `s3://bucket/name`, and `-`
for standard input. Quote a glob for fastlm to expand it, also in an address: `'s3://bucket/*.jsonl.zst'`. `count`
without an input reads standard input:

```sh
cat corpus.txt | fastlm count --tokenizer tokenizer
fastlm count '*.txt' --tokenizer tokenizer
```

JSON lines and Parquet files hold the text in a field or column, which `--field` names.

## Output

Results go to standard output, and notes, progress and errors to standard error. Control characters in names of files
and tokens are printed as escapes. Help has colors on a terminal, unless the variable `NO_COLOR` is set, and is as wide
as the terminal or the variable `COLUMNS`.

## Completion

The shell completes commands, options and their values with a script that fastlm prints:

```sh
# needs folders that a shell reads scripts from
scripts=~/.local/share/bash-completion/completions
fastlm --tyro-print-completion bash > $scripts/fastlm
fastlm --tyro-print-completion zsh > ~/.zfunc/_fastlm
```

For zsh, `~/.zfunc` must be in `fpath` before `compinit` runs. `--tyro-write-completion SHELL PATH` writes the script to
a file. Both options are tyro's.
"""


def page() -> str:
    """The page of the documentation."""
    commands = [shlex.join(("fastlm", *arguments)) for _, arguments in overview.EXAMPLES]
    lines = [BEGINNING, "```sh", *commands[:2], "```", "", MODELS, "", "```sh", NEEDS, *commands[2:], "```", ""]
    for heading, names in overview.grouped(cli.COMMANDS).items():
        lines += [f"## {heading}", "", "| command | |", "|---|---|"]
        lines += [f"| `fastlm {name}` | {overview.summary(cli.COMMANDS[name])} |" for name in names]
        lines.append("")
    lines += ["## Options of all commands", "", "| option | |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in overview.OPTIONS]
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in faults.EXIT_CODES.items())
    return "\n".join(lines) + "\n" + END.format(codes=codes)


def help_text(name: str) -> str:
    """What `fastlm NAME --help` prints, or `fastlm --help` for "fastlm", at each of WIDTHS."""
    parts = []
    before = os.environ.get("COLUMNS")
    for width in WIDTHS:
        os.environ["COLUMNS"] = str(width)
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
                cli.main(["--help"] if name == "fastlm" else [name, "--help"])
        finally:
            os.environ.pop("COLUMNS")
            if before is not None:
                os.environ["COLUMNS"] = before
        lines = [line.rstrip() for line in printed.getvalue().rstrip().splitlines()]
        parts.append("\n".join([f"--- {width} columns", *lines, ""]))
    return "\n".join(parts)


def main() -> None:
    PAGE.write_text(page())
    HELPS.mkdir(exist_ok=True)
    names = ("fastlm", *cli.COMMANDS)
    for path in HELPS.glob("*.txt"):
        if path.stem not in names:
            path.unlink()
    for name in names:
        (HELPS / f"{name}.txt").write_text(help_text(name))


if __name__ == "__main__":
    main()
