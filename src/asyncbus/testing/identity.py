"""Part of the contract: an id makes appending again safe, and never hides other content."""
# ruff: noqa: D102  # a test's name is its sentence

from __future__ import annotations

from collections.abc import Sequence

from asyncbus.errors import EventIdConflictError
from asyncbus.events import Record
from asyncbus.store.base import EventStore
from asyncbus.testing.logs import Logs, everything
from asyncbus.testing.records import MOMENT, raised, record, same, same_events, stored


class Identity(Logs):
    """Ids, duplicates and conflicts."""

    async def test_an_id_repeated_in_one_batch_is_stored_once(self) -> None:
        async with self.opened() as store:
            batch = [
                record("a", 1, id="x"),
                record("b", 2),
                record("a", 1, id="x"),
                record("c", 3),
                record("a", 1, id="x"),
            ]
            appended = await store.append(batch)
            first = batch[0].sequence
            same(dict(appended.duplicates), {2: first, 4: first}, "duplicates: index → sequence of the first")
            same_events(await store.query(everything()), [batch[0], batch[1], batch[3]], "what is stored")

    async def test_an_id_of_an_earlier_batch_is_a_duplicate(self) -> None:
        async with self.opened() as store:
            batch = [record("a", place, id=f"id-{place}") for place in range(3)]
            kept = await stored(store, batch)
            more = [record("n", "new"), record("a", 2, id="id-2"), record("a", 0, id="id-0"), record("n", "new")]
            appended = await store.append(more)
            expected = {1: kept[2].sequence, 2: kept[0].sequence}
            same(dict(appended.duplicates), expected, "duplicates: index → sequence of the first")
            same(appended.first, more[0].sequence, "Appended.first, the first that was stored")
            same_events(await store.query(everything()), [*kept, more[0], more[3]], "what is stored")

    async def test_a_batch_of_duplicates_stores_nothing(self) -> None:
        async with self.opened() as store:
            batch = [record("a", 1, id="x"), record("a", 2, id="y")]
            kept = await stored(store, batch)
            appended = await store.append([record("a", 2, id="y"), record("a", 1, id="x")])
            same(dict(appended.duplicates), {0: kept[1].sequence, 1: kept[0].sequence}, "duplicates")
            same_events(await store.query(everything()), kept, "what is stored")
            same(await store.latest_sequence(), kept[-1].sequence, "latest_sequence()")

    async def test_the_very_same_record_appended_again_is_a_duplicate(self) -> None:
        async with self.opened() as store:
            one = record("a", 1, id="x")
            kept = await stored(store, [one])
            appended = await store.append([one])
            same(dict(appended.duplicates), {0: kept[0].sequence}, "duplicates of the same object")
            same_events(await store.query(everything()), kept, "what is stored")

    async def test_a_second_attempt_may_have_another_time(self) -> None:
        async with self.opened() as store:
            batch = [record("a", {"n": 1}, id="x", key="k", metadata={"m": 1})]
            kept = await stored(store, batch)
            later = MOMENT + 1_000_000
            again = record("a", {"n": 1}, id="x", key="k", metadata={"m": 1}, time=later, recorded_at=later)
            appended = await store.append([again])
            same(dict(appended.duplicates), {0: kept[0].sequence}, "duplicates")
            same_events(await store.query(everything()), kept, "the first attempt, which stays")

    async def test_other_content_under_an_id_is_a_conflict_and_stores_nothing(self) -> None:
        async with self.opened() as store:
            first = record("a", "1", id="x", key="k", metadata={"m": 1})
            kept = await stored(store, [first])
            others = {
                "type": record("b", "1", id="x", key="k", metadata={"m": 1}),
                "data": record("a", "2", id="x", key="k", metadata={"m": 1}),
                "data, bytes instead of text": record("a", b'"1"', id="x", key="k", metadata={"m": 1}),
                "key": record("a", "1", id="x", key="l", metadata={"m": 1}),
                "key, which is absent": record("a", "1", id="x", metadata={"m": 1}),
                "metadata": record("a", "1", id="x", key="k", metadata={"m": 2}),
                "metadata, which is absent": record("a", "1", id="x", key="k"),
            }
            for what, other in others.items():
                await self._conflicts(store, [record("n"), other, record("n")], {1: ("x", kept[0].sequence)}, what)
            same_events(await store.query(everything()), kept, "what is stored")

    async def test_values_that_python_holds_to_be_equal_are_different_content(self) -> None:
        async with self.opened() as store:
            kept = await stored(store, [record("a", {"n": [1]}, id="x", metadata={"m": 1})])
            others = {
                "data, true": record("a", {"n": [True]}, id="x", metadata={"m": 1}),
                "data, 1.0": record("a", {"n": [1.0]}, id="x", metadata={"m": 1}),
                "metadata, true": record("a", {"n": [1]}, id="x", metadata={"m": True}),
            }
            for what, other in others.items():
                await self._conflicts(store, [other], {0: ("x", kept[0].sequence)}, what)

    async def test_the_order_of_keys_is_no_content(self) -> None:
        async with self.opened() as store:
            first = record("a", {"n": 1, "m": {"o": 2, "p": 3}}, id="x", metadata={"q": 4, "r": 5})
            kept = await stored(store, [first])
            again = record("a", {"m": {"p": 3, "o": 2}, "n": 1}, id="x", metadata={"r": 5, "q": 4})
            appended = await store.append([again])
            same(dict(appended.duplicates), {0: kept[0].sequence}, "duplicates")

    async def test_a_conflict_names_every_index_that_conflicts(self) -> None:
        async with self.opened() as store:
            await store.append([record("a", place, id=f"id-{place}") for place in range(3)])
            sequence_of = {event.id: event.sequence for event in await store.query(everything())}
            batch = [
                record("a", "other", id="id-0"),
                record("n"),
                record("a", 1, id="id-1"),  # a duplicate, which is no conflict
                record("a", "other", id="id-2"),
                record("a", "one", id="new"),
                record("a", "another", id="new"),
                record("a", "one", id="new"),
                record("a", "a third", id="new"),
                record("a", "yet another", id="id-0"),
            ]
            expected = {
                0: ("id-0", sequence_of["id-0"]),
                3: ("id-2", sequence_of["id-2"]),
                5: ("new", 0),
                7: ("new", 0),
                8: ("id-0", sequence_of["id-0"]),
            }
            await self._conflicts(store, batch, expected, "all of them")

    async def test_after_a_conflict_the_next_batch_gets_the_sequences(self) -> None:
        async with self.opened() as store:
            await store.append([record("a", 1, id="x")])
            head = await store.latest_sequence()
            await raised(EventIdConflictError, store.append([record("b"), record("a", 2, id="x")]))
            same(await store.latest_sequence(), head, "latest_sequence() after a conflict")
            batch = [record("b", "next", id="y")]
            await store.append(batch)
            if store.features.dense:
                same(batch[0].sequence, head + 1, "the sequence after a conflict, which uses none")
            found = await store.query(everything(start_sequence=head + 1))
            same_events(found, batch, "what is stored after the conflict")

    async def test_a_conflict_in_a_batch_larger_than_batch_limit_stores_nothing(self) -> None:
        async with self.opened() as store:
            await store.append([record("a", "first", id="x")])
            head = await store.latest_sequence()
            batch = [record("b", place) for place in range(store.features.batch_limit)]
            await self._conflicts(store, [*batch, record("a", "second", id="x")], {len(batch): ("x", head)}, "the last")

    async def test_duplicates_in_a_batch_larger_than_batch_limit_are_found(self) -> None:
        async with self.opened() as store:
            size = store.features.batch_limit + 2
            batch = [record("a", place, id=f"id-{place}") for place in range(size)]
            kept = await stored(store, batch)
            new = record("a", "new", id="new")
            again = [new, *(record("a", place, id=f"id-{place}") for place in range(size))]
            appended = await store.append(again)
            expected = {place + 1: event.sequence for place, event in enumerate(kept)}
            same(dict(appended.duplicates), expected, "duplicates of a whole large batch")
            same(await store.latest_sequence(), new.sequence, "latest_sequence(), the one new event")

    async def test_ids_that_look_alike_are_different(self) -> None:
        ids = ["a", "A", "a ", " a", "\u00e9", "e\u0301", "1", "01", "1.0", "null", "'", '"', "%", "_", "*", "\u212b"]
        async with self.opened() as store:
            await store.append([record("a", id, id=id) for id in ids])
            appended = await store.append([record("a", id, id=id) for id in ids])
            sequences = [event.sequence for event in await store.query(everything())]
            same(dict(appended.duplicates), dict(enumerate(sequences)), "duplicates, each of the event that has its id")

    async def test_an_id_is_free_again_after_clear(self) -> None:
        async with self.opened() as store:
            await store.append([record("a", 1, id="x")])
            await store.clear()
            batch = [record("a", "other content", id="x")]
            appended = await store.append(batch)
            same(dict(appended.duplicates), {}, "duplicates of an id whose event was cleared")
            same_events(await store.query(everything()), batch, "what is stored")

    async def test_ids_are_remembered_after_reopening(self) -> None:
        self.needs("durable")
        async with self.opened() as store:
            batch = [record("a", 1, id="x"), record("a", b"\0", id="y", key="k", metadata={"m": [1]})]
            kept = await stored(store, batch)
        async with self.opened() as store:
            again = [record("a", b"\0", id="y", key="k", metadata={"m": [1]}), record("a", 1, id="x")]
            appended = await store.append(again)
            same(dict(appended.duplicates), {0: kept[1].sequence, 1: kept[0].sequence}, "duplicates")
            await self._conflicts(store, [record("a", 2, id="x")], {0: ("x", kept[0].sequence)}, "after reopening")
            same_events(await store.query(everything()), kept, "what is stored")

    async def _conflicts(
        self, store: EventStore, batch: Sequence[Record], expected: dict[int, tuple[str, int]], what: str
    ) -> None:
        before = await store.query(everything())
        error = await raised(EventIdConflictError, store.append(batch))
        same(dict(error.conflicts), expected, f"conflicts ({what}): index → id and sequence of the first")
        same_events(await store.query(everything()), before, f"what is stored, unchanged ({what})")
