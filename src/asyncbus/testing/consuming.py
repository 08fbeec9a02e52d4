"""Part of the contract: what consumers have done is stored with the events, whole or not at all, and lasts."""
# ruff: noqa: D102  # a test's name is its sentence

from __future__ import annotations

from asyncbus.errors import EventIdConflictError, StoreReadOnlyError
from asyncbus.store.consumers import Change, ConsumerState, Forgotten, Owed, Released
from asyncbus.testing.kept import (
    AWKWARD,
    EVERY_LETTER,
    LARGEST,
    TOLD,
    KeptLogs,
    consumer_store,
    parked,
    parking,
    shown,
    state,
)
from asyncbus.testing.logs import ALL, everything
from asyncbus.testing.records import MOMENT, holds, raised, record, same, same_events, stored


class Consuming(KeptLogs):
    """Commits, and the states of consumers."""

    # -------------------------------------------------------------------------------------------------- the commit

    async def test_a_new_log_has_no_consumers_and_no_dead_letters(self) -> None:
        async with self.keeping() as store:
            same(list(await store.consumers()), [], "consumers() of a new log")
            same(list(await store.dead_letters(EVERY_LETTER)), [], "dead_letters() of a new log")
            same(dict(await store.dead_letter_counts()), {}, "dead_letter_counts() of a new log")

    async def test_a_commit_stores_events_as_append_does(self) -> None:
        async with self.keeping() as store:
            [first] = await stored(store, [record("a", 1, id="x")])
            batch = [record("a", 1, id="x"), record("b", 2, key="k"), record("c", b"3")]
            appended = await store.commit(batch, [state("one")])
            same(dict(appended.duplicates), {0: first.sequence}, "duplicates: index → sequence of the first")
            same(appended.first, batch[1].sequence, "Appended.first, and the sequence set on the first record")
            same_events((await store.read(0, ALL, 10)).records, [first, *batch[1:]], "the log")
            same(await store.latest_sequence(), batch[2].sequence, "latest_sequence() after a commit")

    async def test_a_commit_without_events_moves_no_sequence(self) -> None:
        async with self.keeping() as store:
            await store.append([record("a")])
            head = await store.latest_sequence()
            await store.commit([], [state("one", head)])
            await store.commit([], [])
            same(await store.latest_sequence(), head, "latest_sequence()")
            batch = [record("b")]
            await store.append(batch)
            holds(batch[0].sequence > head, "expected the next event above the others")
            same(list(await store.consumers()), [state("one", head)], "consumers()")

    async def test_a_commit_larger_than_batch_limit_is_stored_whole(self) -> None:
        async with self.keeping() as store:
            batch = [record("a", place) for place in range(store.features.batch_limit + 1)]
            await store.commit(batch, [state("one", 1)])
            same_events(await store.query(everything()), batch, "the large batch")
            same(list(await store.consumers()), [state("one", 1)], "consumers()")

    async def test_a_conflict_leaves_neither_events_nor_changes(self) -> None:
        async with self.keeping() as store:
            kept = await stored(store, [record("a", 1, id="x")])
            await store.commit([], [state("one", 1), parked("one", kept[0])])
            changes: list[Change] = [
                state("one", 2),
                state("two"),
                parked("two", kept[0]),
                Released([1]),
                Forgotten("one"),
            ]
            await raised(EventIdConflictError, store.commit([record("b"), record("a", "other", id="x")], changes))
            same_events(await store.query(everything()), kept, "the log")
            same(list(await store.consumers()), [state("one", 1)], "consumers()")
            same(parking(await store.dead_letters(EVERY_LETTER)), [("one", kept[0].sequence)], "dead letters")
            appended = await store.commit([], [state("two", epoch=1)])
            same(appended.stale, frozenset(), "stale names, after what was not stored")

    async def test_changes_are_stored_in_their_order(self) -> None:
        async with self.keeping() as store:
            [event] = await stored(store, [record("a")])
            await store.commit([], [parked("a", event), Forgotten("a"), parked("b", event), state("b"), Forgotten("b")])
            same(list(await store.consumers()), [], "consumers, each forgotten after it was stored")
            same(list(await store.dead_letters(EVERY_LETTER)), [], "dead letters, each forgotten after it was parked")
            await store.commit([], [Forgotten("a"), parked("a", event), state("a", 1), state("a", 2)])
            same(list(await store.consumers()), [state("a", 2)], "consumers, the last state of which counts")
            [letter] = await store.dead_letters(EVERY_LETTER)
            await store.commit([], [Released([letter.number]), parked("a", event, "again")])
            [again] = await store.dead_letters(EVERY_LETTER)
            holds(again.number > letter.number, "expected of what is parked after it was released a number of its own")
            await store.commit([], [parked("a", event, "once more"), Released([again.number])])
            same(list(await store.dead_letters(EVERY_LETTER)), [], "dead letters, released after parking it again")

    # -------------------------------------------------------------------------------------------------------- states

    async def test_states_come_back_as_they_were_committed_by_name(self) -> None:
        states = [
            state("b"),
            ConsumerState(
                name=AWKWARD,
                pattern="a.b, c.*",
                epoch=3,
                checkpoint=4,
                settled_to=5,
                begun_to=6,
                owed={5: Owed(1), 6: Owed(2, MOMENT)},
                alone=5,
                paused=True,
                sought=True,
                created_at=MOMENT,
                active_since=MOMENT + 1,
                redelivered=7,
                last_error=TOLD,
            ),
            state("a", LARGEST, owed={LARGEST: Owed(LARGEST, LARGEST)}, last_error=""),
            state("B"),
        ]
        async with self.keeping() as store:
            await store.commit([], states)
            found = await store.consumers()
            same(list(found), sorted(states, key=lambda state: state.name), "consumers()")
            same([list(state.owed) for state in found if state.name == AWKWARD], [[5, 6]], "what is owed, ascending")
            same({found.paused.__class__ for found in found}, {bool}, "what paused is")

    async def test_a_state_replaces_the_one_of_its_name(self) -> None:
        async with self.keeping() as store:
            await store.commit([], [state("one", 1, owed={3: Owed(1)}, last_error="no"), state("other")])
            for checkpoint in (5, 2):
                await store.commit([], [state("one", checkpoint)])
                same(list(await store.consumers()), [state("one", checkpoint), state("other")], "consumers()")

    async def test_the_state_of_an_older_epoch_is_told_and_not_stored_but_the_rest_of_the_commit_is(self) -> None:
        async with self.keeping() as store:
            [event] = events = [record("a")]
            appended = await store.commit(events, [state("one", 1, epoch=2), state("two", epoch=5)])
            same(appended.stale, frozenset(), "stale names where there is nothing older")
            batch = [record("b")]
            changes: list[Change] = [
                state("one", 9, epoch=1),
                state("two", 1, epoch=5),
                state("new"),
                parked("one", event),
            ]
            appended = await store.commit(batch, changes)
            same(appended.stale, frozenset({"one"}), "stale names")
            expected = [state("new"), state("one", 1, epoch=2), state("two", 1, epoch=5)]
            same(list(await store.consumers()), expected, "consumers()")
            same(dict(await store.dead_letter_counts()), {"one": 1}, "dead letters")
            same_events((await store.read(batch[0].sequence - 1, ALL, 10)).records, batch, "the event with it")
            appended = await store.commit([], [state("one", 3, epoch=3), state("one", 9, epoch=2)])
            same(appended.stale, frozenset({"one"}), "stale names within a commit")
            appended = await store.commit([], [Forgotten("one"), state("one", 4, epoch=1)])
            same(appended.stale, frozenset(), "stale names where the newer one is forgotten")
            same((await store.consumers())[1], state("one", 4, epoch=1), "the state after it was forgotten")

    async def test_many_states_are_stored_at_once(self) -> None:
        async with self.keeping() as store:
            for checkpoint in (1, 2):
                states = [state(f"consumer-{place:04}", checkpoint, owed={5: Owed(1)}) for place in range(1_500)]
                await store.commit([record("a")], states)
                same(list(await store.consumers()), states, "consumers()")

    # ---------------------------------------------------------------------------------------------------- what lasts

    async def test_clear_leaves_consumers_and_their_dead_letters(self) -> None:
        async with self.keeping() as store:
            [event] = await stored(store, [record("a", {"kept": True})])
            letter = parked("one", event)
            await store.commit([], [state("one", event.sequence), letter])
            await store.clear()
            same(list(await store.consumers()), [state("one", event.sequence)], "consumers()")
            same(shown(await store.dead_letters(EVERY_LETTER), numbers=False), shown([letter]), "dead letters")

    async def test_consumers_and_dead_letters_survive_reopening(self) -> None:
        self.needs("durable")
        async with self.keeping() as store:
            events = await stored(store, [record("a", b"\0", id="x"), record("b", 2)])
            states = [state("one", 1, epoch=3, owed={5: Owed(2, MOMENT)}, last_error="E"), state("two", paused=True)]
            await store.commit([record("c")], [*states, *(parked("one", event) for event in events)])
            before = shown(await store.dead_letters(EVERY_LETTER))
        async with self.keeping() as store:
            same(list(await store.consumers()), states, "consumers() of the reopened log")
            same(shown(await store.dead_letters(EVERY_LETTER)), before, "dead letters of the reopened log")
            appended = await store.commit([], [Released([before[-1][0]]), state("one", 9, epoch=2)])
            same(appended.stale, frozenset({"one"}), "stale names in the reopened log")
        async with self.keeping() as store:
            await store.commit([], [parked("two", events[0])])
            numbers = [letter.number for letter in await store.dead_letters(EVERY_LETTER)]
            holds(numbers[-1] > before[-1][0], "expected a number that none has had, also after reopening")
            same(list(await store.consumers()), states, "consumers(), of which the stale one was not stored")

    async def test_a_read_only_store_shows_consumers_and_refuses_to_change_them(self) -> None:
        async with self.keeping() as writer:
            [event] = await stored(writer, [record("a")])
            async with self.reading() as store:
                reader = consumer_store(store)
                same(list(await reader.consumers()), [], "consumers() before there are any")
                await writer.commit([], [state("one", 1), parked("one", event)])
                same(list(await reader.consumers()), [state("one", 1)], "consumers() beside the writer")
                same(parking(await reader.dead_letters(EVERY_LETTER)), [("one", event.sequence)], "dead letters")
                same(dict(await reader.dead_letter_counts()), {"one": 1}, "dead_letter_counts()")
                await raised(StoreReadOnlyError, reader.commit([], [state("one", 2)]))
                same(list(await reader.consumers()), [state("one", 1)], "consumers() after it was refused")
