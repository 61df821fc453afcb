"""Changes the source in small ways, and reports which changes no test notices.

    python -m tests.mutants --only scan/safe_start.h --sample 20

Each mutant is applied in a copy of the repository. The modules concerned are built there, and the tests of the changed
file run until one fails; the test that noticed a mutant before runs first (noticed_by.json, which --record writes).
A test that notices a mutant must pass without it. Prints each mutant and what noticed it. Exits with 1 if less than
95 % of the mutants that are not equivalent were noticed, or if a mutant does not fit the source or the reason why it is
equivalent.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

from tests.mutants import encoding, files, scanners, training
from tests.mutants.scratch_copy import ROOT, ScratchCopy

NOTICED_BY = Path(__file__).with_name("noticed_by.json")
MUTANTS = [*scanners.MUTANTS, *encoding.MUTANTS, *training.MUTANTS, *files.MUTANTS]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of the name of the file")
    parser.add_argument("--numbers", type=int, nargs="+", help="numbers of mutants, as an earlier run printed them")
    parser.add_argument("--sample", type=int, help="try this number of them, chosen by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="keep what noticed each mutant")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutants", help="where the copy is made")
    arguments = parser.parse_args()
    chosen = [(number, mutant) for number, mutant in enumerate(MUTANTS) if arguments.only in mutant.file]
    if arguments.numbers:
        chosen = [(number, mutant) for number, mutant in chosen if number in arguments.numbers]
    if arguments.sample:
        chosen = sorted(random.Random(arguments.seed).sample(chosen, min(arguments.sample, len(chosen))))
    scratch_copy = ScratchCopy(arguments.folder)
    noticed_by: dict[str, str] = json.loads(NOTICED_BY.read_text("utf-8"))
    noticed = survived = untried = equivalent = contradicted = 0
    for number, mutant in chosen:
        start = time.perf_counter()
        change = f"{mutant.old.strip()!r:.60} -> {mutant.new.strip()!r:.40}"
        try:
            by = scratch_copy.noticed_by(mutant, noticed_by.get(mutant.key, ""))
        except (ValueError, RuntimeError) as error:
            untried += 1
            print(f"{number} UNTRIED {error}", flush=True)
            continue
        if mutant.equivalent:
            equivalent, contradicted = equivalent + 1, contradicted + bool(by)
            result = f"NOTICED THOUGH EQUIVALENT by {by}" if by else f"equivalent: {mutant.equivalent}"
        else:
            noticed, survived = noticed + bool(by), survived + (not by)
            if by and arguments.record:
                noticed_by[mutant.key] = by
                NOTICED_BY.write_text(json.dumps(noticed_by, indent=1, sort_keys=True) + "\n", "utf-8")
            result = f"noticed by {by}" if by else "SURVIVED"
        print(f"{number} {mutant.file}: {change}\n    {result} ({time.perf_counter() - start:.0f} s)", flush=True)
    tried = noticed + survived
    share = 100 * noticed / tried if tried else 100.0
    print(f"{tried} mutants, {noticed} noticed ({share:.1f} %), {equivalent} equivalent besides, {untried} untried")
    return 1 if share < 95 or untried or contradicted else 0


if __name__ == "__main__":
    sys.exit(main())
