"""The CPU time of `import fastlm`, next to that of `import numpy`: `python -m tests.import_cost`.

Starts processes in turn that import nothing, NumPy or fastlm, and prints the least of each, because other work only
adds to it, and the ratio. Byte code is compiled once before, as in an installed package. Exits with 1 if fastlm takes
more than 0.15 s, or more than 1.5 times as much as NumPy.
"""

import os
import subprocess
import sys
import tempfile

PROGRAMS = {"nothing": "pass", "numpy": "import numpy", "fastlm": "import fastlm"}
ROUNDS = 15
MOST_SECONDS, MOST_RATIO = 0.15, 1.5


def cpu_seconds(program: str, byte_code: str) -> float:
    """User and system time of a new interpreter that runs a program, with byte code in a folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = byte_code
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{program!r} failed")
    return used.ru_utime + used.ru_stime


def main() -> int:
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as byte_code:
        for _ in range(ROUNDS):
            for name, program in PROGRAMS.items():
                found[name].append(cpu_seconds(program, byte_code))
    seconds = {name: min(values) for name, values in found.items()}
    ratio = seconds["fastlm"] / seconds["numpy"]
    for name, value in seconds.items():
        print(f"{name:8}{value:6.3f} s")
    print(f"fastlm / numpy {ratio:.2f}")
    return 1 if seconds["fastlm"] > MOST_SECONDS or ratio > MOST_RATIO else 0


if __name__ == "__main__":
    sys.exit(main())
