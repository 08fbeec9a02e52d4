"""What awaiting each commit costs when many do it at once: group commit makes them share one."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

import aiosqlite

from benchmarks import raw
from benchmarks.harness import Contestant, Question, Setting, Target, single
from benchmarks.ours import accepted_to_handled, opened
from benchmarks.peers import bubus, eventsource, eventsourcing, jetstream
from benchmarks.workload import PATTERN, TYPE, Handled, payloads

ACCEPTED = 'asyncbus, `ack="accepted"` (the first row)'
STORED = 'asyncbus, 256 tasks awaiting `ack="stored"`'
LIMIT = "executemany, reference schema"
BARE = "aiosqlite, 256 tasks, autocommit, reference schema"
BUBUS = "bubus, 256 tasks, with its log file"
EVENTSOURCING = "eventsourcing, 256 tasks, the loop's threads"
EVENTSOURCE = "eventsource-py, 256 tasks"
JETSTREAM = "JetStream, default, 256 tasks"
JETSTREAM_ALWAYS = "JetStream, sync_interval: always, 256 tasks"

_RATE = "events/s"

_TASKS = 256


def question(setting: Setting) -> Question:
    each = setting.pick(full=800, quick=100, tiny=2)
    count = each * _TASKS

    return Question(
        title='256 tasks each awaiting `ack="stored"`',
        contestants=(
            single(STORED, _RATE, lambda: asyncio.run(stored_to_handled(setting.fresh("ours"), each))),
            single(
                ACCEPTED,
                _RATE,
                lambda: asyncio.run(accepted_to_handled(setting.fresh("accepted"), count)),
                "limit",
            ),
            single(LIMIT, _RATE, lambda: raw.insert_rate(setting.fresh("raw"), raw.REFERENCE, count), "beside"),
            *_awaited(setting),
        ),
        targets=(
            Target("at least 0.5 of the above", STORED, ACCEPTED, at_least=0.5),
            Target("(of raw `executemany`: for orientation)", STORED, LIMIT),
            Target("(of aiosqlite, a commit an event: for orientation)", STORED, BARE),
            Target("(eventsourcing: for orientation)", STORED, EVENTSOURCING),
            Target("(eventsource-py: for orientation)", STORED, EVENTSOURCE),
            Target("(JetStream, less durable: for orientation)", STORED, JETSTREAM),
            Target("(JetStream, as durable: for orientation)", STORED, JETSTREAM_ALWAYS),
        ),
        notes="With the same subscriber and handler as the first row, until all is handled and every receipt is in.\n"
        "aiosqlite, eventsourcing and eventsource-py commit one event at a time, whoever waits: they have no group "
        "commit. FULL; nobody subscribes to them. eventsourcing is synchronous, and called in the loop's threads.\n"
        f"bubus admits {bubus.PENDING} of its 256 tasks at a time, since it refuses more than 100 pending events; its "
        "log file is never synced.\n"
        "JetStream by default acknowledges what is not yet synced; with `always` each message is synced by itself.",
    )


def _awaited(setting: Setting) -> tuple[Contestant, ...]:
    """aiosqlite, and the peers, each awaited by as many tasks."""
    few = setting.pick(full=10, quick=2, tiny=1)
    more = setting.pick(full=50, quick=10, tiny=1)
    dispatched = setting.pick(full=500, quick=256, tiny=20)
    server = setting.directory / "jetstream"
    return (
        single(BARE, _RATE, lambda: asyncio.run(raw_tasks(setting.fresh("bare"), few)), "limit"),
        single(
            BUBUS,
            _RATE,
            lambda: asyncio.run(bubus.awaited(dispatched, setting.directory / "bubus.jsonl", _TASKS)),
            "peer",
        ),
        single(
            EVENTSOURCING,
            _RATE,
            lambda: eventsourcing.awaited_by_tasks(setting.fresh("eventsourcing"), _TASKS, few),
            "peer",
        ),
        single(
            EVENTSOURCE,
            _RATE,
            lambda: asyncio.run(eventsource.awaited(setting.fresh("eventsource"), _TASKS, max(1, few // 2))),
            "peer",
        ),
        single(JETSTREAM, _RATE, lambda: asyncio.run(jetstream.awaited(server, "default", _TASKS, more)), "peer"),
        single(JETSTREAM_ALWAYS, _RATE, lambda: asyncio.run(jetstream.awaited(server, "always", _TASKS, few)), "peer"),
    )


async def stored_to_handled(path: Path, each: int) -> float:
    """Events a second until all tasks have their receipts and the subscriber has handled every event."""
    handled = Handled(each * _TASKS)
    async with opened(path) as bus:

        async def publish() -> None:
            for payload in payloads(each):
                await bus.publish(TYPE, payload)

        bus.subscribe(PATTERN, handled.handle)
        start = perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_TASKS):
                tasks.create_task(publish())
        await handled.all_handled.wait()
        return handled.expected / (perf_counter() - start)


async def raw_tasks(path: Path, each: int) -> float:
    """Rows a second of tasks that insert each row in a transaction of its own, over one connection."""
    insert = raw.REFERENCE.insert

    async def publish(database: aiosqlite.Connection) -> None:
        for row in islice(cycle(raw.REFERENCE.rows), each):
            await database.execute(insert, row)

    async with raw.autocommitting(path, raw.REFERENCE, "full") as database:
        start = perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_TASKS):
                tasks.create_task(publish(database))
        return each * _TASKS / (perf_counter() - start)
