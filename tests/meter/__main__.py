"""python tests/meter: play many histories of jobs, and print in how many the totals were exact."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import conftest  # noqa: F401
from job_histories import play


def main() -> int:
    """0 when all were exact."""
    parser = argparse.ArgumentParser(prog="python tests/meter", description=__doc__)
    parser.add_argument("--histories", type=int, default=100_000, help="how many; default: 100000")
    parser.add_argument("--seed", type=int, default=0, help="of the first; default: 0")
    asked = parser.parse_args()
    began, faults, wrong, jobs = time.monotonic(), Counter[str](), [], 0
    for number in range(asked.seed, asked.seed + asked.histories):
        with contextlib.redirect_stderr(io.StringIO()):
            found, expected, met = play(number)
        faults += met
        jobs += sum(total["jobs"] for name, total in expected.items() if name.endswith("#month"))
        if found != expected:
            wrong.append(number)
        if sys.stderr.isatty() and number % 100 == 0:
            print(f"\r{number - asked.seed + 1:,}", end="", file=sys.stderr)
    print(f"{asked.histories - len(wrong):,} of {asked.histories:,} histories exact, {jobs:,} runs of jobs")
    for name, count in sorted(faults.items()):
        print(f"  {name:20} {count:9,}")
    print(f"{time.monotonic() - began:.0f} s")
    if wrong:
        print(f"wrong: seeds {', '.join(map(str, wrong[:10]))}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
