"""Part of the contract: dead letters are kept once each, in order, and found again by page and by filter."""
# ruff: noqa: D102  # a test's name is its sentence

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from asyncbus.patterns import Pattern
from asyncbus.store.consumers import Forgotten, ParkedEvent, ParkedFilter, Released
from asyncbus.testing.appending import PAYLOADS
from asyncbus.testing.kept import AWKWARD, EVERY_LETTER, LARGEST, TOLD, KeptLogs, parked, parking, shown, state
from asyncbus.testing.logs import ALL
from asyncbus.testing.records import MOMENT, holds, record, same, stored

_QUESTIONS: Final = 150
_PAGE: Final = 90
_SET: Final = 0.35
"""How often a question has each condition."""


class Parking(KeptLogs):
    """Dead letters."""

    async def test_parked_events_come_back_as_they_were_parked(self) -> None:
        batch = [record("a.b-c_D.0", data, time=MOMENT + place) for place, data in enumerate(PAYLOADS)]
        batch.append(record("a", b"\0", id=AWKWARD, key=AWKWARD, metadata={AWKWARD: [None, 1.5]}, time=-1))
        async with self.keeping() as store:
            await store.append(batch)
            read = (await store.read(0, ALL, 2 * len(batch))).records
            # Whoever was level has it from the writer, whoever was not from the store.
            letters = [parked(AWKWARD, event, "E: 1", TOLD) for event in batch]
            letters += [parked("two", event, parked_at=LARGEST) for event in read]
            await store.commit([], letters)
            found = await store.dead_letters(EVERY_LETTER)
            same(shown(found, numbers=False), shown(letters), "dead letters")
            numbers = [letter.number for letter in found]
            same(numbers, sorted(set(numbers)), "numbers, which ascend")
            holds(numbers[0] > 0, "expected numbers above 0")

    async def test_what_is_parked_twice_is_replaced_and_keeps_its_number(self) -> None:
        async with self.keeping() as store:
            events = await stored(store, [record("a", place) for place in range(3)])
            await store.commit([], [parked("one", event) for event in events])
            before = await store.dead_letters(EVERY_LETTER)
            again = parked("one", events[1], "E: 1", "E: 2", parked_at=MOMENT + 1)
            await store.commit([], [again, parked("two", events[1])])
            found = await store.dead_letters(EVERY_LETTER)
            same([letter.number for letter in found[:3]], [letter.number for letter in before], "numbers")
            same(shown(found[1:2], numbers=False), shown([again]), "what was parked twice")
            same(shown([found[0], found[2]]), shown([before[0], before[2]]), "its neighbours")
            same(found[3].consumer, "two", "the same event, parked by another consumer")

    async def test_what_has_a_number_is_replaced_and_not_there_again_once_it_was_released(self) -> None:
        async with self.keeping() as store:
            events = await stored(store, [record("a", place) for place in range(3)])
            await store.commit([], [parked("one", event) for event in events])
            numbers = [letter.number for letter in await store.dead_letters(EVERY_LETTER)]
            await store.commit([], [Released(numbers[:1])])
            again = [
                parked("one", event, "1", "2", number=number) for event, number in zip(events, numbers, strict=True)
            ]
            await store.commit([], again)
            same(
                shown(await store.dead_letters(EVERY_LETTER)),
                shown(again[1:]),
                "dead letters, of which one was released",
            )
            strange = [
                parked("two", events[1], number=numbers[1]),
                parked("one", events[2], number=numbers[1]),
                parked("one", events[0], number=LARGEST),
            ]
            await store.commit([], strange)
            same(shown(await store.dead_letters(EVERY_LETTER)), shown(again[1:]), "dead letters, after others' numbers")

    async def test_released_dead_letters_are_gone_and_their_numbers_are_never_used_again(self) -> None:
        async with self.keeping() as store:
            events = await stored(store, [record("a", place) for place in range(4)])
            await store.commit([], [parked("one", event) for event in events])
            numbers = [letter.number for letter in await store.dead_letters(EVERY_LETTER)]
            await store.commit([], [Released([numbers[1], numbers[3], LARGEST]), Released([])])
            await store.commit([], [Released([numbers[1]])])
            found = await store.dead_letters(EVERY_LETTER)
            same([letter.number for letter in found], [numbers[0], numbers[2]], "what is left")
            await store.commit([], [parked("one", events[3])])
            found = await store.dead_letters(EVERY_LETTER)
            holds(found[-1].number > numbers[3], "expected of the next one a number that none has had")

    async def test_who_is_forgotten_takes_its_dead_letters_along_and_nobody_elses(self) -> None:
        async with self.keeping() as store:
            events = await stored(store, [record("a", place) for place in range(3)])
            letters = [parked(name, event) for event in events for name in ("one", "two", "three")]
            await store.commit([], [state("one"), state("two"), *letters])
            await store.commit([], [Forgotten("one"), Forgotten("three"), Forgotten("nobody")])
            same(list(await store.consumers()), [state("two")], "consumers()")
            expected = [("two", event.sequence) for event in events]
            same(parking(await store.dead_letters(EVERY_LETTER)), expected, "dead letters")
            same(dict(await store.dead_letter_counts()), {"two": 3}, "dead_letter_counts()")

    async def test_filters_of_dead_letters_combine_as_in_a_plain_list(self) -> None:
        random = Random(60)  # noqa: S311  # seeded, not secret
        names = ["one", "two", AWKWARD]
        types = ["a", "a.b", "a.b.c", "ab", "b", "a_b"]
        async with self.keeping() as store:
            events = await stored(store, [record(random.choice(types), place) for place in range(120)])
            letters = [parked(random.choice(names), event, parked_at=random.randrange(50)) for event in events]
            random.shuffle(letters)
            await store.commit([], letters)
            numbers = [letter.number for letter in await store.dead_letters(EVERY_LETTER)]
            await store.commit([], [Released(random.sample(numbers, 20))])
            log = list(await store.dead_letters(EVERY_LETTER))
            for number in range(_QUESTIONS):
                wanted = _question(random, names, len(events), numbers)
                found = [letter for letter in log if wanted.matches(letter)][: wanted.limit]
                same(shown(await store.dead_letters(wanted)), shown(found), f"question {number}: {wanted}")

    async def test_ranges_of_dead_letters_take_their_beginning_and_leave_out_their_end(self) -> None:
        async with self.keeping() as store:
            events = await stored(store, [record("a", place) for place in range(5)])
            letters = [parked("one", event, parked_at=place * 10) for place, event in enumerate(events, 1)]
            await store.commit([], letters)
            for low, high in ((0, 2), (0, 5), (1, 2), (1, 1), (2, 4), (3, 1)):
                expected = [("one", event.sequence) for event in events[low:high]]
                for wanted in (
                    ParkedFilter(start_sequence=events[low].sequence, stop_sequence=events[high - 1].sequence + 1),
                    ParkedFilter(start_parked=low * 10 + 10, stop_parked=high * 10 + 10),
                    ParkedFilter(start_parked=low * 10 + 1, stop_parked=high * 10 + 1),
                ):
                    same(parking(await store.dead_letters(wanted)), expected, f"{wanted}")
            between = ParkedFilter(start_sequence=events[1].sequence, stop_sequence=events[3].sequence)
            expected = [("one", event.sequence) for event in events[1:3]]
            same(parking(await store.dead_letters(between)), expected, f"{between}")

    async def test_dead_letters_come_in_pages(self) -> None:
        async with self.keeping() as store:
            events = await stored(store, [record("a", place) for place in range(1_000)])
            letters = [parked(f"consumer-{place % 4}", event) for place, event in enumerate(events)]
            for place in range(0, len(letters), 250):
                await store.commit([], letters[place : place + 250])
            for consumer in (None, "consumer-3", "nobody"):
                found: list[ParkedEvent] = []
                while page := await store.dead_letters(
                    ParkedFilter(consumer=consumer, after=found[-1].number if found else 0, limit=_PAGE)
                ):
                    holds(len(page) <= _PAGE, f"expected pages of {_PAGE} at most")
                    found += page
                expected = [letter for letter in letters if consumer in {None, letter.consumer}]
                same(shown(found, numbers=False), shown(expected), f"the pages of {consumer}")
            same(len(await store.dead_letters(EVERY_LETTER)), 1_000, "dead letters without a limit")
            same(dict(await store.dead_letter_counts()), {f"consumer-{n}": 250 for n in range(4)}, "their counts")


def _question(random: Random, names: Sequence[str], events: int, numbers: Sequence[int]) -> ParkedFilter:
    patterns = ("a", "a.*", "a*", "*", "b", "a_b", "c")
    conditions: dict[str, Any] = {
        "consumer": random.choice([*names, "nobody"]),
        "pattern": Pattern.parse(random.sample(patterns, random.choice((1, 1, 2)))),
        "start_sequence": random.randrange(events),
        "stop_sequence": random.randrange(events * 2),
        "start_parked": random.randrange(50),
        "stop_parked": random.randrange(60),
        "after": random.choice([0, *numbers]),
        "limit": random.choice((1, 2, 5, 50, 1_000)),
    }
    return ParkedFilter(**{name: value for name, value in conditions.items() if random.random() < _SET})
