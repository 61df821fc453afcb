"""Fuzzes the native headers under AddressSanitizer and UndefinedBehaviorSanitizer.

    python -m tests.fuzz --runs 10000000 cuts scanners

With clang, libFuzzer looks for inputs that reach new code. With gcc, driver.c makes pseudo-random inputs. Prints the
runs and the reports of each target; exits with 1 if there is a report, and with 2 if nothing could be built.
"""

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz import harness


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(harness.TARGETS)}; default: all")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compiler", choices=harness.COMPILERS, help="default: clang where it can build, else gcc")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="of the programs and failing inputs")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(harness.TARGETS)
    if unknown:
        parser.error(f"unknown target {unknown.pop()!r}")
    reasons = {name: harness.missing(name) for name in ("clang", "gcc")}
    usable = [name for name, reason in reasons.items() if not reason]
    compiler = arguments.compiler or (usable[0] if usable else "gcc")
    if reasons[compiler]:
        print(reasons[compiler])
        return 2
    arguments.folder.mkdir(parents=True, exist_ok=True)
    reports = 0
    for target in arguments.targets or harness.TARGETS:
        program = harness.build(target, compiler, arguments.folder)
        start = time.perf_counter()
        report = harness.run(program, arguments.runs, arguments.seed)
        reports += bool(report)
        seconds = time.perf_counter() - start
        print(
            f"{target}: {arguments.runs:,} runs with {compiler} in {seconds:.0f} s, {int(bool(report))} reports",
            flush=True,
        )
        print(report, end="", flush=True)
    return 1 if reports else 0


if __name__ == "__main__":
    sys.exit(main())
