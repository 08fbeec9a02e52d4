"""Durable consumers, killed: what was in flight comes again, alone, and what kills its process is parked in the end."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from asyncbus import DeadLetter, EventBus, SQLiteStore
from tests.behaviour.consuming import Handler, passing
from tests.behaviour.dying import lived

pytestmark = pytest.mark.timeout(100)


def written(folder: Path, events: int) -> Path:
    """A log of so many events."""
    path = folder / "events.db"

    async def write() -> None:
        async with EventBus(SQLiteStore(path)) as bus:
            await bus.publish_many([("a", number) for number in range(events)])

    asyncio.run(write())
    return path


def handled(path: Path) -> Handler:
    """The rest, by a consumer that comes to no harm."""
    handler = Handler()

    async def handle() -> None:
        async with EventBus(SQLiteStore(path)) as bus:
            await passing(bus.consume("one", "a", handler, order="none", concurrency=10), await bus.latest_sequence())

    asyncio.run(handle())
    return handler


def parked(path: Path) -> list[DeadLetter]:
    async def look() -> list[DeadLetter]:
        async with EventBus(SQLiteStore(path, read_only=True)) as bus:
            return await bus.dead_letters("one")

    return asyncio.run(look())


def returned(lives: list[list[Any]]) -> set[int]:
    """Sequences that were handled to the end."""
    return {said[0] for life in lives for said in life if said != "done" and len(said) == 1}


@pytest.mark.fault(62)
@pytest.mark.fault(75)
def test_after_a_kill_only_what_was_in_flight_comes_again_one_attempt_higher(tmp_path: Path) -> None:
    path = written(tmp_path, 10)

    [killed] = lived(path, {"concurrency": 3, "hold": [3, 6, 7], "kill_at": [7, 1]})

    assert returned([killed]) == {1, 2, 4, 5}
    assert handled(path).got == [(3, 2), (6, 2), (7, 2), (8, 1), (9, 1), (10, 1)]


@pytest.mark.fault(62)
@pytest.mark.fault(75)
def test_kills_in_a_row_lose_nothing_and_count_each_attempt(tmp_path: Path) -> None:
    path = written(tmp_path, 4)

    lives = lived(path, *({"hold": [2], "kill_at": [2, attempt]} for attempt in range(1, 5)))

    assert lives == [[[1, 1], [1], [2, 1]], [[2, 2]], [[2, 3]], [[2, 4]]]
    assert handled(path).got == [(2, 5), (3, 1), (4, 1)]


@pytest.mark.fault(61)
def test_an_event_that_ends_its_process_each_time_is_parked_and_its_neighbours_are_handled(tmp_path: Path) -> None:
    path = written(tmp_path, 20)

    lives = lived(path, {"concurrency": 5, "die": [7], "attempts": 3, "again": True})

    assert [said for life in lives for said in life if said[0] == 7] == [[7, 1], [7, 2], [7, 3]]
    assert len(lives) == 4, "it has died three times"
    assert returned(lives) == {*range(1, 21)} - {7}
    [letter] = parked(path)
    assert (letter.event.sequence, letter.attempts) == (7, 3)
    assert "process ended during attempt 3, when this event alone was in flight" in letter.error


@pytest.mark.fault(61)
@pytest.mark.parametrize("attempts", [1, 2])
def test_one_of_a_thousand_in_flight_ends_the_process_and_none_of_the_others_is_parked(
    attempts: int, tmp_path: Path
) -> None:
    path = written(tmp_path, 1000)

    lives = lived(path, {"concurrency": 1000, "die": [900], "attempts": attempts, "again": True})

    assert len([said for said in lives[0] if len(said) == 2]) >= 900, "they were in flight together"
    assert returned(lives) == {*range(1, 1001)} - {900}
    assert [letter.event.sequence for letter in parked(path)] == [900]
    assert len(lives) == 3, "it has died among all the others, and then alone"


@pytest.mark.fault(61)
@pytest.mark.parametrize("order", ["none", "strict"])
def test_two_that_end_their_process_are_both_found(order: str, tmp_path: Path) -> None:
    path = written(tmp_path, 30)

    lives = lived(path, {"concurrency": 10, "die": [5, 6], "attempts": 2, "order": order, "again": True})

    assert [letter.event.sequence for letter in parked(path)] == [5, 6]
    assert returned(lives) == {*range(1, 31)} - {5, 6}
