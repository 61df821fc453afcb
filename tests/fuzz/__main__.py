"""Fuzzes the native headers under AddressSanitizer and UndefinedBehaviorSanitizer, and the reader of Arrow arrays.

    python -m tests.fuzz --runs 10000000 cuts scanners

With clang, libFuzzer starts with the inputs of corpus/ and looks for inputs that reach new code; --minimize keeps the
fewest of both. With gcc, driver.c makes pseudo-random inputs. Prints the runs, the rate and the reports of each target;
exits with 1 if there is a report, and with 2 if nothing could be built. The target `arrow` damages the buffers of
arrays in memory and needs pyarrow, but no compiler.
"""

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz import arrow_arrays, harness

TARGETS = (*harness.TARGETS, "arrow")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compiler", choices=harness.COMPILERS, help="default: clang where it can build, else gcc")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="of the programs and failing inputs")
    parser.add_argument("--minimize", action="store_true", help="replace the corpus afterwards; with clang")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown target {unknown.pop()!r}")
    targets = arguments.targets or TARGETS
    reasons = {name: harness.missing(name) for name in ("clang", "gcc")}
    usable = [name for name, reason in reasons.items() if not reason]
    compiler = arguments.compiler or (usable[0] if usable else "gcc")
    if reasons[compiler] and set(targets) & set(harness.TARGETS):
        print(reasons[compiler])
        return 2
    arguments.folder.mkdir(parents=True, exist_ok=True)
    return 1 if sum([_reports(target, compiler, arguments) for target in targets]) else 0


def _reports(target: str, compiler: str, arguments: argparse.Namespace) -> int:
    """Runs a target, prints what it found, and returns the number of its reports."""
    program = None if target == "arrow" else harness.build(target, compiler, arguments.folder)
    start = time.perf_counter()
    if program is None:
        report, compiler = arrow_arrays.run(arguments.runs, arguments.seed), "pyarrow"
    else:
        report = harness.run(program, arguments.runs, arguments.seed)
    seconds = time.perf_counter() - start
    rate, reports = f"{arguments.runs / seconds:,.0f} a second", int(bool(report))
    print(
        f"{target}: {arguments.runs:,} runs with {compiler} in {seconds:.0f} s, {rate}, {reports} reports", flush=True
    )
    print(report, end="", flush=True)
    if arguments.minimize and compiler == "clang" and program and not report:
        print(f"{target}: {harness.minimize(program):,} inputs in the corpus", flush=True)
    return reports


if __name__ == "__main__":
    sys.exit(main())
