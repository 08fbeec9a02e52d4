"""The process that projects: adds every event once to a small database of delays by airport, carrier and hour.

Run as ``python -m examples.flights.project LOG DELAYS [--die-at SEQUENCE]``. It says ``projected SEQUENCE`` now and
then. At the sequence where it is to die it kills itself while it handles the event; run again, it goes on where it was,
for what an event adds and the place in the log are one transaction of the database.
"""

import argparse
import asyncio
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncbus
from examples.flights.events import FlightArrived, FlightCancelled, FlightDeparted, FlightEvent

SAY_EVERY = 500

SCHEMA = """
PRAGMA journal_mode = WAL;
-- A power cut may take the last events, and with them what the database knows of its place in the log.
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS delays (
    airport    TEXT    NOT NULL,
    carrier    TEXT    NOT NULL,
    hour       INTEGER NOT NULL,  -- local, as scheduled
    departed   INTEGER NOT NULL,
    late_out   INTEGER NOT NULL,  -- minutes of delay of all departures together; early ones count against them
    arrived    INTEGER NOT NULL,  -- with a known delay
    late_in    INTEGER NOT NULL,
    cancelled  INTEGER NOT NULL,
    PRIMARY KEY (airport, carrier, hour)
) WITHOUT ROWID;
"""

ADD = """
INSERT INTO delays VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    departed = departed + excluded.departed,
    late_out = late_out + excluded.late_out,
    arrived = arrived + excluded.arrived,
    late_in = late_in + excluded.late_in,
    cancelled = cancelled + excluded.cancelled
"""


def added(event: FlightEvent) -> tuple[str, str, int, int, int, int, int, int] | None:
    """What an event adds to the table: the place it belongs to, then its figures; None: nothing."""
    match event:
        case FlightDeparted(carrier=carrier, origin=airport, hour=hour, delay=delay):
            return airport, carrier, hour, 1, delay, 0, 0, 0
        case FlightArrived(carrier=carrier, destination=airport, hour=hour, delay=int(delay)):
            return airport, carrier, hour, 0, 0, 1, delay, 0
        case FlightCancelled(carrier=carrier, origin=airport, hour=hour):
            return airport, carrier, hour, 0, 0, 0, 0, 1
    return None


async def project(log: Path, delays: Path, *, die_at: int | None) -> None:
    """Project until all of the log is."""
    # Of `sqlite3` itself, for nobody else is at work on this loop. The bus closes first: until then its consumer may be
    # at work in the database.
    with closing(sqlite3.connect(delays)) as database:
        database.executescript(SCHEMA)
        async with asyncbus.connect(str(log), synchronous="normal") as bus:
            await _project(bus, database, die_at)
    print("done", flush=True)


async def _project(bus: asyncbus.EventBus, database: sqlite3.Connection, die_at: int | None) -> None:
    @bus.consumer("delays", FlightEvent, effects=asyncbus.SQLiteEffects(database))
    def add(event: asyncbus.Event[FlightEvent]) -> None:
        figures = added(event.data)
        if figures is not None:
            database.execute(ADD, figures)
        if event.sequence == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if event.sequence % SAY_EVERY == 0:
            print(f"projected {event.sequence}", flush=True)

    await bus.wait_processed("delays", await bus.latest_sequence())


def main() -> None:
    """Read the command line, and project."""
    parser = argparse.ArgumentParser("python -m examples.flights.project")
    parser.add_argument("log", type=Path)
    parser.add_argument("delays", type=Path)
    parser.add_argument("--die-at", type=int)
    options = parser.parse_args()
    asyncio.run(project(options.log, options.delays, die_at=options.die_at))


if __name__ == "__main__":
    main()
