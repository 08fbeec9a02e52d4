"""Fills real file systems up while a log is written, opened or moved on them, and gives the space back."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from asyncbus import AsyncBusError, Event, EventBus, EventStore, Receipt, SQLiteStore, StoreFullError
from tests.reliability import small_disks
from tests.reliability.small_disks import MemoryDisk, SmallDisk
from tests.reliability.trials import MEMORY, Figures, Tool, Violation

T = TypeVar("T")

Store = Callable[..., EventStore]

PUBLISHERS: Final = 6


LARGE: Final = "x" * 60_000
"""About 120 of them fill the write-ahead log up to a checkpoint."""

_PATIENCE: Final = 30.0


def trial(seed: int, folder: Path, *, store: Store = SQLiteStore) -> Figures:
    """One of the three fillings."""
    fillings = (fill_while_publishing, fill_before_opening, fill_before_a_checkpoint)
    with _warnings():  # which nobody is to read here
        figures = fillings[seed % len(fillings)](Random(seed), folder, store)
    figures["fillings"] += 1
    return figures


def _run(filling: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(asyncio.wait_for(filling, _PATIENCE))
    except (AsyncBusError, TimeoutError) as error:
        raise Violation(f"on a disk that is or was full: {error!r}") from error


class Ballast:
    """A file that takes space for as long as it is there."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def take(self, megabytes: int) -> None:
        """So much of it."""
        self._path.write_bytes(bytes(megabytes * 2**20))

    def take_all(self) -> None:
        """All there is, to the last byte."""
        with self._path.open("ab", buffering=0) as file:
            for size in (2**20, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                        os.fsync(file.fileno())
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def give_back(self) -> None:
        """Everything, at once."""
        self._path.unlink()
        os.sync()


# ----------------------------------------------------------------------------------------------- while publishing


def fill_while_publishing(random: Random, folder: Path, store: Store) -> Figures:
    """Every publish is answered: stored or `StoreFullError`. Reading goes on; with space, so does publishing."""
    with SmallDisk(folder, 24) as disk:
        ballast = Ballast(disk.path)
        # Half of it: what is in the write-ahead log is to have a place in the database afterwards.
        ballast.take(random.randint(10, 12))
        opened = partial(store, disk.path / "log.db", synchronous=random.choice(("full", "normal")))
        filling = _Filling(opened, payload="x" * int(10 ** random.uniform(2, 4.8)))
        _run(filling.run(ballast))
        _run(filling.look_again())
    return filling.figures


class _Filling:
    """Publishes until the disk is full, and beyond."""

    def __init__(self, store: Store, payload: str) -> None:
        self.figures: Figures = Counter()
        self._store = store
        self._payload = payload
        self._stored: dict[int, Any] = {}
        self._seen: dict[int, Any] = {}

    async def run(self, ballast: Ballast) -> None:
        async with EventBus(self._store()) as bus:
            bus.subscribe("*", self._see)
            await asyncio.gather(*(self._until_full(bus, number) for number in range(PUBLISHERS)))
            if bus.health().status != "degraded" or not isinstance(bus.health().reason, StoreFullError):
                raise Violation(f"the disk is full, and the bus says {bus.health()}")
            await self._look(bus, "while the disk is full")
            head = await bus.latest_sequence()
            ballast.give_back()
            receipt = await bus.publish("again", ["again", 0])
            if receipt.sequence != head + 1:
                raise Violation(f"the sequence after {head} is {receipt.sequence}")
            self._note(receipt, ["again", 0])
            if bus.health().status != "ok":
                raise Violation(f"there is space again, and the bus says {bus.health()}")
            await asyncio.gather(*(self._publish(bus, ["more", number]) for number in range(20)))
            await bus.drain()
            await self._look(bus, "when there is space again")
            if self._seen != self._stored:
                raise Violation(f"stored are {len(self._stored)} events, and the handler got {len(self._seen)}")

    def _see(self, event: Event) -> None:
        self._seen[event.sequence] = event.data[:2]

    async def _until_full(self, bus: EventBus, publisher: int) -> None:
        """Publish singly and in groups until it has failed three times."""
        refused = number = 0
        while refused < 3:
            number += 1
            try:
                if number % 3:
                    await self._publish(bus, [publisher, number])
                else:
                    await self._publish_many(bus, [[publisher, number + place / 10] for place in range(5)])
            except StoreFullError:
                refused += 1
        self.figures["refused"] += refused

    async def _publish(self, bus: EventBus, what: list[Any]) -> None:
        self._note(await bus.publish("full.single", [*what, self._payload]), what)

    async def _publish_many(self, bus: EventBus, group: list[list[Any]]) -> None:
        receipts = await bus.publish_many([("full.group", [*what, self._payload]) for what in group])
        for receipt, what in zip(receipts, group, strict=True):
            self._note(receipt, what)

    def _note(self, receipt: Receipt, what: list[Any]) -> None:
        if self._stored.setdefault(receipt.sequence, what) is not what:
            raise Violation(f"sequence {receipt.sequence} was given to {self._stored[receipt.sequence]} and to {what}")
        self.figures["stored"] += 1

    async def _look(self, bus: EventBus, when: str) -> None:
        found = {event.sequence: event.data[:2] async for event in bus.replay()}
        if found != self._stored or list(found) != list(range(1, len(found) + 1)):
            raise Violation(f"{when} {len(found)} events are read, and {len(self._stored)} were stored")

    async def look_again(self) -> None:
        """When the log is opened once more."""
        async with EventBus(self._store()) as bus:
            await self._look(bus, "when it is opened again")


# ----------------------------------------------------------------------------------------------- before it is opened


def fill_before_opening(random: Random, folder: Path, store: Store) -> Figures:
    """No half-made log is left, and what is there can be opened when there is space again."""
    figures: Figures = Counter()
    for place, disk in enumerate((SmallDisk, MemoryDisk)):
        inner = folder / str(place)
        inner.mkdir()
        with disk(inner, 16) as small:
            _run(_open_on_a_full_disk(small.path, store))
            figures["opened when there was space again"] += 2
    return figures


async def _open_on_a_full_disk(folder: Path, store: Store) -> None:
    """Open a log that is not there yet, and one that is."""
    path, old, ballast = folder / "log.db", folder / "old.db", Ballast(folder)
    async with EventBus(store(old)) as bus:
        await bus.publish_many([("old", number) for number in range(100)])
    ballast.take_all()
    for each in (path, old):
        try:
            async with EventBus(store(each)):
                raise Violation(f"{each.name} was opened on a full disk")
        except StoreFullError:
            pass
    if path.exists():
        raise Violation(f"a log that could not be made is there: {sorted(entry.name for entry in folder.iterdir())}")
    ballast.give_back()
    for each, expected in ((path, 1), (old, 101)):
        async with EventBus(store(each)) as bus:
            receipt = await bus.publish("new")
            if receipt.sequence != expected or len(await bus.query()) != expected:
                raise Violation(f"{each.name} should have {expected} events, and gave {receipt}")


# ----------------------------------------------------------------------------------------------- before a checkpoint


def fill_before_a_checkpoint(random: Random, folder: Path, store: Store) -> Figures:
    """Where the write-ahead log cannot be moved publishes go on, and a warning is logged, until it cannot grow."""
    with SmallDisk(folder, 192) as disk:
        return _run(_checkpoint_on_a_full_disk(disk.path, store))


async def _checkpoint_on_a_full_disk(folder: Path, store: Store) -> Figures:
    path, ballast = folder / "log.db", Ballast(folder)
    stored = 0
    async with EventBus(store(path)) as bus:
        with _reading(path):
            # Its transaction keeps the write-ahead log from beginning anew: it becomes longer than it would be.
            stored += await _publish_large(bus, 400)
        wal = path.with_name("log.db-wal")
        size = 0
        while wal.stat().st_size != size:  # it was moved as a whole, and is being written from its beginning on
            size = wal.stat().st_size
            stored += await _publish_large(bus, 130)
        ballast.take_all()
        with _warnings() as warnings:
            while not warnings:
                stored += await _publish_large(bus, 1)
        after = 0
        try:
            while True:
                after += await _publish_large(bus, 1)
        except StoreFullError:
            pass
        if not after:
            raise Violation("no event was stored after a checkpoint had failed")
        ballast.give_back()
        stored += after + await _publish_large(bus, 1)
        if await bus.latest_sequence() != stored:
            raise Violation(f"stored are {stored}, and the head is {await bus.latest_sequence()}")
    async with EventBus(store(path)) as bus:
        found = [event.sequence async for event in bus.replay()]
    if found != list(range(1, stored + 1)):
        raise Violation(f"stored are {stored}, and found were {len(found)}")
    return Counter({"stored": stored, "stored after a checkpoint failed": after})


async def _publish_large(bus: EventBus, count: int) -> int:
    for _ in range(count):
        await bus.publish("large", LARGE)
    return count


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A transaction of another program that reads the log."""
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        yield


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What the library warns of."""
    told: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == logging.WARNING:
                told.append(record.getMessage())

    log, keeper = logging.getLogger("asyncbus"), Keeper()
    log.addHandler(keeper)
    try:
        yield told
    finally:
        log.removeHandler(keeper)


TOOL = Tool(
    name="disk_full",
    promise="A full disk loses nothing, keeps no reader from reading, and heals by itself",
    unit="fillings",
    short=3,
    long=50,
    trial=trial,
    obstacle=small_disks.obstacle,
    folder=MEMORY,
)
