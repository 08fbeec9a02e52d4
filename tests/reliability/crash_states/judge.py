"""What a log must hold after a power cut, and whether it does, opened as a user would."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from asyncbus import AsyncBusError, Record, SQLiteStore
from asyncbus.store.base import Bounds
from asyncbus.testing import record
from tests.reliability.crash_states.disk import Contents, SyncBegan, Synced
from tests.reliability.crash_states.plan import Operation, Synchronous, events_of
from tests.reliability.crash_states.trace import Note
from tests.reliability.trials import Violation
from tests.store.files import read_all

Event = tuple[str, str, str | None, str | None, str | None]
"""Type, data, id, key and metadata, as they are stored."""


class Log(Struct, frozen=True):
    """What a log holds: events above `floor`, dense up to `head`."""

    floor: int = 0
    head: int = 0
    events: tuple[Event, ...] = ()

    def after(self, operation: Operation, seed: int) -> Log:
        """The log once an operation was carried out."""
        if not operation.events:
            return Log(self.head, self.head)
        new = tuple(
            _event(record(event.type, event.data, id=event.id, key=event.key)) for event in events_of(seed, operation)
        )
        return Log(self.floor, self.head + len(new), self.events + new)


def _event(found: Record) -> Event:
    return found.type, found.data, found.id, found.key, found.metadata


class History:
    """What was done to a log up to some moment, and how much of it no power cut may take back.

    Kept is a beginning of the history, so a number of operations says what. Required with "full" are those that were
    acknowledged, or found by whoever opened the log: it may have shown them to its subscribers. With "normal" they are
    those acknowledged before the last completed sync of the -wal file began.
    """

    def __init__(self, seed: int, synchronous: Synchronous) -> None:
        self._seed = seed
        self._synchronous = synchronous
        self._logs = [Log()]
        self._operations: list[Operation] = []
        self._acknowledged = 0
        self._syncs: dict[int, int] = {}
        self._required = 0

    def copy(self) -> History:
        """Another one like it; what is being synced is not."""
        other = History(self._seed, self._synchronous)
        other._logs, other._operations = self._logs.copy(), self._operations.copy()
        other._acknowledged, other._required = self._acknowledged, self._required
        return other

    def apply(self, change: object, operations: dict[int, Operation]) -> None:
        """Take notice of a change of the disk, or of a note of the process that carries out these operations."""
        match change:
            case SyncBegan(call, _, "log.db-wal"):
                self._syncs[call] = self._acknowledged
            case Synced(call) if call in self._syncs:
                synced = self._syncs.pop(call)
                self._require(synced)
            case Note({"begins": numbers}):
                for number in numbers:
                    self._operations.append(operations[number])
                    self._logs.append(self._logs[-1].after(operations[number], self._seed))
            case Note({"stored": number, "sequence": sequence}):
                self._stored(operations[number], sequence)
            case Note({"opened": head, "floor": floor}):
                self._opened(head, floor)

    def _require(self, operations: int) -> None:
        self._required = max(self._required, operations)

    def _acknowledge(self, operations: int) -> None:
        self._acknowledged = max(self._acknowledged, operations)
        if self._synchronous == "full":
            self._require(operations)

    def _stored(self, operation: Operation, sequence: int) -> None:
        place = self._operations.index(operation) + 1
        if self._logs[place].head != sequence:
            raise Violation(f"operation {operation} was acknowledged as {sequence}, not {self._logs[place].head}")
        self._acknowledge(place)

    def _opened(self, head: int, floor: int) -> None:
        fitting = [place for place, log in enumerate(self._logs) if (log.floor, log.head) == (floor, head)]
        if not fitting or fitting[-1] < self._acknowledged:
            raise Violation(f"a log was opened that held events above {floor} up to {head}; {self}")
        # What it did not hold was never acknowledged, and is no part of the history.
        self.cut(fitting[-1])
        self._acknowledge(fitting[-1])

    def cut(self, operations: int) -> None:
        """Forget what came after so many operations: a power cut has taken it."""
        del self._logs[operations + 1 :], self._operations[operations:]
        self._acknowledged = min(self._acknowledged, operations)

    def place(self, found: Log) -> int:
        """After how many operations the log was like this.

        Raises:
            Violation: it never was, or not since what was required.
        """
        for place in range(len(self._logs) - 1, self._required - 1, -1):
            if self._logs[place] == found:
                return place
        known = any(log == found for log in self._logs)
        what = "as it was before" if known else "as it never was"
        raise Violation(f"the log is {what}: events above {found.floor} up to {found.head}; {self}")

    def __str__(self) -> str:
        required, last = self._logs[self._required], self._logs[-1]
        return (
            f"required are {self._required} of {len(self._operations)} operations: "
            f"up to event {required.head}, of {last.head} begun"
        )


async def look(folder: Path, contents: Contents) -> Log:
    """Open a disk's log, read all of it, and append an event.

    Raises:
        Violation: one of that was not possible, or sequences or times are not in order.
    """
    for left in folder.iterdir():
        left.unlink()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    store = SQLiteStore(folder / "log.db")
    try:
        bounds = await store.open()
        try:
            return await _read_and_append(store, bounds)
        finally:
            await store.close()
    except AsyncBusError as error:
        raise Violation(f"the log cannot be used: {error!r}") from error


async def _read_and_append(store: SQLiteStore, bounds: Bounds) -> Log:
    found, damage = await read_all(store)
    if damage is not None:
        raise damage
    log = Log(bounds.floor, bounds.head, tuple(map(_event, found)))
    _check_order(log, found)
    # All events were read in their order; whether the indexes lead to the same ones SQLite can tell.
    [verdict, *_] = await store._reader.rows("PRAGMA integrity_check")
    if verdict != ("ok",):
        raise Violation(f"SQLite finds damage: {verdict}")
    appended = await store.append([record("power.back", recorded_at=bounds.recorded_at)])
    if appended.first != bounds.head + 1:
        raise Violation(f"the next event after {bounds.head} was stored as {appended.first}")
    return log


def _check_order(log: Log, found: list[Record]) -> None:
    sequences = [event.sequence for event in found]
    if sequences != list(range(log.floor + 1, log.head + 1)):
        raise Violation(f"events above {log.floor} up to {log.head} are expected, found are {sequences}")
    times = [event.recorded_at for event in found]
    if times != sorted(times):
        raise Violation("the times at which events were recorded are not in order")
