"""The stores of a simulated scene, and the ledger of what was ever durable in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from random import Random
from typing import Any, Final, TypeVar

from msgspec import Struct

from asyncbus import (
    Appended,
    Bounds,
    ConsumerState,
    EventFilter,
    Features,
    MemoryStore,
    Page,
    ParkedEvent,
    ParkedFilter,
    Pattern,
    Record,
    StoreFailedError,
    StoreFullError,
    TypeCount,
)
from asyncbus.store.consumers import Change
from tests.reliability.simulation.loop import TURN, SimulatedLoop

T = TypeVar("T")

START: Final = 1_700_000_000_000_000
"""Microseconds since 1970, when a scene begins."""

_DELAYS: Final = (0, 0, 1, 2, 4, 8, 30)


class Row(Struct, frozen=True):
    """An event as it was made durable."""

    sequence: int
    type: str
    data: str | bytes
    recorded_at: int
    id: str | None
    key: str | None = None
    causation_id: int | None = None


class Ledger:
    """All events that were ever durable: what readers and publishers are told is measured by it.

    Attributes:
        rows: by sequence.
        given: the data of all that the writer ever handed to the store, or asked it about.
        taken: gives the data of what the writer has taken.
        floor: all up to it was removed.
        problems: promises that the store's content itself has broken.
        states: of consumers, as they were stored last.
        parked: dead letters, by consumer and sequence; and all there ever were.
        expected: says which event was expected to be the last with the key of a row; None: whichever it is.
        is_settled: says whether an event may count as done by a consumer.
        untrue: what was stored of consumers and is not so.
    """

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.given: set[str | bytes] = set()
        self.floor = 0
        self.problems: list[str] = []
        self._ids: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self.taken: Callable[[], Iterable[str | bytes]] = tuple
        self.expected: Callable[[Row], int | None] = lambda row: None
        self.states: dict[str, ConsumerState] = {}
        self.parked: set[tuple[str, int]] = set()
        self.ever_parked: set[tuple[str, int]] = set()
        self.is_settled: Callable[[str, Row], bool] = lambda name, row: True
        self.untrue: list[str] = []

    def note(self, changes: Sequence[Change], letters: Sequence[ParkedEvent]) -> None:
        """These changes are durable, and then all dead letters are these."""
        before = self.parked
        self.parked = {(letter.consumer, letter.record.sequence) for letter in letters}
        self.ever_parked |= self.parked
        self.untrue += [
            f"the dead letter {sequence} of {name} is gone, though it was not done"
            for name, sequence in before - self.parked
            if not self.is_settled(name, self.rows[sequence])
        ]
        for change in changes:
            if isinstance(change, ConsumerState):
                self.states[change.name] = change
                self.untrue += [
                    f"{change.name} does not owe {row.sequence} any more, though it is not done: {change}"
                    for row in self.rows.values()
                    if row.sequence > self.floor
                    and not _owes(change, row.sequence)
                    and (change.name, row.sequence) not in self.ever_parked
                    and not self.is_settled(change.name, row)
                ]

    @property
    def head(self) -> int:
        return len(self.rows)

    def add(self, row: Row) -> None:
        """It is durable from now on."""
        if row.sequence != self.head + 1:
            self.problems.append(f"sequence {row.sequence} was stored when the head was {self.head}")
        if row.id is not None:
            if row.id in self._ids:
                self.problems.append(f"id {row.id} was stored as {self._ids[row.id]} and as {row.sequence}")
            self._ids[row.id] = row.sequence
        if row.key is not None:
            self._add_to_key(row, row.key)
        self.rows[row.sequence] = row

    def _add_to_key(self, row: Row, key: str) -> None:
        found = self._last.get(key, 0)
        found = found if found > self.floor else 0
        if (expected := self.expected(row)) not in (None, found):
            self.problems.append(f"{row} was stored after {found} of its key, though after {expected} was expected")
        self._last[key] = row.sequence

    def remove(self, floor: int) -> None:
        """All up to it is not retained any more."""
        self.floor = floor
        self._ids = {id: sequence for id, sequence in self._ids.items() if sequence > floor}


def _owes(state: ConsumerState, sequence: int) -> bool:
    return sequence > state.settled_to or (sequence > state.checkpoint and sequence in state.owed)


class Lane:
    """A thread, as the loop sees it: it acts some time after it was asked, in order, and is heard some time later.

    Nobody who stops waiting for it keeps it from acting.
    """

    def __init__(self, loop: SimulatedLoop, random: Random) -> None:
        self._loop = loop
        self._random = random
        self._free_at = 0.0

    async def do(self, act: Callable[[], T]) -> T:
        """What `act` returns or raises."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self.begin(act, answer)
        return await answer

    def begin(self, act: Callable[[], T], answer: asyncio.Future[T] | None) -> None:
        """The same, for who waits by himself."""
        self._free_at = max(self._loop.time(), self._free_at) + self._delay()
        self._loop.call_at(self._free_at, self._act, act, answer)

    def _act(self, act: Callable[[], T], answer: asyncio.Future[T] | None) -> None:
        try:
            value = act()
        except Exception as error:  # noqa: BLE001  # for who waits
            self._loop.call_later(self._delay(), _fail, answer, error)
        else:
            self._loop.call_later(self._delay(), _answer, answer, value)

    def _delay(self) -> float:
        return self._random.choice(_DELAYS) * TURN


