"""For authors of applications: a store that fails, is slow, hangs, or tears a batch, as a test orders it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias, cast, get_args

from msgspec import Struct

from asyncbus.errors import InvalidOptionError, StoreFailedError
from asyncbus.events import Record
from asyncbus.filters import EventFilter
from asyncbus.options import check_count, check_seconds
from asyncbus.patterns import Pattern
from asyncbus.store.base import (
    Appended,
    BackupStore,
    Bounds,
    CountedStore,
    EventStore,
    Features,
    KeyedStore,
    MeasuredStore,
    Page,
    TypeCount,
    check_store,
)
from asyncbus.store.consumers import Change, ConsumerState, ConsumerStore, ParkedEvent, ParkedFilter

Call: TypeAlias = Literal[
    "open",
    "append",
    "commit",
    "read",
    "query",
    "consumers",
    "dead_letters",
    "dead_letter_counts",
    "latest_sequence",
    "last_sequences",
    "ids",
    "count_types",
    "changed",
    "clear",
    "backup",
    "close",
]
"""What of a store can have a fault."""


class _Fault(Struct, frozen=True):
    """Something that happens to the calls with these numbers, counted from 1."""

    numbers: range
    happen: Callable[[], Awaitable[object]]


class Held:
    """A call that hangs; `FaultyStore.hang` makes it.

    Attributes:
        reached: set when the call has come, and hangs.
    """

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let it go on as if nothing had been; it does not hang at all if it has not come yet."""
        self._released.set()

    async def hang(self) -> None:
        """What the store does when the call comes."""
        self.reached.set()
        await self._released.wait()


