"""Part of the contract: opening again, one writer at a time, and read-only stores."""
# ruff: noqa: D102  # a test's name is its sentence

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from random import Random

from asyncbus.errors import StoreLockedError, StoreReadOnlyError
from asyncbus.events import Record
from asyncbus.store.base import EventStore
from asyncbus.testing.logs import ALL, Logs, everything
from asyncbus.testing.model import fill
from asyncbus.testing.records import MOMENT, raised, record, same, same_events, stored

_PATIENCE = 30.0
"""Seconds after which a change is held to be never noticed."""


class Lifetime(Logs):
    """What lasts, and who may write."""

    async def test_closing_twice_is_closing_once(self) -> None:
        store = self.make_store("log")
        await store.open()
        await store.append([record("a")])
        await store.close()
        await store.close()

    async def test_what_was_appended_survives_reopening(self) -> None:
        self.needs("durable")
        async with self.opened() as store:
            log = await fill(store, Random(40), 100)  # noqa: S311  # seeded, not secret
        store = self.make_store("log")
        bounds = await store.open()
        try:
            expected = (0, log[-1].sequence, log[-1].recorded_at)
            same((bounds.floor, bounds.head, bounds.recorded_at), expected, "Bounds of the reopened log")
            same(await store.latest_sequence(), log[-1].sequence, "latest_sequence() of the reopened log")
            same_events(await store.query(everything()), log, "the reopened log")
        finally:
            await store.close()

    async def test_a_store_can_be_opened_again_after_closing(self) -> None:
        self.needs("durable")
        store = self.make_store("log")
        kept = []
        for place in range(3):
            await store.open()
            try:
                batch = [record("a", place)]
                kept += await stored(store, batch)
                same_events((await store.read(0, ALL, 10)).records, kept, f"after opening it {place + 1} times")
            finally:
                await store.close()

    async def test_sequences_are_never_used_twice_however_often_it_is_cleared_and_reopened(self) -> None:
        self.needs("durable")
        used: list[int] = []
        for place in range(4):
            async with self.opened() as store:
                same(await store.latest_sequence(), max(used, default=0), "latest_sequence() of the reopened log")
                batch = [record("a", place), record("a", place)]
                await store.append(batch)
                used += [event.sequence for event in batch]
                if place % 2:
                    await store.clear()
        same(used, sorted(set(used)), "sequences, which ascend and are never used twice")

    async def test_the_floor_survives_reopening(self) -> None:
        self.needs("durable")
        async with self.opened() as store:
            await store.append([record("a", place) for place in range(3)])
            await store.clear()
            floor = await store.latest_sequence()
            batch = [record("a", "kept", recorded_at=MOMENT + 5)]
            kept = await stored(store, batch)
        store = self.make_store("log")
        bounds = await store.open()
        try:
            same((bounds.floor, bounds.head), (floor, kept[0].sequence), "floor and head of the reopened log")
            page = await store.read(0, ALL, 10)
            same(page.floor, floor, "the floor of a page of the reopened log")
            same_events(page.records, kept, "the reopened log")
            same((await store.append([record("a")])).floor, floor, "Appended.floor of the reopened log")
        finally:
            await store.close()

    async def test_a_second_writer_is_told_who_the_first_is(self) -> None:
        self.needs("exclusive")
        async with self.opened() as first:
            await first.append([record("a", 1)])
            for _ in range(2):
                error = await self.refused(StoreLockedError)
                same(error.pid, os.getpid(), "the process id of the holder")
            batch = [record("a", 2)]
            await first.append(batch)
            same(await first.latest_sequence(), batch[0].sequence, "latest_sequence() of the first, which goes on")
        async with self.opened() as second:
            same(len(await second.query(everything())), 2, "events that the next writer finds after the first closed")

    async def test_a_read_only_store_sees_what_is_there(self) -> None:
        async with self.opened() as writer:
            log = await fill(writer, Random(50), 50)  # noqa: S311  # seeded, not secret
            async with self.reading() as reader:
                same(await reader.latest_sequence(), log[-1].sequence, "latest_sequence() beside the writer")
                same_events(await reader.query(everything()), log, "a read-only store beside the writer")
        async with self.reading() as reader:
            same_events((await reader.read(0, ALL, 1000)).records, log, "a read-only store after the writer closed")

    async def test_a_read_only_store_refuses_to_write(self) -> None:
        async with self.opened() as writer:
            await writer.append([record("a")])
            async with self.reading() as reader:
                await raised(StoreReadOnlyError, reader.append([record("b")]))
                await raised(StoreReadOnlyError, reader.clear())
                same(len(await reader.query(everything())), 1, "events after both were refused")

    async def test_a_read_only_store_that_waits_is_told_of_what_is_appended(self) -> None:
        async with self.opened() as writer, self.reading() as reader:
            position = 0
            for place in range(5):
                batch = [record("a", [place, number]) for number in range(3)]
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_beyond(reader, position))
                    tasks.create_task(_append(writer, batch))
                page = await reader.read(position, ALL, 10)
                same_events(page.records, batch, "what the read-only store reads next")
                position = page.up_to

    async def test_a_read_only_store_reads_on_after_a_full_page(self) -> None:
        async with self.opened() as writer, self.reading() as reader:
            await writer.append([record("a") for _ in range(3)])
            page = await reader.read(0, ALL, 3)
            # Whatever it may have read ahead by then, there was nothing.
            same(await reader.latest_sequence(), page.up_to, "latest_sequence() after a page that held all")
            batch = [record("a", number) for number in range(2)]
            await writer.append(batch)
            same_events((await reader.read(page.up_to, ALL, 3)).records, batch, "what came after a full page")

    async def test_a_read_only_store_sees_clear(self) -> None:
        async with self.opened() as writer, self.reading() as reader:
            await writer.append([record("a"), record("a")])
            same(len((await reader.read(0, ALL, 10)).records), 2, "events of the page before clear()")
            await writer.clear()
            head = await writer.latest_sequence()
            page = await reader.read(0, ALL, 10)
            same((list(page.records), page.floor), ([], head), "the page of a read-only store after clear()")


async def _append(writer: EventStore, batch: Sequence[Record]) -> None:
    await writer.append(batch)


async def _beyond(reader: EventStore, position: int) -> None:
    """Wait, as a read-only bus does, until the head is above a position."""
    async with asyncio.timeout(_PATIENCE):
        while await reader.latest_sequence() <= position:
            await reader.changed()
