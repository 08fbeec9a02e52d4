"""Part of the contract: queries, whose filters combine."""
# ruff: noqa: D102  # a test's name is its sentence

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any, Final
from unittest import SkipTest

from asyncbus.conditions import conditions
from asyncbus.events import Record
from asyncbus.filters import EventFilter
from asyncbus.patterns import Pattern
from asyncbus.store.base import CountedStore, TypeCount
from asyncbus.testing.logs import Logs, everything
from asyncbus.testing.model import KEYS, PATTERNS, answer, fill, matching, random_question
from asyncbus.testing.records import MOMENT, holds, record, same, same_events, stored

_QUESTIONS = 150

_SAYING: Final[tuple[tuple[Any, dict[str, Any] | None], ...]] = (
    ({"va": 4096, "kind": "read", "ok": True, "of": [1, {"n": 2.5}]}, {"user": "eve"}),
    ({"va": 4097.5, "kind": "r\u00e9ad", "ok": False, "of": []}, {"user": "Eve"}),
    ({"va": "4098", "kind": None, "ok": 1, "odd name": "it's"}, None),
    ({"va": 2**63, "kind": 'with "quotes"\n'}, {"user": {"name": "eve"}}),
    ({"va": -1, "kind": ""}, {}),
    (7, None),
    ("7", {"user": None}),
    (None, None),
    (b'{"va": 4096}', {"user": "eve"}),
    ([3, 4], None),
)
"""Data and metadata of ten events, in order."""

_CONDITIONS: Final = {
    "data.va > 4096": (1, 3),
    "data.va >= 4096": (0, 1, 3),
    "data.va < 4096": (4,),
    "data.va <= 4096.0": (0, 4),
    "data.va == 4096": (0,),
    "data.va != 4096": (1, 2, 3, 4),
    "data.va = 9223372036854775808": (3,),
    "data.va = '4098'": (2,),
    "data.kind = 'read'": (0,),
    "data.kind > 'read'": (1, 3),
    "data.kind = 'r\u00e9ad'": (1,),
    'data.kind = "r\\u00e9ad"': (1,),
    'data.kind = "with \\"quotes\\"\\n"': (3,),
    "data.kind = ''": (4,),
    "data.kind = null": (2,),
    "data.kind != null": (0, 1, 3, 4),
    "data.ok = true": (0,),
    "data.ok != true": (1, 2),
    "data.ok = 1": (2,),
    "data.of[1].n = 2.5": (0,),
    "data.of[0] = 1": (0,),
    "data.of != 1": (0, 1),
    "data.of[7] != 1": (),
    "data['va'] = 1".replace("'", '"'): (),
    'data["odd name"] = "it\'s"': (2,),
    "data = 7": (5,),
    "data = '7'": (6,),
    "data = null": (7,),
    "data != 7": (0, 1, 2, 3, 4, 6, 7, 9),
    "data[1] = 4": (9,),
    "metadata.user = 'eve'": (0, 8),
    "metadata.user.name = 'eve'": (3,),
    "metadata.user != 'eve'": (1, 3, 6),
    "metadata != null": (0, 1, 3, 4, 6, 8),
    "data.nothing != 1": (),
    "data.va >= 4096 and metadata.user = 'eve' AND data.ok = true": (0,),
    "data.va > 5000 and data.va < 4000": (),
}
"""Conditions, and the places of the events for which they hold."""


