"""A day again, ten thousand times as fast: on a terminal as a live picture, elsewhere a line an hour."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import TextIO
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.live import Live
from rich.table import Table

from asyncbus import Event, EventBus
from examples.flights.events import FlightArrived, FlightCancelled, FlightDeparted, FlightEvent

NEW_YORK = ZoneInfo("America/New_York")
BUSIEST = 12


class Board:
    """What the display board of the three airports together would show."""

    def __init__(self) -> None:
        self.now: datetime | None = None
        self.departed: Counter[str] = Counter()
        self.late: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.in_the_air = 0

    @property
    def hour(self) -> int | None:
        return None if self.now is None else self.now.hour

    def show(self, event: Event[FlightEvent]) -> None:
        """Something has happened."""
        self.now = event.time.astimezone(NEW_YORK)
        match event.data:
            case FlightDeparted(destination=destination, delay=delay):
                self.departed[destination] += 1
                self.late[destination] += max(delay, 0)
                self.in_the_air += 1
            case FlightArrived():
                self.in_the_air -= 1
            case FlightCancelled(destination=destination):
                self.cancelled[destination] += 1

    def __str__(self) -> str:
        moment = "" if self.now is None else f"{self.now:%Y-%m-%d %H:%M}"
        return (
            f"{moment}: {self.departed.total():,} departed, {self.in_the_air:,} of them in the air,"
            f" {self.cancelled.total():,} cancelled"
        )

    def __rich__(self) -> Table:
        drawn = Table(title=str(self), title_justify="left")
        drawn.add_column("to")
        for column in ("departed", "minutes late, mean", "cancelled"):
            drawn.add_column(column, justify="right")
        for airport, count in self.departed.most_common(BUSIEST):
            drawn.add_row(airport, f"{count}", f"{self.late[airport] / count:.0f}", f"{self.cancelled[airport]}")
        return drawn


async def watch(bus: EventBus, day: datetime, speed: float, stream: TextIO) -> Board:
    """Replay the day that begins at that moment, and show it; what is in the air counts from the day's beginning."""
    board = Board()
    events = await _replayed(bus, day, speed)
    console = Console(file=stream, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        hour = None
        async for event in events:
            board.show(event)
            if board.hour != hour:
                hour = board.hour
                print(f"  {board}", file=stream, flush=True)
        return board
    with Live(board, console=console, refresh_per_second=20):
        async for event in events:
            board.show(event)
    return board


async def _replayed(bus: EventBus, day: datetime, speed: float) -> AsyncIterator[Event[FlightEvent]]:
    # A replay begins and ends by sequence; the log is in the order of time, so a day is a range of it.
    until = day + timedelta(days=1)
    first = await bus.query(FlightEvent, since=day, until=until, limit=1)
    last = await bus.query(FlightEvent, since=day, until=until, limit=1, newest_first=True)
    if not first:
        return bus.replay(FlightEvent, stop=1)
    return bus.replay(FlightEvent, start=first[0].sequence, stop=last[0].sequence + 1, speed=speed)
