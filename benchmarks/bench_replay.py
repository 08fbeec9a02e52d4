"""How fast history comes back, beside reading the same rows with nothing but sqlite3, and beside the peers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from benchmarks import raw
from benchmarks.harness import Contestant, Question, Setting, Target, UnavailableError, single
from benchmarks.ours import filled, opened
from benchmarks.peers import eventsource, eventsourcing, jetstream

OURS = "asyncbus replay, not reading the data"
OURS_READING = "asyncbus replay, reading the data"
CAUGHT_UP = 'asyncbus subscribe(start="earliest"), reading the data'
LIMIT = "fetchall"
LIMIT_DECODING = "fetchall and decode"
PAGED = "fetchall, 4,096 rows at a time"
PAGED_DECODING = "fetchall and decode, 4,096 rows at a time"
EVENTSOURCING = "eventsourcing, SQLite recorder, 1,000 at a time"
EVENTSOURCE = "eventsource-py, `read_all`"
JETSTREAM = "JetStream, ordered consumer"

_PAGE = 4096


def question(setting: Setting) -> Question:
    count = setting.pick(full=1_000_000, quick=100_000, tiny=300)
    log = setting.directory / "history.db"
    peers = _peers(setting)

    def prepare() -> None:
        filled(log, count)
        for peer in peers:
            with suppress(UnavailableError):  # it says so itself when its turn comes
                peer.fill()

    return Question(
        title="replay of 1,000,000 events, not reading / reading the data",
        contestants=(
            single(OURS, "events/s", lambda: asyncio.run(replayed(log, count, read=False))),
            single(LIMIT, "events/s", lambda: raw.read_rate(log, decode=False), "limit"),
            single(OURS_READING, "events/s", lambda: asyncio.run(replayed(log, count, read=True))),
            single(LIMIT_DECODING, "events/s", lambda: raw.read_rate(log, decode=True), "limit"),
            single(PAGED, "events/s", lambda: raw.read_rate(log, decode=False, page=_PAGE), "beside"),
            single(PAGED_DECODING, "events/s", lambda: raw.read_rate(log, decode=True, page=_PAGE), "beside"),
            single(CAUGHT_UP, "events/s", lambda: asyncio.run(caught_up(log, count)), "beside"),
            *(peer.contestant for peer in peers),
        ),
        targets=(
            Target("not reading: at least 0.6 of raw `fetchall` of the same columns", OURS, LIMIT, at_least=0.6),
            Target("reading: at least 0.5 of `fetchall` and decode", OURS_READING, LIMIT_DECODING, at_least=0.5),
            Target("(not reading, of `fetchall` by pages: for orientation)", OURS, PAGED),
            Target("(reading, of `fetchall` by pages and decode: for orientation)", OURS_READING, PAGED_DECODING),
            Target("(eventsourcing: for orientation)", OURS_READING, EVENTSOURCING),
            Target("(eventsource-py: for orientation)", OURS_READING, EVENTSOURCE),
            Target("(JetStream: for orientation)", OURS_READING, JETSTREAM),
        ),
        prepare=prepare,
        notes="`fetchall` of a million rows at once spends much of its time on the memory for them; by pages it is "
        "faster, which is shown beside it.\n"
        f"The peers read the data, from logs of {', '.join(f'{peer.events:,}' for peer in peers)} events "
        "(eventsourcing, eventsource-py, JetStream), since filling them takes long; it is a rate.\n"
        "eventsourcing selects its notifications; eventsource-py has `read_all` fetch the whole log at once and makes "
        "a pydantic object of each event; JetStream's server sends to an ordered consumer, from a store that it has "
        "just opened again.",
    )


class Peer(NamedTuple):
    """A peer that has history: how much of it, how it is made, and how it is read."""

    events: int
    fill: Callable[[], object]
    contestant: Contestant


def _peers(setting: Setting) -> tuple[Peer, ...]:
    recorded = setting.pick(full=200_000, quick=20_000, tiny=50)
    appended = setting.pick(full=20_000, quick=2_000, tiny=50)
    sent = setting.pick(full=100_000, quick=10_000, tiny=50)
    recorder, store = setting.directory / "eventsourcing.db", setting.directory / "eventsource.db"
    server = setting.directory / "jetstream"
    rate = "events/s"
    return (
        Peer(
            recorded,
            lambda: eventsourcing.fill(recorder, recorded),
            single(EVENTSOURCING, rate, lambda: eventsourcing.caught_up(recorder, recorded), "peer"),
        ),
        Peer(
            appended,
            lambda: asyncio.run(eventsource.fill(store, appended)),
            single(EVENTSOURCE, rate, lambda: asyncio.run(eventsource.caught_up(store, appended)), "peer"),
        ),
        Peer(
            sent,
            lambda: asyncio.run(jetstream.fill(server, sent)),
            single(JETSTREAM, rate, lambda: asyncio.run(jetstream.caught_up(server, sent)), "peer"),
        ),
    )


async def replayed(log: Path, count: int, *, read: bool) -> float:
    """Events a second of a whole replay, from the call to its end."""
    seen = 0
    async with opened(log) as bus:
        start = perf_counter()
        if read:
            async for event in bus.replay():
                event.data["execution_time_ms"]
                seen += 1
        else:
            async for _ in bus.replay():
                seen += 1
        seconds = perf_counter() - start
    assert seen == count, f"replayed {seen} of {count}"
    return count / seconds


async def caught_up(log: Path, count: int) -> float:
    """Events a second of a subscription that starts at the earliest event, until it has them all."""
    async with opened(log) as bus:
        start = perf_counter()
        seen = 0
        async with bus.subscribe("*", start="earliest") as events:
            async for event in events:
                event.data["execution_time_ms"]
                seen += 1
                if seen == count:
                    break
        return count / (perf_counter() - start)
