"""The whole pipe: publish, commit durably, deliver, handle; beside raw inserting and beside the peers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks import raw
from benchmarks.harness import Contestant, Question, Setting, Target, single
from benchmarks.ours import accepted_to_handled, filled
from benchmarks.peers import bubus, eventsource, eventsourcing, jetstream

OURS = "asyncbus, async handler"
PLAIN = "asyncbus, plain handler"
LIMIT = "executemany, reference schema"
SHIPPED = "executemany, schema as shipped"
BARE = "executemany, bare two-column table"
BUBUS = "bubus, default history of 50"
BUBUS_TUNED = "bubus, history of 5"
BUBUS_LOG = "bubus, default history, with its log file"
EVENTSOURCING = "eventsourcing, SQLite recorder, lots of 1,000"
EVENTSOURCE = "eventsource-py, SQLite store, lots of 100"
JETSTREAM = "JetStream, default (synced every 2 min)"
JETSTREAM_ALWAYS = "JetStream, sync_interval: always"

_RATE = "events/s"

_TARGETS = (
    Target("at least 0.6 of raw `executemany`, 4,096 rows a commit, FULL", OURS, LIMIT, at_least=0.6),
    Target("at least 200 times bubus's rate", OURS, BUBUS, at_least=200),
    Target("(bubus tuned by a history of 5: for orientation)", OURS, BUBUS_TUNED),
    Target("(of raw `executemany` into the schema as shipped: for orientation)", OURS, SHIPPED),
    Target("(eventsourcing: for orientation)", OURS, EVENTSOURCING),
    Target("(eventsource-py: for orientation)", OURS, EVENTSOURCE),
    Target("(JetStream, less durable: for orientation)", OURS, JETSTREAM),
    Target("(JetStream, as durable: for orientation)", OURS, JETSTREAM_ALWAYS),
)


def question(setting: Setting) -> Question:
    few = setting.pick(full=1_500, quick=500, tiny=50)
    sample = setting.directory / "sample.db"

    return Question(
        title='publish with `ack="accepted"`, 90-byte JSON, one pattern subscriber with a handler, SQLite FULL: '
        "publish to handled",
        contestants=(*_pipes(setting, sample), *_bubus(setting, few), *_stores(setting)),
        targets=_TARGETS,
        prepare=lambda: filled(sample, 1),
        notes=f"bubus ran {few:,} events a round, dispatched in lots of as many as its history holds, the fastest way "
        "found with its limit of 100 pending events; nothing is stored, except in its log file where that is said, "
        "which is written after the handlers have run and never synced, and cannot be replayed.\n"
        "eventsourcing is synchronous and has no subscriptions on SQLite: its recorder, the layer below its aggregates "
        "and its fastest, commits a lot, then the lot is selected and handled. FULL.\n"
        "eventsource-py inserts row by row and commits a lot, which is then published to its bus in memory, as its "
        "repository does. FULL.\n"
        "JetStream is a server process, reached over the loopback; published with `publish_async`, at most 4,000 "
        "pending, to a push consumer that acknowledges nothing. By default it acknowledges what is not yet synced, "
        "which survives the process and not the power; with `always` each message is synced first, as with FULL.",
    )


def _pipes(setting: Setting, sample: Path) -> tuple[Contestant, ...]:
    """The library, and what inserting as many rows takes; `sample` is a log of ours, for its schema."""
    count = setting.pick(full=300_000, quick=40_000, tiny=300)

    def ours(*, plain: bool) -> float:
        return asyncio.run(accepted_to_handled(setting.fresh("ours"), count, plain=plain))

    def limit(table: raw.Table) -> float:
        return raw.insert_rate(setting.fresh("raw"), table, count)

    return (
        single(OURS, _RATE, lambda: ours(plain=False)),
        single(PLAIN, _RATE, lambda: ours(plain=True), "beside"),
        single(LIMIT, _RATE, lambda: limit(raw.REFERENCE), "limit"),
        single(SHIPPED, _RATE, lambda: limit(raw.shipped(sample)), "beside"),
        single(BARE, _RATE, lambda: limit(raw.BARE), "beside"),
    )


def _bubus(setting: Setting, count: int) -> tuple[Contestant, ...]:
    """The peer that stores nothing, except in its log file."""
    log_file = setting.directory / "bubus.jsonl"

    def run(history: int, log: Path | None = None) -> float:
        return asyncio.run(bubus.publish_to_handled(count, history, log))

    return (
        single(BUBUS, _RATE, lambda: run(50), "peer"),
        single(BUBUS_TUNED, _RATE, lambda: run(5), "beside"),
        single(BUBUS_LOG, _RATE, lambda: run(50, log_file), "beside"),
    )


def _stores(setting: Setting) -> tuple[Contestant, ...]:
    """The peers that store what is published."""
    recorded = setting.pick(full=50_000, quick=10_000, tiny=50)
    appended = setting.pick(full=3_000, quick=500, tiny=50)
    sent = setting.pick(full=20_000, quick=4_000, tiny=50)
    synced = setting.pick(full=5_000, quick=1_000, tiny=50)
    server = setting.directory / "jetstream"
    return (
        single(
            EVENTSOURCING,
            _RATE,
            lambda: eventsourcing.publish_to_handled(setting.fresh("eventsourcing"), recorded),
            "peer",
        ),
        single(
            EVENTSOURCE,
            _RATE,
            lambda: asyncio.run(eventsource.publish_to_handled(setting.fresh("eventsource"), appended)),
            "peer",
        ),
        single(JETSTREAM, _RATE, lambda: asyncio.run(jetstream.publish_to_handled(server, "default", sent)), "peer"),
        single(
            JETSTREAM_ALWAYS,
            _RATE,
            lambda: asyncio.run(jetstream.publish_to_handled(server, "always", synced)),
            "peer",
        ),
    )
