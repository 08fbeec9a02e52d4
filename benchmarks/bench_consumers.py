"""What a durable consumer costs beside a subscription, what a thousand of them cost a bus, and listing dead letters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import asyncbus
from asyncbus.patterns import Pattern
from asyncbus.store.consumers import Failure, ParkedEvent
from benchmarks.harness import Contestant, Question, Setting, Target, single
from benchmarks.ours import accepted_to_handled, filled, opened
from benchmarks.workload import PATTERN, TYPE, Handled, payloads

CONSUMER = "consumer, publish to handled"
SUBSCRIPTION = "subscription, publish to handled"
CONSUMER_BEHIND = "consumer, catching up on a stored log"
SUBSCRIPTION_BEHIND = "subscription, catching up on a stored log"
IDLE = "idle bus with 1,000 consumers"
IDLE_ALONE = "idle bus with none"
OPENING = "opening 1,000 consumers, until each has handled one event"
COMMIT = "a commit awaited, beside 1,000 consumers"
COMMIT_ALONE = "a commit awaited, beside none"
FIRST = "dead letters, the first page"
MIDDLE = "dead letters, the middle page"
LAST = "dead letters, the last page"
WHOLE = "dead letters, all of them"

_RATE = "events/s"
_CPU = "CPU s/s"
_PAGE = 1000
_LOOKS = 5
"""Times that a page is listed; the median counts, for one takes a few milliseconds."""


def question(setting: Setting) -> Question:
    letters = setting.pick(full=100_000, quick=20_000, tiny=3_000)
    parked = setting.directory / "parked.db"
    stored = setting.directory / "stored.db"
    count = setting.pick(full=300_000, quick=40_000, tiny=300)

    def prepare() -> None:
        filled(stored, count)
        park(parked, letters)

    return Question(
        title="durable consumers with automatic acks; 1,000 of them on one bus; 100,000 dead letters",
        contestants=(
            *_handling(setting, stored, count),
            *_thousand(setting),
            Contestant(
                {FIRST: "ms", MIDDLE: "ms", LAST: "ms", WHOLE: "s"}, lambda: asyncio.run(listed(parked, letters))
            ),
        ),
        targets=(
            Target("publish to handled: at least 0.5 of a subscription", CONSUMER, SUBSCRIPTION, at_least=0.5),
            Target("catching up: at least 0.5 of a subscription", CONSUMER_BEHIND, SUBSCRIPTION_BEHIND, at_least=0.5),
            Target("1,000 consumers cost an idle bus nothing: at most 1 ms of CPU a second", IDLE, at_most=0.001),
            Target("(an idle bus without any: for orientation)", IDLE_ALONE),
            Target("(what 1,000 consumers cost a commit: for orientation)", COMMIT, COMMIT_ALONE),
            Target("100,000 dead letters: the last page takes at most 1.5 times the first", LAST, FIRST, at_most=1.5),
            Target("and so does the middle one", MIDDLE, FIRST, at_most=1.5),
        ),
        prepare=prepare,
        notes=f"{count:,} events of 90 bytes, FULL, an async handler, every option at its default. A consumer stores "
        "that an event is begun before its handler has it, one commit for each of the first 32 in a row, then one for "
        "many; and that it is done with a later one. A subscription stores nothing.\n"
        "The 1,000 consumers have one handler; the commits awaited, one after the other, store an event that none of "
        "them wants. Idle: CPU time of the process while its loop sleeps.\n"
        f"{letters:,} dead letters with an error and a traceback each, in pages of {_PAGE:,}.",
    )


# ------------------------------------------------------------------------------------------ one consumer, and its rate


def _handling(setting: Setting, stored: Path, count: int) -> tuple[Contestant, ...]:
    def live(*, durable: bool) -> float:
        return asyncio.run(accepted_to_handled(setting.fresh("live"), count, durable=durable))

    return (
        single(CONSUMER, _RATE, lambda: live(durable=True)),
        single(SUBSCRIPTION, _RATE, lambda: live(durable=False), "limit"),
        single(CONSUMER_BEHIND, _RATE, lambda: asyncio.run(caught_up(stored, count, durable=True))),
        single(SUBSCRIPTION_BEHIND, _RATE, lambda: asyncio.run(caught_up(stored, count, durable=False)), "limit"),
    )


async def caught_up(log: Path, count: int, *, durable: bool) -> float:
    """Events a second of a handler that starts at the earliest event, until it has had them all."""
    handled = Handled(count)
    async with opened(log) as bus:
        start = perf_counter()
        if durable:
            consumer = bus.consume("benchmark", "*", handled.handle)
        else:
            bus.subscribe("*", handled.handle, start="earliest")
        await handled.all_handled.wait()
        seconds = perf_counter() - start
        if durable:  # its name is new again for the next round
            await consumer.close()
            await bus.delete_consumer("benchmark")
        return count / seconds


# ------------------------------------------------------------------------------------------------------- a thousand


def _thousand(setting: Setting) -> tuple[Contestant, ...]:
    many = setting.pick(full=1_000, quick=1_000, tiny=20)
    commits = setting.pick(full=1_000, quick=200, tiny=5)
    milliseconds = setting.pick(full=2_000, quick=500, tiny=20)

    def run(consumers: int) -> tuple[float, float, float]:
        return asyncio.run(opening_idle_and_busy(setting.fresh("many"), consumers, milliseconds / 1e3, commits))

    return (
        Contestant({OPENING: "s", IDLE: _CPU, COMMIT: "ms"}, lambda: run(many)),
        Contestant({IDLE_ALONE: _CPU, COMMIT_ALONE: "ms"}, lambda: run(0)[1:], "limit"),
    )


async def opening_idle_and_busy(path: Path, consumers: int, seconds: float, commits: int) -> tuple[float, float, float]:
    """Seconds to open so many consumers; CPU seconds a second, idle; milliseconds of an awaited commit."""
    async with opened(path) as bus:
        start = perf_counter()
        names = [f"consumer-{number}" for number in range(consumers)]
        handled = Handled(consumers)
        for name in names:
            bus.consume(name, PATTERN, handled.handle)
        first = await bus.publish(TYPE, next(payloads(1)))
        await asyncio.gather(*(bus.wait_processed(name, first.sequence) for name in names))
        opening = perf_counter() - start
        await bus.flush()

        before, start = time.process_time(), perf_counter()
        await asyncio.sleep(seconds)
        idle = (time.process_time() - before) / (perf_counter() - start)

        start = perf_counter()
        for payload in payloads(commits):
            await bus.publish("execution.block_executed", payload)
        return opening, idle, (perf_counter() - start) / commits * 1e3


# ------------------------------------------------------------------------------------------------------ dead letters


def park(path: Path, count: int) -> None:
    """Make a log of which every event is a dead letter; one that is there already is kept."""
    if not path.exists():
        filled(path, count)
        asyncio.run(_park(path))


async def _park(path: Path) -> None:
    failure = Failure(attempt=1, error="ValueError: no such stage", traceback="Traceback …\n" * 20, at=1)
    store = asyncbus.SQLiteStore(path, synchronous="normal")
    await store.open()
    try:
        after, head = 0, await store.latest_sequence()
        while after < head:
            page = await store.read(after, Pattern.parse("*"), _PAGE)
            await store.commit(
                (),
                [
                    ParkedEvent(consumer="benchmark", record=record, attempts=5, failures=(failure,) * 5, parked_at=1)
                    for record in page.records
                ],
            )
            after = page.up_to
    finally:
        await store.close()


async def listed(path: Path, count: int) -> Sequence[float]:
    """Milliseconds of the first, the middle and the last page; seconds of all, page by page."""
    async with opened(path) as bus:
        pages = [await _page_time(bus, after) for after in (0, count // 2, count - _PAGE)]
        seen = after = 0
        start = perf_counter()
        while page := await bus.dead_letters(limit=_PAGE, after=after):
            seen += len(page)
            after = page[-1].number
        whole = perf_counter() - start
    assert seen == count, f"listed {seen} of {count}"
    return *pages, whole


async def _page_time(bus: asyncbus.EventBus, after: int) -> float:
    taken = []
    for _ in range(_LOOKS):
        start = perf_counter()
        page = await bus.dead_letters(limit=_PAGE, after=after)
        taken.append((perf_counter() - start) * 1e3)
        assert len(page) == _PAGE, f"a page of {len(page)}"
    return median(taken)
