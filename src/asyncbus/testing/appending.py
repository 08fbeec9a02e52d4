"""Part of the contract: what is appended gets its place in the one order, whole or not at all, and stays as it was."""
# ruff: noqa: D102  # a test's name is its sentence

from __future__ import annotations

from typing import Any, Final

from asyncbus.store.base import Bounds
from asyncbus.testing.logs import ALL, Logs, everything
from asyncbus.testing.records import MOMENT, holds, record, same, same_events, stored

PAYLOADS: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -(2**63),
    2**64 - 1,
    -0.5,
    1e300,
    "",
    "text",
    [],
    {},
    {"a": [1, {"b": None}], "": "empty key"},
    "quote ' double \" backslash \\ percent % question ? colon :a",
    "line\nfeed, tab\t, NUL \0, DEL \x7f, line separator \u2028",
    "Größe, 漢字, العربية, e\u0301, 🐍, 👩\u200d🚀",
    '["00"]',
    [["00"]],
    b"",
    b"bytes",
    b'{"looks": "like JSON"}',
    bytes(range(256)),
    b"\xff\xfe invalid \xc3\x28 UTF-8",
)


class Appending(Logs):
    """Sequences, batches and payloads."""

    async def test_a_new_log_is_empty(self) -> None:
        store = self.make_store("log")
        bounds = await store.open()
        try:
            same(bounds, Bounds(0, 0, 0), "what a new log holds")
            same(await store.latest_sequence(), 0, "latest_sequence() of a new log")
            page = await store.read(0, ALL, 10)
            same((list(page.records), page.up_to, page.floor), ([], 0, 0), "the first page of a new log")
        finally:
            await store.close()

    async def test_sequences_ascend_from_1_in_the_order_of_appending(self) -> None:
        async with self.opened() as store:
            sequences = []
            for size in (1, 3, 2, 64, 65, 1):
                batch = [record("a", place) for place in range(size)]
                appended = await store.append(batch)
                same(appended.first, batch[0].sequence, "Appended.first, and the sequence set on the first record")
                same(dict(appended.duplicates), {}, "duplicates of records without an id")
                same(await store.latest_sequence(), batch[-1].sequence, "latest_sequence() after an append")
                sequences += [event.sequence for event in batch]
            holds(sequences[0] >= 1, f"expected sequences from 1 on, found {sequences[0]}")
            same(sequences, sorted(set(sequences)), "sequences, which ascend and are never used twice")

    async def test_sequences_have_no_holes(self) -> None:
        self.needs("dense")
        async with self.opened() as store:
            expected = 1
            for size in (1, 7, 100, 1):
                batch = [record("a") for _ in range(size)]
                await store.append(batch)
                same([r.sequence for r in batch], list(range(expected, expected + size)), "dense sequences")
                expected += size

    async def test_events_come_back_as_they_were_appended(self) -> None:
        batch = [record("a.b-c_D.0", data, time=MOMENT + place) for place, data in enumerate(PAYLOADS)]
        async with self.opened() as store:
            kept = await stored(store, batch)
            page = await store.read(0, ALL, 2 * len(kept))
            same_events(page.records, kept, "read")
            same_events(await store.query(everything()), kept, "query")

    async def test_id_key_and_metadata_come_back_as_they_were_appended(self) -> None:
        awkward = 'it\'s "quoted"; DROP TABLE events; -- 漢字 🐍 \\u0000 %_*?[a]'
        batch = [
            record("a", 1, id=awkward),
            record("a", 2, key=awkward),
            record("a", 3, metadata={awkward: [awkward, None, 1.5]}),
            record("a", b"\0", id="id", key="key", metadata={}),
            record("a", 5),
        ]
        async with self.opened() as store:
            kept = await stored(store, batch)
            same_events((await store.read(0, ALL, 10)).records, kept, "read")
            same_events(await store.query(everything(key=awkward)), [kept[1]], "query by that key")

    async def test_times_before_1970_and_far_ahead_come_back(self) -> None:
        batch = [record("a", time=time) for time in (-62_135_596_800_000_000, -1, 0, 1, 253_402_300_799_999_999)]
        async with self.opened() as store:
            kept = await stored(store, batch)
            same_events((await store.read(0, ALL, 10)).records, kept, "read")

    async def test_a_batch_larger_than_batch_limit_is_stored_whole_and_in_order(self) -> None:
        async with self.opened() as store:
            size = store.features.batch_limit + 1
            await store.append([record("a", "before")])
            batch = [
                record(f"a.{place % 7}", place, id=f"id-{place}" if place % 5 == 0 else None) for place in range(size)
            ]
            kept = await stored(store, batch)
            after = [record("a", "after")]
            await store.append(after)
            holds(after[0].sequence > kept[-1].sequence, "expected the next event above the large batch")
            found = await store.query(everything(start_sequence=kept[0].sequence, stop_sequence=after[0].sequence))
            same_events(found, kept, "the large batch")

    async def test_batches_of_all_sizes_are_stored_whole(self) -> None:
        async with self.opened() as store:
            kept = []
            for size in [*range(1, 18), 31, 33, 100, 127, 129]:
                batch = [record("a", [size, place], key="k" if size % 2 else None) for place in range(size)]
                kept += await stored(store, batch)
            same_events(await store.query(everything()), kept, "batches of all sizes")

    async def test_clear_removes_all_events_and_moves_the_floor_to_the_head(self) -> None:
        async with self.opened() as store:
            batch = [record("a", place, id=f"id-{place}", key="k") for place in range(5)]
            await store.append(batch)
            head = batch[-1].sequence
            await store.clear()
            page = await store.read(0, ALL, 10)
            same((list(page.records), page.up_to, page.floor), ([], head, head), "the page after clear()")
            same(list(await store.query(everything())), [], "query after clear()")
            same(list(await store.query(everything(key="k"))), [], "query by key after clear()")
            same(await store.latest_sequence(), head, "latest_sequence(), which clear() does not change")

    async def test_sequences_go_on_after_clear(self) -> None:
        async with self.opened() as store:
            before = [record("a"), record("a")]
            await store.append(before)
            head = before[-1].sequence
            await store.clear()
            batch = [record("b"), record("b")]
            appended = await store.append(batch)
            holds(batch[0].sequence > head, f"expected a sequence above {head}, found {batch[0].sequence}")
            same(appended.floor, head, "Appended.floor after clear()")
            page = await store.read(head, ALL, 10)
            same_events(page.records, batch, "what was appended after clear()")
            same(page.floor, head, "the floor of a page after clear()")

    async def test_clear_may_be_called_again_and_on_an_empty_log(self) -> None:
        async with self.opened() as store:
            await store.clear()
            same(await store.latest_sequence(), 0, "latest_sequence() of a new log after clear()")
            await store.append([record("a")])
            await store.clear()
            await store.clear()
            head = await store.latest_sequence()
            same((await store.read(0, ALL, 10)).floor, head, "the floor after clear() twice")
            batch = [record("b")]
            await store.append(batch)
            await store.clear()
            same((await store.read(0, ALL, 10)).floor, batch[0].sequence, "the floor after the last clear()")

    async def test_two_logs_know_nothing_of_each_other(self) -> None:
        async with self.opened("one") as one, self.opened("other") as other:
            kept = await stored(one, [record("a", id="x"), record("a")])
            same(await other.latest_sequence(), 0, "latest_sequence() of the other log")
            appended = await other.append([record("b", id="x")])
            same(dict(appended.duplicates), {}, "duplicates of an id that only the other log has")
            same_events(await one.query(everything()), kept, "the one log")
