"""Part of the contract: pages of the log, which leave nothing out."""
# ruff: noqa: D102  # a test's name is its sentence

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle
from random import Random

from msgspec import Struct

from asyncbus.events import Record
from asyncbus.patterns import Pattern
from asyncbus.store.base import EventStore, Page
from asyncbus.testing.logs import ALL, Logs, everything
from asyncbus.testing.model import PATTERNS, fill, matching, random_batch
from asyncbus.testing.records import MOMENT, holds, record, same, same_events, stored

_CANCELLED_READS = 30


class Reading(Logs):
    """`read`, alone and beside an append."""

    async def test_pages_of_every_pattern_give_each_matching_event_once_in_order(self) -> None:
        for seed in range(2):
            random = Random(seed)  # noqa: S311  # seeded, not secret
            async with self.opened(f"log-{seed}") as store:
                log = await fill(store, random, 150)
                for terms in PATTERNS:
                    for limit in (random.choice((1, 2, 3)), 7, 1000):
                        after = random.choice((0, 0, random.randrange(log[-1].sequence)))
                        found = await _Walk(store, log, terms).above(after, limit)
                        expected = [event for event in matching(log, terms) if event.sequence > after]
                        same_events(found, expected, f"seed {seed}, {terms}, pages of {limit} above {after}")

    async def test_a_reader_may_change_its_limit_and_readers_do_not_disturb_each_other(self) -> None:
        random = Random(7)  # noqa: S311  # seeded, not secret
        async with self.opened() as store:
            log = await fill(store, random, 300)

            async def walk(terms: Sequence[str], limits: Sequence[int]) -> None:
                found = await _Walk(store, log, terms).above(0, *limits)
                same_events(found, matching(log, terms), f"{terms}, read beside other readers")

            async with asyncio.TaskGroup() as readers:
                for terms in random.choices((("*",), ("a*",), ("many.*",), ("a.b",)), k=8):
                    readers.create_task(walk(terms, random.choices((1, 2, 5, 30, 100), k=10)))

    async def test_a_page_above_the_head_is_empty(self) -> None:
        async with self.opened() as store:
            await store.append([record("a"), record("b")])
            head = await store.latest_sequence()
            for terms in PATTERNS:
                for after in (head, head + 1, head + 1000):
                    page = await store.read(after, Pattern.parse(terms), 10)
                    same(list(page.records), [], f"a page above {after} of a log up to {head}")
                    holds(page.up_to >= after, f"expected up_to of at least {after}, found {page.up_to}")

    async def test_a_read_for_what_is_not_there_reaches_the_head(self) -> None:
        async with self.opened() as store:
            log = await fill(store, Random(1), 200)  # noqa: S311  # seeded, not secret
            found = await _Walk(store, log, ("nothing.*",)).above(0, 10)
            same(found, [], "events of a pattern that has none")

    async def test_a_rare_event_is_found_among_many_others(self) -> None:
        async with self.opened() as store:
            rare: list[Record] = []
            log: list[Record] = []
            for place in range(8):
                batch = [record(f"common.{number % 50}", number) for number in range(1500)]
                batch.insert(place * 150, record("rare.event", place))
                log += await stored(store, batch)
                rare.append(log[-len(batch) + place * 150])
            for terms in (("rare.event",), ("rare.*",), ("r*",), ("rare.*", "nothing")):
                for limit in (1, 5, 1000):
                    found = await _Walk(store, log, terms).above(0, limit)
                    same_events(found, rare, f"rare events by {terms}, pages of {limit}")

    async def test_what_is_appended_later_is_on_the_next_page(self) -> None:
        async with self.opened() as store:
            after = 0
            for place in range(10):
                for pattern in (ALL, Pattern.parse("a.*")):
                    page = await store.read(after, pattern, 3)
                    same(list(page.records), [], "the page at the head")
                batch = [record("a.b", [place, number]) for number in range(3)]
                await store.append(batch)
                for pattern in (Pattern.parse("a.*"), ALL):
                    page = await store.read(after, pattern, 3)
                    same_events(page.records, batch, "the page of what was just appended")
                after = page.up_to

    async def test_a_page_read_before_clear_is_not_given_after_it(self) -> None:
        async with self.opened() as store:
            await store.append([record("a", place) for place in range(20)])
            page = await store.read(0, ALL, 5)
            await store.clear()
            head = await store.latest_sequence()
            page = await store.read(page.up_to, ALL, 5)
            same((list(page.records), page.floor), ([], head), "the page after clear()")

    async def test_pages_read_during_appends_leave_nothing_out(self) -> None:
        patterns = (("*",), ("many.*",), ("a.*", "new.*"), ("new.*",))
        async with self.opened() as store:
            log: list[Record] = []
            seen: list[tuple[Sequence[str], int, Page]] = []
            ended = asyncio.Event()

            async def append() -> None:
                random = Random(3)  # noqa: S311  # seeded, not secret
                for place in range(25):
                    # A type never seen before stands below a known one: who knows only the known one leaves it out.
                    batch = [record(f"new.{place}", place), *random_batch(random, MOMENT + place), record("new.0")]
                    for event in batch:
                        event.recorded_at = MOMENT + place
                    log.extend(await stored(store, batch))
                    await asyncio.sleep(0)
                ended.set()

            async def follow(terms: Sequence[str]) -> None:
                after = 0
                while not (ended.is_set() and after >= log[-1].sequence):
                    page = await store.read(after, Pattern.parse(terms), 20)
                    seen.append((terms, after, page))
                    after = page.up_to
                    await asyncio.sleep(0)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(append())
                for pattern in patterns:
                    tasks.create_task(follow(pattern))
            for terms, after, page in seen:
                _Walk(store, log, terms).check(page, after, 20)

    async def test_a_cancelled_read_or_query_leaves_the_store_usable(self) -> None:
        async with self.opened() as store:
            log = await fill(store, Random(5), 200)  # noqa: S311  # seeded, not secret
            for turns in range(_CANCELLED_READS):
                reads = [
                    asyncio.ensure_future(store.read(0, ALL, 10)),
                    asyncio.ensure_future(store.read(0, Pattern.parse("many.*"), 10)),
                    asyncio.ensure_future(store.query(everything())),
                ]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for read in reads:
                    read.cancel()
                for read in reads:
                    with suppress(asyncio.CancelledError):
                        await read
            found: list[Record] = []
            while len(found) < len(log):
                found += (await store.read(len(found), ALL, 1000)).records
            same_events(found, log, "read after cancelled reads")
            batch = [record("a", "after cancelled reads")]
            log += await stored(store, batch)
            same_events(await store.query(everything()), log, "query after cancelled reads")


class _Walk(Struct, frozen=True):
    """Reads a log by a pattern, given in its terms, and compares every page with the log as a plain list."""

    store: EventStore
    log: Sequence[Record]
    terms: Sequence[str]

    async def above(self, after: int, *limits: int) -> list[Record]:
        """Read page after page up to the head of the list; the limits take turns."""
        found: list[Record] = []
        for limit in cycle(limits):
            if after >= self.log[-1].sequence:
                break
            page = await self.store.read(after, Pattern.parse(self.terms), limit)
            self.check(page, after, limit)
            holds(page.up_to > after, f"{self.terms}: expected the page above {after} to get further than that")
            found += page.records
            after = page.up_to
        return found

    def check(self, page: Page, after: int, limit: int) -> None:
        """Assert that a page holds what lies between `after` and its `up_to`, and no more than `limit`."""
        what = f"the page of {self.terms} above {after}"
        holds(len(page.records) <= limit, f"{what}: expected at most {limit} records, found {len(page.records)}")
        between = [event for event in matching(self.log, self.terms) if after < event.sequence <= page.up_to]
        same_events(page.records, between, f"{what}, which goes up to {page.up_to}")
