"""Small hostile files of every format that fastlm reads: each is refused by name, in 1 s of CPU time and 100 MB.

    python -m tests.hostile_files

Writes the files to a folder and reads each one in a forked process, whose CPU time and memory are limited. Prints a
row for each file. Exits with 1 if a file is accepted, ends its process, or is refused without its name.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.hostile_files.limits import fault_of, hostile_files, outcome_of, prepare, write


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of the name of the files")
    arguments = parser.parse_args()
    faults = 0
    prepare()
    files = [file for file in hostile_files() if arguments.only in file.name]
    print(f"{'file':44}{'bytes':>10}{'CPU s':>7}{'MB':>6}  outcome")
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            path = write(file, Path(folder))
            outcome = outcome_of(file, path)
            fault = fault_of(file, path, outcome)
            faults += bool(fault)
            size = sum(map(len, file.files.values()))
            shown = f"WRONG {fault}" if fault else f"{outcome.kind}: {outcome.message}"
            shown = shown.replace(str(folder), "").encode("unicode_escape").decode()
            print(
                f"{file.name:44}{size:>10,}{outcome.seconds:>7.2f}{outcome.megabytes:>6.0f}  {shown:.140}", flush=True
            )
    print(f"{len(files)} files, {faults} wrong")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
