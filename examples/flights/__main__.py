"""The demo: ``python -m examples.flights``; its exit status is 1 if a figure differs from what pandas computes."""

import argparse
import asyncio
import signal
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

import asyncbus
from examples.flights.compare import computed, differences, projected
from examples.flights.picture import draw
from examples.flights.progress import Advance, progress
from examples.flights.publish import happenings, publish
from examples.flights.table import read
from examples.flights.watch import watch

DESCRIPTION = """A year of flights out of New York as typed events: published, then projected into a small database of
delays by a process that kills itself half-way and goes on. Exit status 1 if a figure differs from what pandas computes
from the table."""

NEW_YORK = ZoneInfo("America/New_York")
SHOWN = 10  # differences that are told


def main(arguments: list[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    options = parse(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="asyncbus-flights-") as folder:
            return asyncio.run(play(options, options.folder or Path(folder)))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m examples.flights", description=DESCRIPTION)
    parser.add_argument("--flights", type=int, help="only the first so many flights of the table (all 336,776)")
    parser.add_argument("--day", type=_day, default=_day("2013-01-01"), help="to be replayed (2013-01-01)")
    parser.add_argument("--speed", type=float, default=10_000, help="of that replay (10,000 times the real one)")
    parser.add_argument("--folder", type=Path, help="keep the log and the database there; otherwise they are removed")
    parser.add_argument(
        "--picture", type=Path, default=Path("flights.svg"), help="where the picture goes (flights.svg)"
    )
    options = parser.parse_args(arguments)
    if options.flights is not None and options.flights < 1:
        parser.error("--flights must be at least 1")
    if not options.speed > 0:
        parser.error("--speed must be above 0")
    if options.folder is not None:
        if not options.folder.is_dir():
            parser.error(f"{options.folder} is no folder")
        if (options.folder / "flights.db").exists():
            parser.error(f"{options.folder / 'flights.db'} exists")
    return options


def _day(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=NEW_YORK)


async def play(options: argparse.Namespace, folder: Path) -> int:
    """The demo, with its files in a folder; the exit status."""
    log, delays = folder / "flights.db", folder / "delays.db"
    table = await asyncio.to_thread(read, options.flights)
    events = await _published(table, log)
    print(f"{len(table):,} flights are {events:,} events, the first half of them as last year's program told them")
    killed = await asyncio.to_thread(_projected_through_a_kill, log, delays, events)
    print(f"the projector killed itself half-way ({killed.name}), was run again, and went on where it was")
    found = projected(delays)
    wrong = differences(computed(table), found)
    draw(found, options.picture)
    print(f"{options.picture} shows what it found; {options.day:%Y-%m-%d} again, {options.speed:,.0f} times as fast:")
    async with asyncbus.connect(str(log), read_only=True) as bus:
        await watch(bus, options.day, options.speed, sys.stdout)
    return verdict(wrong, len(found))


async def _published(table: pd.DataFrame, log: Path) -> int:
    happened = happenings(table)
    async with asyncbus.connect(str(log)) as bus:
        with progress("publishing", len(happened)) as advance:
            await publish(bus, happened, advance)
    return len(happened)


def _projected_through_a_kill(log: Path, delays: Path, events: int) -> signal.Signals:
    """Let the projector kill itself half-way, and run it again to its end; what it died of."""
    with progress("projecting", events) as advance:
        killed = _project(log, delays, advance, "--die-at", str(max(events // 2, 1)))
        ended = _project(log, delays, advance)
    if ended or killed >= 0:
        raise SystemExit(f"the projector ended with {killed} and then with {ended}")
    return signal.Signals(-killed)


def _project(log: Path, delays: Path, advance: Advance, *arguments: str) -> int:
    command = [sys.executable, "-m", "examples.flights.project", str(log), str(delays), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            said, _, sequence = line.partition(" ")
            if said == "projected":
                advance(int(sequence))
    return process.returncode


def verdict(wrong: list[str], places: int) -> int:
    """Tell what came of the comparison; the exit status."""
    if not wrong:
        print(f"ok      {places:,} places, every figure equal to what pandas computes from the table")
        return 0
    print(f"FAILED  {len(wrong):,} places differ from what pandas computes from the table:")
    for line in wrong[:SHOWN]:
        print(f"        {line}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
