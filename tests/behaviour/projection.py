"""A database of a user's, in which a consumer has its effects: each event adds one row, so a doubled one is seen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite

from asyncbus import Consumer, Event, EventBus, SQLiteEffects
from tests.behaviour.consuming import ONCE, FailingHandler


class Projection(FailingHandler):
    """A handler that has an effect, and fails or waits to order, after it has written."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        super().__init__()
        self.connection = connection
        self.effects = SQLiteEffects(connection)

    async def handle(self, event: Event) -> None:
        await self.connection.execute("INSERT INTO blocks VALUES (?)", (event.sequence,))
        await super().handle(event)

    async def rows(self) -> list[int]:
        """The sequences of the events that have had their effect, as often as they had it."""
        rows = await self.connection.execute_fetchall("SELECT sequence FROM blocks ORDER BY sequence")
        return [sequence for (sequence,) in rows]

    async def turns(self, count: int = 20) -> None:
        """Let whoever waits for the database get so many answers from it."""
        for _ in range(count):
            await self.connection.execute("SELECT 1")


@asynccontextmanager
async def projection(path: Path) -> AsyncIterator[Projection]:
    """A database in a file, which is made where there is none."""
    async with aiosqlite.connect(path) as connection:
        await connection.execute("PRAGMA synchronous = OFF")  # no power is cut here
        await connection.execute("CREATE TABLE IF NOT EXISTS blocks (sequence INTEGER NOT NULL)")
        await connection.commit()
        yield Projection(connection)


def consume(bus: EventBus, blocks: Projection, **options: Any) -> Consumer:
    """A consumer of all events "a" that has its effects there, and one attempt at each unless told otherwise."""
    return bus.consume("one", "a", blocks.handle, effects=blocks.effects, **{"retry": ONCE, **options})
