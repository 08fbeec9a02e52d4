"""What one task that awaits every commit gets, beside the same loop with nothing but aiosqlite."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

from benchmarks import raw
from benchmarks.harness import Contestant, Question, Setting, Target, single
from benchmarks.ours import opened
from benchmarks.peers import bubus, eventsource, eventsourcing, jetstream
from benchmarks.workload import PATTERN, TYPE, Handled, payloads

FULL = "asyncbus, FULL"
NORMAL = "asyncbus, NORMAL"
LIMIT = "aiosqlite, FULL, reference schema"
BUBUS = "bubus, with its log file"
EVENTSOURCING = "eventsourcing, SQLite recorder, FULL"
EVENTSOURCE = "eventsource-py, SQLite store, FULL"
JETSTREAM = "JetStream, default (synced every 2 min)"
JETSTREAM_ALWAYS = "JetStream, sync_interval: always"


def question(setting: Setting) -> Question:
    return Question(
        title='one task awaiting `ack="stored"`, NORMAL / FULL',
        contestants=[
            *_beside_aiosqlite(setting, "normal", setting.pick(full=15_000, quick=3_000, tiny=20)),
            *_beside_aiosqlite(setting, "full", setting.pick(full=5_000, quick=1_000, tiny=20)),
            *_peers(setting),
        ],
        targets=(
            _target("normal", 0.65),
            _target("full", 0.75),
            Target("(eventsourcing, FULL: for orientation)", FULL, EVENTSOURCING),
            Target("(eventsource-py, FULL: for orientation)", FULL, EVENTSOURCE),
            Target("(JetStream, as durable as FULL: for orientation)", FULL, JETSTREAM_ALWAYS),
            Target("(JetStream, as durable as NORMAL: for orientation)", NORMAL, JETSTREAM),
        ),
        notes="The aiosqlite loop inserts rows that are encoded before the clock starts, one call a row.\n"
        "eventsourcing is synchronous: nothing hops to another thread, and the loop would stand while it commits. "
        "Nobody subscribes to the peers, except to bubus, whose log is written after its handler ran and never synced.",
    )


def _beside_aiosqlite(setting: Setting, synchronous: raw.Synchronous, count: int) -> tuple[Contestant, ...]:
    """The library, and the same loop with nothing but aiosqlite."""
    word, rate = synchronous.upper(), "events/s"

    def bare(name: str, table: raw.Table) -> float:
        return asyncio.run(bare_loop(setting.fresh(name), table, synchronous, count))

    return (
        single(
            f"asyncbus, {word}",
            rate,
            lambda: asyncio.run(stored(setting.fresh("ours"), synchronous, count)),
        ),
        single(
            f"asyncbus, {word}, with a subscriber",
            rate,
            lambda: asyncio.run(stored_and_handled(setting.fresh("handled"), synchronous, count)),
            "beside",
        ),
        single(f"aiosqlite, {word}, reference schema", rate, lambda: bare("bare", raw.REFERENCE), "limit"),
        single(f"aiosqlite, {word}, two-column table", rate, lambda: bare("two", raw.BARE), "beside"),
    )


def _target(synchronous: raw.Synchronous, at_least: float) -> Target:
    word = synchronous.upper()
    return Target(
        f"{word}: at least {at_least} of a bare aiosqlite autocommit INSERT loop",
        f"asyncbus, {word}",
        f"aiosqlite, {word}, reference schema",
        at_least=at_least,
    )


def _peers(setting: Setting) -> tuple[Contestant, ...]:
    """One task that awaits each event."""
    few = setting.pick(full=1_500, quick=300, tiny=20)
    dispatched = setting.pick(full=300, quick=100, tiny=20)
    sent = setting.pick(full=3_000, quick=600, tiny=20)
    server, log = setting.directory / "jetstream", setting.directory / "bubus.jsonl"
    rate = "events/s"
    return (
        single(BUBUS, rate, lambda: asyncio.run(bubus.awaited(dispatched, log)), "peer"),
        single(EVENTSOURCING, rate, lambda: eventsourcing.awaited(setting.fresh("eventsourcing"), few), "peer"),
        single(
            EVENTSOURCE,
            rate,
            lambda: asyncio.run(eventsource.awaited(setting.fresh("eventsource"), 1, few)),
            "peer",
        ),
        single(JETSTREAM, rate, lambda: asyncio.run(jetstream.awaited(server, "default", 1, sent)), "peer"),
        single(JETSTREAM_ALWAYS, rate, lambda: asyncio.run(jetstream.awaited(server, "always", 1, few)), "peer"),
    )


async def stored(path: Path, synchronous: raw.Synchronous, count: int) -> float:
    """Receipts a second of one task that awaits each before it publishes the next; nobody subscribes."""
    async with opened(path, synchronous) as bus:
        start = perf_counter()
        for payload in payloads(count):
            await bus.publish(TYPE, payload)
        return count / (perf_counter() - start)


async def stored_and_handled(path: Path, synchronous: raw.Synchronous, count: int) -> float:
    """The same with one pattern subscriber, until it has handled the last event."""
    handled = Handled(count)
    async with opened(path, synchronous) as bus:
        bus.subscribe(PATTERN, handled.handle)
        start = perf_counter()
        for payload in payloads(count):
            await bus.publish(TYPE, payload)
        await handled.all_handled.wait()
        return count / (perf_counter() - start)


async def bare_loop(path: Path, table: raw.Table, synchronous: raw.Synchronous, count: int) -> float:
    """Rows a second of one aiosqlite call a row, each its own transaction."""
    insert = table.insert
    async with raw.autocommitting(path, table, synchronous) as database:
        start = perf_counter()
        for row in islice(cycle(table.rows), count):
            await database.execute(insert, row)
        return count / (perf_counter() - start)
