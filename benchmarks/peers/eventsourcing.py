"""eventsourcing: its SQLite recorder, the layer below its aggregates and its fastest; synchronous throughout.

The recorder commits what it is handed in one transaction, in WAL mode and synchronous FULL. Its SQLite back end has no
subscriptions: a follower selects the notifications after the last it has seen, as its own runners do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import msgspec

from benchmarks.peers import imported
from benchmarks.workload import PAYLOADS, TYPE

LOT = 1000
"""Events recorded in one transaction, and selected at once, where they are pipelined."""

_decode = msgspec.json.Decoder().decode


def publish_to_handled(path: Path, count: int) -> float:
    """Events a second, recorded in lots, each lot selected and handled before the next is recorded."""
    with _recorder(path) as recorder:
        events = _events()
        start = perf_counter()
        last = 0
        for _ in range(0, count, LOT):
            recorder.insert_events(list(islice(events, min(LOT, count - last))))
            last = _handle_after(recorder, last)
        seconds = perf_counter() - start
    assert last == count, f"handled {last} of {count}"
    return count / seconds


def awaited(path: Path, count: int) -> float:
    """Events a second, each recorded by itself."""
    with _recorder(path) as recorder:
        start = perf_counter()
        for event in islice(_events(), count):
            recorder.insert_events([event])
        return count / (perf_counter() - start)


def awaited_by_tasks(path: Path, tasks: int, each: int) -> float:
    """Events a second of tasks that record each event by itself, in the threads of the loop."""

    async def publish(recorder: Any) -> None:
        for event in islice(_events(), each):
            await asyncio.to_thread(recorder.insert_events, [event])

    async def run(recorder: Any) -> float:
        start = perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(publish(recorder))
        return tasks * each / (perf_counter() - start)

    with _recorder(path) as recorder:
        return asyncio.run(run(recorder))


def fill(path: Path, count: int) -> None:
    """Make a log of `count` events."""
    with _recorder(path) as recorder:
        events = _events()
        for start in range(0, count, LOT):
            recorder.insert_events(list(islice(events, min(LOT, count - start))))


def caught_up(path: Path, count: int) -> float:
    """Events a second that are selected from the first on, and whose data is read."""
    with _recorder(path) as recorder:
        start = perf_counter()
        last = 0
        while (found := _handle_after(recorder, last)) != last:
            last = found
        seconds = perf_counter() - start
    assert last == count, f"read {last} of {count}"
    return count / seconds


@contextmanager
def _recorder(path: Path) -> Iterator[Any]:
    sqlite = imported("eventsourcing.sqlite")
    datastore = sqlite.SQLiteDatastore(db_name=str(path))
    recorder = sqlite.SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    try:
        yield recorder
    finally:
        datastore.close()


def _events() -> Iterator[Any]:
    """Events of one aggregate, encoded as they are taken."""
    stored_event = imported("eventsourcing.persistence").StoredEvent
    encode = msgspec.json.Encoder().encode
    originator = uuid4()
    for version, payload in enumerate(cycle(PAYLOADS), 1):
        yield stored_event(originator, version, TYPE, encode(payload))


def _handle_after(recorder: Any, last: int) -> int:
    """Select what comes after `last`, a lot at most, read it, and return the last there was."""
    for notification in recorder.select_notifications(last, LOT, inclusive_of_start=False):
        _decode(notification.state)["execution_time_ms"]
        last = notification.id
    return last
