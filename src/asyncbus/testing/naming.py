"""Part of the contract: what led to an event, which version it is in, and which is the last one of a key."""
# ruff: noqa: D102  # a test's name is its sentence

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest import SkipTest

from asyncbus.errors import EventIdConflictError
from asyncbus.patterns import Pattern
from asyncbus.store.base import EventStore, KeyedStore
from asyncbus.testing.kept import AWKWARD
from asyncbus.testing.logs import ALL, Logs, everything
from asyncbus.testing.records import holds, raised, record, same, same_events, stored


class Naming(Logs):
    """Causes, versions, keys and ids."""

    @asynccontextmanager
    async def causing(self) -> AsyncIterator[EventStore]:
        """An open store that keeps causes; skips the test where it does not."""
        async with self.opened() as store:
            if not store.features.causes:
                raise SkipTest("this store does not declare features.causes")
            yield store

    @asynccontextmanager
    async def keyed(self) -> AsyncIterator[KeyedStore]:
        """An open store that knows keys and ids; skips the test where it does not."""
        async with self.opened() as store:
            if not store.features.keyed:
                raise SkipTest("this store does not declare features.keyed")
            assert isinstance(store, KeyedStore), "it declares features.keyed, but lacks a method"  # noqa: S101
            yield store

    # -------------------------------------------------------------------------------------------- causes and versions

    async def test_version_cause_and_correlation_come_back_as_they_were_appended(self) -> None:
        async with self.causing() as store:
            batch = [
                record("a", 1, version=1),
                record("a", 2, version=2**31 - 1, causation_id=1),
                record("a", b"3", correlation_id=AWKWARD),
                record("a", 4, id="x", key="k", metadata={}, version=3, causation_id=2**63 - 1, correlation_id="c"),
                record("a", 5),
            ]
            kept = await stored(store, batch)
            same_events((await store.read(0, ALL, 10)).records, kept, "read")
            same_events(await store.query(everything()), kept, "query")

    async def test_what_an_event_has_led_to_is_found_by_it(self) -> None:
        async with self.causing() as store:
            causes = (None, 1, 1, 2, None, 1, 7, 2)
            kept = await stored(store, [record("ab"[n % 2], n, causation_id=cause) for n, cause in enumerate(causes)])
            wanted = everything(causation_ids=(1, 2))
            same_events(await store.query(wanted), [kept[place] for place in (1, 2, 3, 5, 7)], "of two causes")
            same_events(await store.query(everything(causation_ids=(7,))), [kept[6]], "of one cause")
            same_events(await store.query(everything(causation_ids=(3, 99))), [], "of what has led to nothing")
            newest = everything(causation_ids=(1, 2), newest_first=True, stop_sequence=kept[7].sequence)
            same_events(await store.query(newest), [kept[place] for place in (5, 3, 2, 1)], "the newest first")
            some = everything(causation_ids=(1, 2), pattern=Pattern.parse("b"), start_sequence=kept[2].sequence)
            same_events(
                await store.query(some), [kept[place] for place in (3, 5, 7)], "of one type, from a sequence on"
            )

    async def test_what_an_event_has_led_to_is_found_page_by_page_and_not_after_it_was_removed(self) -> None:
        async with self.causing() as store:
            kept = await stored(store, [record("a", n, causation_id=1 + n % 2) for n in range(6000)])
            same_events(await store.query(everything(causation_ids=(2,))), kept[1::2], "one of two causes")
            await store.clear()
            [after] = await stored(store, [record("a", causation_id=2)])
            same_events(await store.query(everything(causation_ids=(1, 2))), [after], "after clear()")

    async def test_another_version_under_an_id_is_a_conflict_and_another_cause_is_none(self) -> None:
        async with self.causing() as store:
            kept = await stored(store, [record("a", 1, id="x", version=1, causation_id=1)])
            error = await raised(EventIdConflictError, store.append([record("a", 1, id="x", version=2)]))
            same(error.conflicts, {0: ("x", kept[0].sequence)}, "conflicts")
            again = await store.append([record("a", 1, id="x", version=1, correlation_id="c")])
            same(dict(again.duplicates), {0: kept[0].sequence}, "duplicates")
            same_events(await store.query(everything()), kept, "what is stored")

    # -------------------------------------------------------------------------------------------------- keys and ids

    async def test_the_last_event_of_each_key_is_known(self) -> None:
        async with self.keyed() as store:
            same(dict(await store.last_sequences(["k"])), {}, "last_sequences() of a new log")
            keys = ("k", None, "l", "k", AWKWARD, None)
            kept = await stored(store, [record("a", n, key=key) for n, key in enumerate(keys)])
            wanted = ["k", "l", AWKWARD, "unknown", ""]
            expected = {"k": kept[3].sequence, "l": kept[2].sequence, AWKWARD: kept[4].sequence}
            same(dict(await store.last_sequences(wanted)), expected, "last_sequences()")
            more = await stored(store, [record("a", "more", key="l")])
            same(dict(await store.last_sequences(["l", "l"])), {"l": more[0].sequence}, "after one more")
            same(dict(await store.last_sequences([])), {}, "last_sequences() of no key")

    async def test_what_was_removed_is_the_last_of_no_key(self) -> None:
        async with self.keyed() as store:
            await store.append([record("a", key="k"), record("a", key="l")])
            same(len(await store.last_sequences(["k", "l"])), 2, "keys before clear()")
            await store.clear()
            same(dict(await store.last_sequences(["k", "l"])), {}, "last_sequences() after clear()")
            batch = [record("a", key="l")]
            await store.append(batch)
            same(dict(await store.last_sequences(["k", "l"])), {"l": batch[0].sequence}, "after the next event")

    async def test_ids_are_known_for_as_long_as_their_events_are_there(self) -> None:
        async with self.keyed() as store:
            kept = await stored(store, [record("a", 1, id="x"), record("a", 2), record("a", 3, id=AWKWARD)])
            expected = {"x": kept[0].sequence, AWKWARD: kept[2].sequence}
            same(dict(await store.ids(["x", "unknown", AWKWARD])), expected, "ids()")
            same(dict(await store.ids([])), {}, "ids() of none")
            await store.clear()
            same(dict(await store.ids(["x", AWKWARD])), {}, "ids() after clear()")

    async def test_many_keys_and_ids_may_be_asked_for_at_once(self) -> None:
        async with self.keyed() as store:
            names = [f"name-{n}" for n in range(3000)]
            kept = await stored(store, [record("a", key=name, id=name) for name in names])
            expected = {name: event.sequence for name, event in zip(names, kept, strict=True)}
            holds(dict(await store.last_sequences(names)) == expected, "expected the last event of each of 3,000 keys")
            holds(dict(await store.ids(names)) == expected, "expected the event of each of 3,000 ids")
