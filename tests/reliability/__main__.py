"""`python -m tests.reliability [TOOL …]`: the long runs of the tools, or one trial again by its seed."""

from __future__ import annotations

import argparse
import sys
import time
from secrets import randbelow

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.reliability import kept
from tests.reliability.tools import NAMES, tool
from tests.reliability.trials import Report, Tool, run


def main(arguments: list[str]) -> int:
    """Run what is asked for; 1: a promise was broken; 2: it cannot be run."""
    asked = _asked(arguments)
    console = Console(stderr=True)
    names = asked.tools or NAMES
    ends = time.monotonic() + asked.minutes * 60
    broken = False
    for done, name in enumerate(names):
        chosen = tool(name)
        obstacle = chosen.obstacle()
        if obstacle is not None:
            console.print(f"{name}: left out: {obstacle}", style="yellow", markup=False)
            continue
        # What one tool leaves of its share is for the others.
        seconds = (ends - time.monotonic()) / (len(names) - done)
        report = _long_run(chosen, asked, seconds, console)
        broken |= bool(report.violations)
        if asked.keep:
            kept.keep(chosen, report)
    return int(broken)


def _asked(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"which: {', '.join(NAMES)}; none: all")
    parser.add_argument("--seed", type=int, help="of the first trial; with it alone, that one trial is run again")
    parser.add_argument(
        "--units", type=int, help="how many kills, states, seeds …; as many as the docs show, if not given"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="for all of them together, at most")
    parser.add_argument("--jobs", type=int, help="trials beside each other")
    parser.add_argument("--keep", action="store_true", help="keep what was counted, for the docs")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.tools if name not in NAMES]
    if unknown:
        parser.exit(2, f"no tool is called {', '.join(unknown)}; there are: {', '.join(NAMES)}\n")
    for option, number in (("--units", asked.units), ("--minutes", asked.minutes), ("--jobs", asked.jobs)):
        if number is not None and not number > 0:
            parser.exit(2, f"{option} must be more than 0, not {number}\n")
    if asked.keep and "load" in (asked.tools or NAMES):
        # In trials as short as these nobody sees whether memory grows.
        parser.exit(2, "load is kept by `python -m tests.reliability.load --keep` only; name the other tools\n")
    if asked.keep and _is_replay(asked):
        parser.exit(2, "--keep with --seed alone would keep a single trial; give --units as well\n")
    return asked


def _is_replay(asked: argparse.Namespace) -> bool:
    """Whether one trial is to be run again."""
    return asked.seed is not None and asked.units is None


def _long_run(chosen: Tool, asked: argparse.Namespace, seconds: float, console: Console) -> Report:
    again = _is_replay(asked)
    units = chosen.long if asked.units is None else asked.units
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"{chosen.name}: {chosen.unit}", total=None if again else units)
        report = run(
            chosen,
            seed=randbelow(2**31) if asked.seed is None else asked.seed,
            units=units,
            # A trial that finds something has counted nothing.
            trials=1 if again else float("inf"),
            seconds=seconds,
            jobs=1 if again else asked.jobs,
            on_trial=lambda report: progress.update(task, completed=report.figures[chosen.unit]),
        )
    counted = ", ".join(f"{number:,} {what}" for what, number in report.figures.items())
    console.print(f"{chosen.name}: {report.trials:,} trials in {report.seconds:g} s: {counted or 'nothing'}")
    for found in report.violations:
        # A message holds brackets of its own.
        console.print(f"BROKEN, seed {found.seed}: {found.message}", style="red", markup=False)
    return report


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
