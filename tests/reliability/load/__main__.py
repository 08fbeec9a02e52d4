"""`python -m tests.reliability.load`: an hour of load, in one piece.

Only then does a line through the samples tell anything. It takes about a third of a core.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from secrets import randbelow

from asyncbus import EventBus
from tests.reliability import kept
from tests.reliability.load.samples import Samples, slope
from tests.reliability.load.tool import ROUND, TOOL, stretch
from tests.reliability.trials import Found, Report, Violation


def main(arguments: list[str]) -> int:
    """One long stretch; 1: something grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=randbelow(2**31))
    parser.add_argument("--keep", action="store_true", help="keep what was counted, for the docs")
    asked = parser.parse_args(arguments)
    report = Report(asked.seed, trials=1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        rounds = max(round(asked.minutes * 60 / ROUND), 1)
        try:
            asyncio.run(stretch(asked.seed, Path(folder), rounds, report.figures, on_round=_tell))
        except Violation as violation:
            report.violations.append(Found(asked.seed, str(violation)))
    report.seconds = round(time.monotonic() - began, 1)
    print(report, f"{time.process_time() / report.seconds:.2f} of a core")
    if asked.keep:
        kept.keep(TOOL, report)
    return int(bool(report.violations))


def _tell(bus: EventBus, samples: Samples) -> None:
    if len(samples) % 30 == 0:
        print(f"head {bus.statistics().head:,}; {slope(samples):,} bytes an hour; {samples[-1]}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