class Querying(Logs):
    """`query` against a plain list."""

    async def test_every_pattern_is_answered_in_both_directions(self) -> None:
        async with self.opened() as store:
            log = await fill(store, Random(10), 300)  # noqa: S311  # seeded, not secret
            for terms in PATTERNS:
                expected = matching(log, terms)
                pattern = Pattern.parse(terms)
                same_events(await store.query(everything(pattern=pattern)), expected, f"pattern {terms}")
                found = await store.query(everything(pattern=pattern, newest_first=True))
                same_events(found, expected[::-1], f"pattern {terms}, newest first")

    async def test_filters_combine_as_in_a_plain_list(self) -> None:
        for seed in range(2):
            random = Random(seed)  # noqa: S311  # seeded, not secret
            async with self.opened(f"log-{seed}") as store:
                log = await fill(store, random, 300)
                for number in range(_QUESTIONS):
                    terms, wanted = random_question(random, log)
                    what = f"seed {seed}, question {number}: {wanted}"
                    same_events(await store.query(wanted), answer(log, terms, wanted), what)

    async def test_filters_combine_in_a_log_that_was_cleared_before(self) -> None:
        random = Random(20)  # noqa: S311  # seeded, not secret
        async with self.opened() as store:
            await fill(store, random, 50)
            await store.clear()
            log = await fill(store, random, 100)
            for number in range(_QUESTIONS // 2):
                terms, wanted = random_question(random, log)
                same_events(await store.query(wanted), answer(log, terms, wanted), f"question {number}: {wanted}")

    async def test_conditions_hold_for_what_the_data_and_metadata_say(self) -> None:
        async with self.opened() as store:
            log = await stored(store, [record("a", data, metadata=metadata) for data, metadata in _SAYING])
            for where, places in _CONDITIONS.items():
                expected = [log[place] for place in places]
                wanted = everything(conditions=conditions(where))
                same_events(await store.query(wanted), expected, where)
                newest = everything(conditions=conditions(where), newest_first=True, pattern=Pattern.parse("a"))
                same_events(await store.query(newest), expected[::-1], f"{where}, newest first, by type")
                limited = EventFilter(conditions=conditions(where), limit=1)
                same_events(await store.query(limited), expected[:1], f"{where}, limit 1")

    async def test_the_events_of_each_type_are_counted_by_name(self) -> None:
        async with self.opened() as store:
            if not store.features.counted:
                raise SkipTest("this store does not declare features.counted")
            assert isinstance(store, CountedStore), "it declares features.counted, but lacks its method"  # noqa: S101
            same(await store.count_types(), [], "of an empty log")
            await fill(store, Random(50), 200)  # noqa: S311  # seeded, not secret
            await store.clear()
            same(await store.count_types(), [], "of a log that was cleared")
            log = await fill(store, Random(51), 400)  # noqa: S311  # seeded, not secret
            expected = []
            for type in sorted({record.type for record in log}):
                own = [record for record in log if record.type == type]
                first, last = own[0], own[-1]
                recorded = first.recorded_at, last.recorded_at
                expected.append(TypeCount(type, len(own), first.sequence, last.sequence, *recorded))
            same(list(await store.count_types()), expected, "of all types")

    async def test_ranges_take_their_beginning_and_leave_out_their_end(self) -> None:
        async with self.opened() as store:
            log: list[Record] = []
            for moment in (10, 10, 20, 30):  # two batches are recorded at the same moment
                batch = [
                    record("a", [moment, place], time=MOMENT + moment, recorded_at=MOMENT + moment) for place in (0, 1)
                ]
                log += await stored(store, batch)
            for low in (None, 9, 10, 11, 20, 30, 31):
                for high in (None, 9, 10, 11, 20, 30, 31):
                    bounds = [None if moment is None else MOMENT + moment for moment in (low, high)]
                    for names in (("start_recorded", "stop_recorded"), ("since", "until")):
                        wanted = everything(**dict(zip(names, bounds, strict=True)))
                        same_events(await store.query(wanted), answer(log, ("*",), wanted), f"{wanted}")

    async def test_limit_keeps_the_first_ones_and_newest_first_the_last_ones(self) -> None:
        async with self.opened() as store:
            log = await fill(store, Random(30), 40)  # noqa: S311  # seeded, not secret
            for limit in (1, 2, len(log) - 1, len(log), len(log) + 1):
                same_events(await store.query(EventFilter(limit=limit)), log[:limit], f"limit {limit}")
                found = await store.query(EventFilter(limit=limit, newest_first=True))
                same_events(found, log[::-1][:limit], f"limit {limit}, newest first")

    async def test_no_limit_lifts_the_limit(self) -> None:
        async with self.opened() as store:
            log: list[Record] = []
            for _ in range(3):
                batch = [record(f"a.{place % 3}", place, key=KEYS[place % 6]) for place in range(3000)]
                log += await stored(store, batch)
            for terms, key in ((("*",), None), (("a.1",), None), (("a.*",), "k"), (("*",), "vm-1")):
                for newest_first in (False, True):
                    wanted = everything(pattern=Pattern.parse(terms), key=key, newest_first=newest_first)
                    same_events(await store.query(wanted), answer(log, terms, wanted), f"{wanted}")
            same_events(await store.query(EventFilter(limit=5000)), log[:5000], "a limit of 5000 events")

    async def test_a_key_is_matched_exactly(self) -> None:
        keys = ["k", "K", "k ", "kk", "k%", "k_", "*", "'", "1", "01", "Größe", "gro\u0308ße", "漢字", "🐍"]
        async with self.opened() as store:
            batch = [record("a", key, key=key) for key in keys]
            await store.append([record("a", "no key"), *batch])
            for event in batch:
                same_events(await store.query(everything(key=event.key)), [event], f"key {event.key!r}")
            same(list(await store.query(everything(key="x"))), [], "a key that nobody has")

    async def test_a_query_during_appends_shows_no_event_without_those_before_it(self) -> None:
        questions = (("*",), ("a.*",), ("many.*", "a.*"), ("a.known",))
        async with self.opened() as store:
            log: list[Record] = []
            seen: list[tuple[Sequence[str], int, list[Record]]] = []
            ended = asyncio.Event()

            async def append() -> None:
                for place in range(40):
                    # A type never seen before stands below a known one: who knows only the known one leaves it out.
                    batch = [record(f"a.new-{place}", place), record(f"many.{place}"), record("a.known", place)]
                    log.extend(await stored(store, batch))
                    await asyncio.sleep(0)
                ended.set()

            async def ask(terms: Sequence[str]) -> None:
                while not ended.is_set():
                    before = len(log)
                    seen.append((terms, before, list(await store.query(everything(pattern=Pattern.parse(terms))))))
                    await asyncio.sleep(0)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(append())
                for question in questions:
                    tasks.create_task(ask(question))
            for terms, before, found in seen:
                last = found[-1].sequence if found else 0
                expected = [event for event in matching(log, terms) if event.sequence <= last]
                same_events(found, expected, f"a query for {terms} during appends, up to event {last}")
                least = len(matching(log[:before], terms))
                holds(len(found) >= least, f"expected the {least} events that were there when it was asked")
