"""Measures the reliability table, and writes docs/reliability.md.

    python -m tests.reliability --minutes 2              # all rows, briefly
    python -m tests.reliability --row 5 --row 14 --minutes 10 --keep

A row prints `number name: tried, survived, worst figure`, and what did not survive. The minutes are divided among the
rows by their shares. With --keep, results of earlier runs stay for the other rows. Exits with 1 if something did not
survive.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.reliability import table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--row", type=int, action="append", choices=sorted(table.ROWS), metavar="N", help="only this row"
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="wall time of all rows together")
    parser.add_argument("--results", type=Path, default=Path("build/reliability.json"), help="results of earlier runs")
    parser.add_argument("--keep", action="store_true", help="keep the earlier results of other rows")
    parser.add_argument("--out", type=Path, default=table.PAGE, help="the page that is written")
    arguments = parser.parse_args()
    chosen = [table.ROWS[number] for number in sorted(set(arguments.row or table.ROWS))]
    shares = sum(row.share for row in chosen)
    results = table.read(arguments.results) if arguments.keep else {}
    failed = 0
    for row in chosen:
        result = results[row.number] = table.measured(row, 60 * arguments.minutes * row.share / shares)
        failed += len(result.findings)
        print(f"{table.line(result)} ({result.seconds:.0f} s)", flush=True)
        for finding in result.findings:
            print(f"    {finding!a}", flush=True)
        table.write(arguments.results, results)
        arguments.out.write_text(table.page(dict(sorted(results.items()))), "utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
