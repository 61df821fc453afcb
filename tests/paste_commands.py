"""Pastes the commands of README and the documentation into a fresh clone: `python -m tests.paste_commands [PAGE...]`.

Each `sh` block is run by bash in the root of the clone, in the order of the page, after the commands of README, which
make the environment `.venv`. A block that begins with a comment `# needs ...` is skipped, and the reason is printed.
`corpus.txt` and `more.txt` are texts that ship with CPython. Files that a page makes are removed after the page.

`--environment FOLDER` takes an existing environment: blocks that install or clone are then skipped, and the commands
run the fastlm of that environment.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastlm.demo.tokenizer import demo_corpus

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NEEDS = re.compile(r"(?:#!.*\n)?\s*# needs (.+)")
INSTALLS = re.compile(r"\bpip install\b|\bgit clone\b|-m venv\b")
LIMIT = 3600  # seconds for a block
_FENCE = re.compile(r"^( *)```sh\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """The commands of one `sh` block.

    Attributes:
        page: The page, relative to the repository.
        line: The line of the first command.
        commands: The commands, as they are pasted.
    """

    page: str
    line: int
    commands: str

    @property
    def needs(self) -> str | None:
        """What a machine lacks to run the block, as the page says; None if it can be run anywhere."""
        found = NEEDS.match(self.commands)
        return found[1] if found else None


def blocks(page: Path) -> Iterator[Block]:
    """The `sh` blocks of a page."""
    text = page.read_text("utf-8")
    name = page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name
    for found in _FENCE.finditer(text):
        yield Block(name, text.count("\n", 0, found.start(2)) + 1, found[2])


def fresh_clone(folder: Path) -> Path:
    """A clone of the last commit."""
    clone = folder / "fastlm"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    return clone


def variables(environment: Path) -> dict[str, str]:
    """The environment variables of the commands. A clone of the repository's address is a clone of this one."""
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]
    return {
        **os.environ,
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT}.insteadOf",
        "GIT_CONFIG_VALUE_0": repository,
    }


def write_texts(clone: Path) -> None:
    """The texts that the commands name."""
    documents = demo_corpus()
    for name, part in {"corpus.txt": documents[0::2], "more.txt": documents[1::2]}.items():
        (clone / name).write_text("<|endoftext|>".join(part)[:2_000_000], "utf-8")


def paste(block: Block, clone: Path, environment: Path) -> subprocess.CompletedProcess[str]:
    """Runs the commands of a block; the first that fails ends it."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.commands],
        cwd=clone,
        env=variables(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=LIMIT,
        check=False,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="README.md and all of docs/ by default")
    parser.add_argument("--environment", type=Path, metavar="FOLDER", help="an existing environment, such as .venv")
    parser.add_argument("--without", metavar="TEXT", help="skip blocks with this text, such as pytest")
    arguments = parser.parse_args()
    counts = {"ok": 0, "skipped": 0, "FAILED": 0}
    existing = arguments.environment
    with tempfile.TemporaryDirectory() as folder:
        clone = fresh_clone(Path(folder))
        environment = clone / ".venv" if existing is None else existing.absolute()
        if existing is not None:
            shutil.rmtree(clone / "fastlm")  # not built: it would take precedence over the installed package
        for page in [path.resolve() for path in arguments.pages] or PAGES:
            write_texts(clone)
            for block in blocks(page):
                start = time.perf_counter()
                needs = block.needs
                if needs is None and existing is not None and INSTALLS.search(block.commands):
                    needs = "an installation"
                if arguments.without and arguments.without in block.commands:
                    needs = f"{arguments.without}, which is left out"
                result = None if needs else paste(block, clone, environment)
                verdict = "skipped" if result is None else "FAILED" if result.returncode else "ok"
                counts[verdict] += 1
                note = f"needs {needs}" if needs else f"{time.perf_counter() - start:.1f} s"
                print(f"{block.page}:{block.line}: {verdict}, {note}", flush=True)
                if result is not None and result.returncode:
                    print(block.commands, result.stdout[-2000:], sep="\n", flush=True)
            # ignored files stay: the environment and the extension modules
            subprocess.run(["git", "clean", "-fdq"], cwd=clone, check=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
