"""The demo: ``python -m examples.emulator``; its exit status is 1 if anything it promises does not hold."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import asyncbus
from examples.emulator import report
from examples.emulator.display import Check, Display, display_for
from examples.emulator.kill import kill_while_publishing, look_after
from examples.emulator.profile import compare, profile_through_a_kill
from examples.emulator.run import run

DESCRIPTION = """Watch a processor emulator publish half a million events through the bus, while subscribers come early,
late and slow; then see a process killed while it publishes, and nothing lost, and one killed while it counts, and
nothing counted twice. Exit status 1 if that does not hold."""

KILL_PROFILER_AFTER = 500  # events, less than there are


def main(arguments: list[str] | None = None) -> int:
    """Run the acts and return the exit status."""
    options = parse(arguments)
    display = display_for(sys.stdout)
    try:
        return play_somewhere(options, display)
    except KeyboardInterrupt:
        display.say("interrupted")
        return 130


def play_somewhere(options: argparse.Namespace, display: Display) -> int:
    """The acts, on the file that was asked for or on one that is gone afterwards."""
    if options.path is not None:
        return play(options, options.path, display)
    with tempfile.TemporaryDirectory(prefix="asyncbus-emulator-") as folder:
        return play(options, Path(folder) / "emulator.db", display)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m examples.emulator", description=DESCRIPTION)
    parser.add_argument("--limit", type=int, default=100_000, help="count the primes up to this (100,000)")
    parser.add_argument(
        "--path",
        type=Path,
        help="keep the log in this new file, and what the killed processes wrote beside it; otherwise all is removed",
    )
    parser.add_argument("--kill-after", type=int, default=5_000, help="acknowledgements until the first kill (5,000)")
    options = parser.parse_args(arguments)
    if not 100 <= options.limit <= 10_000_000:
        parser.error("--limit must be between 100 and 10,000,000")
    if options.kill_after < 1:
        parser.error("--kill-after must be at least 1")
    if options.path is not None:
        if not options.path.parent.is_dir():
            parser.error(f"{options.path.parent} is no folder")
        for path in (options.path, *(beside(options.path, what) for what in ("killed", "profiled", "profile"))):
            if path.exists():
                parser.error(f"{path} exists; the demo counts the events of a new file")
    return options


def play(options: argparse.Namespace, path: Path, display: Display) -> int:
    """The acts, on `path` and on files beside it."""
    holds = asyncio.run(run_emulator(path, options.limit, display))

    display.say("\nNow a second process publishes, and is killed (SIGKILL) while it does.")
    log = beside(path, "killed")
    killed, acknowledged = kill_while_publishing(log, after=options.kill_after)
    aftermath = asyncio.run(look_after(log, killed=killed, acknowledged=acknowledged))
    holds &= tell(report.kill_checks(aftermath), display)

    display.say(
        "\nA third one counts executed blocks in a database of its own, is killed while it does, and runs again."
    )
    log, database = beside(path, "profiled"), beside(path, "profile")
    killed, said = profile_through_a_kill(log, database, after=KILL_PROFILER_AFTER)
    holds &= tell(report.profile_checks(asyncio.run(compare(log, database, killed=killed, said=said))), display)
    return 0 if holds else 1


def beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.stem}-{what}{path.suffix}")


async def run_emulator(path: Path, limit: int, display: Display) -> bool:
    async with asyncbus.connect(str(path)) as bus:
        with display:
            outcome = await run(bus, display, limit=limit)
        display.say("")
        for table in report.tables(outcome):
            display.table(table)
        for member in outcome.team:
            display.say(f"{member.name}: {member.findings()}")
        display.say("")
        return tell(report.emulator_checks(outcome), display)


def tell(checks: Iterable[Check], display: Display) -> bool:
    """Show each check; true when all hold."""
    checks = list(checks)
    for check in checks:
        display.check(check)
    return all(check.holds for check in checks)


if __name__ == "__main__":
    sys.exit(main())