def _answer(future: asyncio.Future[T] | None, value: T) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any] | None, error: Exception) -> None:
    if future is not None and not future.done():
        future.set_exception(error)


class Faults:
    """What is wrong with the disk, now and then.

    Attributes:
        full, failed: whether it has happened.
    """

    def __init__(self, random: Random, often: float) -> None:
        self._random = random
        self._often = often
        self.full = False
        self.failed = False

    def end(self) -> None:
        """Nothing is wrong from now on."""
        self._often = 0

    def before(self) -> None:
        """Raised instead of writing."""
        if self.failed:
            raise StoreFailedError("it failed before")
        if self._often and self._random.random() < self._often:
            if self._random.random() < 0.1:
                self.failed = True
                raise StoreFailedError("an I/O error before anything was written", outcome_unknown=True)
            self.full = True
            raise StoreFullError("no space is left, for once")

    def after(self) -> None:
        """Raised though it was written."""
        if self._often and self._random.random() < self._often / 10:
            self.failed = True
            raise StoreFailedError("an I/O error after all was written", outcome_unknown=True)


class SimulatedStore:
    """A `MemoryStore` on threads of its own, which fails now and then.

    Attributes:
        ledger: what it has made durable.
        keeps_consumers: whether it says that it does.
        opened: whether it has to be closed.
    """

    def __init__(
        self, inner: MemoryStore, ledger: Ledger, lanes: Sequence[Lane], faults: Faults, batch_limit: int
    ) -> None:
        self._inner = inner
        self.ledger = ledger
        self._writing, self._reading = lanes
        self._faults = faults
        self._batch_limit = batch_limit
        self.keeps_consumers = True
        self.opened = False

    def remember(self, types: Sequence[str]) -> None:
        """It holds events of these types already."""
        self._keep([Record(0, START, START, type, f'"history/{place}"', 0) for place, type in enumerate(types)])

    @property
    def features(self) -> Features:
        return Features(
            batch_limit=self._batch_limit, consumers=self.keeps_consumers, keyed=True, causes=True, counted=True
        )

    async def open(self) -> Bounds:
        bounds = await self._writing.do(lambda: _at_once(self._inner.open()))
        self.opened = True
        return bounds

    async def append(self, records: Sequence[Record]) -> Appended:
        self.ledger.given.update(record.data for record in records)
        return await self._writing.do(lambda: self._append(records))

    def _append(self, records: Sequence[Record]) -> Appended:
        self._faults.before()
        appended = self._keep(records)
        self._faults.after()
        return appended

    def _keep(self, records: Sequence[Record], changes: Sequence[Change] = ()) -> Appended:
        appended = _at_once(self._inner.commit(records, changes) if changes else self._inner.append(records))
        for place, record in enumerate(records):
            if place not in appended.duplicates:
                self.ledger.add(
                    Row(
                        record.sequence,
                        record.type,
                        record.data,
                        record.recorded_at,
                        record.id,
                        record.key,
                        record.causation_id,
                    )
                )
        self.ledger.remove(appended.floor)
        return appended

    async def commit(self, records: Sequence[Record], changes: Sequence[Change]) -> Appended:
        self.ledger.given.update(record.data for record in records)
        return await self._writing.do(lambda: self._commit(records, changes))

    def _commit(self, records: Sequence[Record], changes: Sequence[Change]) -> Appended:
        self._faults.before()
        appended = self._keep(records, changes)
        self.ledger.note(changes, _at_once(self._inner.dead_letters(ParkedFilter())))
        self._faults.after()
        return appended

    async def count_types(self) -> Sequence[TypeCount]:
        """As the store in memory does, after the disk has answered."""
        return await self._reading.do(lambda: _at_once(self._inner.count_types()))

    async def last_sequences(self, keys: Sequence[str]) -> Mapping[str, int]:
        self.ledger.given.update(self.ledger.taken())
        return await self._reading.do(lambda: _at_once(self._inner.last_sequences(keys)))

    async def ids(self, wanted: Sequence[str]) -> Mapping[str, int]:
        return await self._reading.do(lambda: _at_once(self._inner.ids(wanted)))

    async def consumers(self) -> Sequence[ConsumerState]:
        return await self._reading.do(lambda: _at_once(self._inner.consumers()))

    async def dead_letters(self, wanted: ParkedFilter) -> Sequence[ParkedEvent]:
        return await self._reading.do(lambda: _at_once(self._inner.dead_letters(wanted)))

    async def dead_letter_counts(self) -> Mapping[str, int]:
        return await self._reading.do(lambda: _at_once(self._inner.dead_letter_counts()))

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        await self._reading.do(_nothing)
        page = await self._inner.read(after, pattern, limit)
        await self._reading.do(_nothing)
        return page

    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        await self._reading.do(_nothing)
        return await self._inner.query(wanted)

    async def latest_sequence(self) -> int:
        return await self._reading.do(lambda: _at_once(self._inner.latest_sequence()))

    async def changed(self) -> None:
        raise AssertionError("only read-only stores are asked")

    async def clear(self) -> None:
        await self._writing.do(self._clear)

    def _clear(self) -> None:
        self._faults.before()
        _at_once(self._inner.clear())
        self.ledger.remove(self.ledger.head)

    async def close(self) -> None:
        await self._writing.do(self._close)

    def _close(self) -> None:
        self.opened = False


def _nothing() -> None:
    pass


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that does not wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("it waits")