class FaultyStore:
    """Any store, with faults to order, to see what an application does when its disk is full, say.

    ::

        async def test_an_order_that_cannot_be_stored_is_refused():
            store = FaultyStore(MemoryStore())
            async with EventBus(store) as bus:
                shop = Shop(bus)
                store.fail("append", StoreFullError("no space is left"))

                assert await shop.order("tea") == "please try again"
                assert await shop.order("tea") == "thank you"

    Calls are named as the methods of `EventStore` and `ConsumerStore` and counted from the moment a fault is ordered:
    `nth=1` is the next one. `heal` takes back what was ordered. What a bus stores for its consumers goes by "commit",
    and events that are stored in the same transaction go with it; all others go by "append".

    An append or a commit that fails has stored nothing. Torn, or failed with `after=True`, it has stored something, and
    the bus cannot know what: then this store does what a store must do, and refuses to append, commit and clear, with
    `StoreFailedError`, until it is opened again.

    Args:
        store: what it is without a fault.
        sleep: how it is slow, for tests that do not want to wait.

    Raises:
        InvalidOptionError: `store` is no store, or `sleep` cannot be called.

    Attributes:
        calls: how often each of its methods was called.
    """

    def __init__(self, store: EventStore, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._store = check_store(store)
        if not callable(sleep):
            raise InvalidOptionError("sleep", "a coroutine function of a number of seconds", sleep)
        self._sleep = sleep
        self.calls: Counter[str] = Counter()
        self._before: defaultdict[str, list[_Fault]] = defaultdict(list)
        self._after: defaultdict[str, list[_Fault]] = defaultdict(list)
        # Call and its number → how many of its events are stored.
        self._torn: dict[tuple[str, int], int] = {}
        self._doubt: Exception | None = None

    # ---------------------------------------------------------------------------------------------- ordering faults

    def fail(self, call: Call, error: Exception, *, nth: int = 1, times: int | None = 1, after: bool = False) -> None:
        """Have calls raise an error.

        Args:
            call: which method.
            error: what it raises.
            nth: the first call that fails, counted from now.
            times: how many fail, one after the other; None: all from then on.
            after: the call does its work, and only then fails: its answer is lost. An append or a commit then fails as
                one that may have been stored, with `StoreFailedError(outcome_unknown=True)`, and the error is its
                cause.

        Raises:
            InvalidOptionError: there is no such method, no such error, or a number is out of its range.
        """
        numbers = self._numbers(call, nth, times)
        if not isinstance(error, Exception):
            raise InvalidOptionError("error", "an exception, made of a class below Exception", error)

        async def fail() -> None:
            cause = error.with_traceback(None)
            if call not in {"append", "commit"} or not after or getattr(error, "outcome_unknown", False):
                raise cause
            raise StoreFailedError(f"the answer of the {call} was lost: {error}", outcome_unknown=True) from cause

        (self._after if after else self._before)[call].append(_Fault(numbers, fail))

    def slow(self, call: Call, seconds: float, *, nth: int = 1, times: int | None = None) -> None:
        """Have calls wait so many seconds before they do their work; the other arguments are those of `fail`.

        Raises:
            InvalidOptionError: as `fail`.
        """
        check_seconds("seconds", seconds)
        numbers = self._numbers(call, nth, times)
        self._before[call].append(_Fault(numbers, lambda: self._sleep(seconds)))

    def hang(self, call: Call, *, nth: int = 1) -> Held:
        """Have one call wait until it is released, or cancelled; a bus cancels reads, but nothing that stores.

        Raises:
            InvalidOptionError: as `fail`.
        """
        numbers = self._numbers(call, nth, 1)
        held = Held()
        self._before[call].append(_Fault(numbers, held.hang))
        return held

    def tear(self, stored: int, *, call: Literal["append", "commit"] = "append", nth: int = 1) -> None:
        """Have one append store the first events of its batch and then fail, which no store may do.

        Args:
            stored: how many events it stores.
            call: "commit": a commit, of which no change is stored.
            nth: which one, counted from now.

        Raises:
            InvalidOptionError: a number is out of its range.
        """
        if call not in {"append", "commit"}:
            raise InvalidOptionError("call", '"append" or "commit"', call)
        [number] = self._numbers(call, nth, 1)
        self._torn[call, number] = check_count("stored", stored)

    def heal(self) -> None:
        """Take back every fault; a call that hangs already is still to be released."""
        self._before.clear()
        self._after.clear()
        self._torn.clear()

    def _numbers(self, call: Call, nth: int, times: int | None) -> range:
        if call not in get_args(Call):
            raise InvalidOptionError("call", f"one of {', '.join(get_args(Call))}", call)
        first = self.calls[call] + check_count("nth", nth)
        return range(first, sys.maxsize if times is None else first + check_count("times", times))

    # ------------------------------------------------------------------------------------------ being a store

    @asynccontextmanager
    async def _called(self, call: Call) -> AsyncIterator[int]:
        """Around what a call does: its faults; gives its number."""
        self.calls[call] += 1
        number = self.calls[call]
        for fault in self._before[call]:
            if number in fault.numbers:
                await fault.happen()
        yield number
        for fault in self._after[call]:
            if number in fault.numbers:
                await fault.happen()

    @asynccontextmanager
    async def _changing(self, call: Call) -> AsyncIterator[int]:
        """The same around a call that changes what is stored."""
        if self._doubt is not None:
            raise StoreFailedError("nobody knows what is stored: close the bus and open it again") from self._doubt
        is_done = False
        try:
            async with self._called(call) as number:
                yield number
                is_done = True
        except Exception as error:
            if is_done:
                self._doubt = error
            raise

    @property
    def features(self) -> Features:
        """Those of the store it wraps."""
        return self._store.features

    async def open(self) -> Bounds:
        """As the store it wraps, as all that follows."""
        try:
            async with self._called("open"):
                bounds = await self._store.open()
        except BaseException:
            await self._store.close()  # nobody closes a store that could not be opened
            raise
        self._doubt = None
        return bounds

    async def append(self, records: Sequence[Record]) -> Appended:
        """Append, unless it is torn."""
        async with self._changing("append") as number:
            await self._tear("append", number, records)
            return await self._store.append(records)

    async def commit(self, records: Sequence[Record], changes: Sequence[Change]) -> Appended:
        """Commit, unless it is torn, if the store it wraps keeps consumers."""
        async with self._changing("commit") as number:
            await self._tear("commit", number, records)
            return await self._consumer_store.commit(records, changes)

    async def _tear(self, call: Call, number: int, records: Sequence[Record]) -> None:
        if (call, number) in self._torn:
            await self._store.append(records[: self._torn[call, number]])
            self._doubt = StoreFailedError("the batch was torn", outcome_unknown=True)
            raise self._doubt

    @property
    def _consumer_store(self) -> ConsumerStore:
        return cast("ConsumerStore", self._store)

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        """Read a page."""
        async with self._called("read"):
            return await self._store.read(after, pattern, limit)

    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        """Query."""
        async with self._called("query"):
            return await self._store.query(wanted)

    async def consumers(self) -> Sequence[ConsumerState]:
        """Tell the states of consumers."""
        async with self._called("consumers"):
            return await self._consumer_store.consumers()

    async def dead_letters(self, wanted: ParkedFilter) -> Sequence[ParkedEvent]:
        """List dead letters."""
        async with self._called("dead_letters"):
            return await self._consumer_store.dead_letters(wanted)

    async def dead_letter_counts(self) -> Mapping[str, int]:
        """Count them."""
        async with self._called("dead_letter_counts"):
            return await self._consumer_store.dead_letter_counts()

    async def latest_sequence(self) -> int:
        """Tell the last sequence."""
        async with self._called("latest_sequence"):
            return await self._store.latest_sequence()

    async def last_sequences(self, keys: Sequence[str]) -> Mapping[str, int]:
        """Tell the last events of keys, if the store it wraps can."""
        async with self._called("last_sequences"):
            return await cast("KeyedStore", self._store).last_sequences(keys)

    async def ids(self, wanted: Sequence[str]) -> Mapping[str, int]:
        """Tell which ids are stored, if the store it wraps can."""
        async with self._called("ids"):
            return await cast("KeyedStore", self._store).ids(wanted)

    async def count_types(self) -> Sequence[TypeCount]:
        """Count types, if the store it wraps can."""
        async with self._called("count_types"):
            return await cast("CountedStore", self._store).count_types()

    async def changed(self) -> None:
        """Wait for what others append."""
        async with self._called("changed"):
            await self._store.changed()

    async def clear(self) -> None:
        """Remove all events."""
        async with self._changing("clear"):
            await self._store.clear()

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the log, if the store it wraps can."""
        async with self._called("backup"):
            await cast("BackupStore", self._store).backup(path)

    def statistics(self) -> Mapping[str, int]:
        """The figures of the store it wraps, if it has any; a look at them is no call, and has no faults."""
        return self._store.statistics() if isinstance(self._store, MeasuredStore) else {}

    async def close(self) -> None:
        """Release everything, whatever the fault."""
        try:
            async with self._called("close"):
                pass
        finally:
            await self._store.close()
