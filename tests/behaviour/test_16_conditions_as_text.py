"""Conditions on what events say, as text: the same wherever they are asked for."""

from typing import Any

import pytest

from asyncbus import EventBus, InvalidOptionError
from tests.behaviour.stage import Log

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

WHERE = 'data.va > 4096 and metadata.user = "eve"'


async def test_queries_subscriptions_and_waiting_take_the_same_conditions(log: Log) -> None:
    async with log.bus() as bus:
        live = bus.subscribe("tlb.*", where=WHERE)
        awaited = bus.wait_for("tlb.*", WHERE)
        for va in (4096, 4097, 5000):
            for user in ("eve", "bob"):
                await bus.publish("tlb.miss", {"va": va}, metadata={"user": user})
        await bus.publish("tlb.miss", b"bytes", metadata={"user": "eve"})

        async with bus.subscribe("tlb.*", start="earliest", where=WHERE) as late:
            assert [(await anext(late)).sequence for _ in range(2)] == [3, 5]
        assert [(await anext(live)).sequence for _ in range(2)] == [3, 5]
        assert (await awaited).sequence == 3
        assert [event.sequence for event in await bus.query("tlb.*", where=WHERE)] == [3, 5]
        assert [event.sequence for event in await bus.query(where=WHERE, newest_first=True, limit=1)] == [5]


async def test_a_thousand_pages_of_what_does_not_match_hide_nothing(log: Log) -> None:
    async with log.bus() as bus:
        for begin in range(0, 20_000, 5_000):
            await bus.publish_many([("a", {"n": number}) for number in range(begin, begin + 5_000)])
        found = await bus.query(where="data.n >= 19998", limit=None)
        assert [event.data["n"] for event in found] == [19_998, 19_999]
        assert len(await bus.query(where="data.n < 15000", limit=None)) == 15_000


async def test_the_types_of_a_log_are_told_with_their_counts(log: Log) -> None:
    async with log.bus() as bus:
        assert await bus.types() == []
        first = await bus.publish("tlb.miss")
        await bus.publish_many([("tlb.hit", None), ("tlb.miss", None)])
        [hits, misses] = await bus.types()
        events = await bus.query()
        assert (hits.type, hits.events, hits.first_sequence, hits.last_sequence) == ("tlb.hit", 1, 2, 2)
        assert (misses.type, misses.events, misses.first_sequence) == ("tlb.miss", 2, first.sequence)
        assert (misses.first_recorded_at, misses.last_recorded_at) == (events[0].recorded_at, events[2].recorded_at)
        await bus.clear()
        assert await bus.types() == []


@pytest.mark.parametrize(
    ("where", "place", "said"),
    [
        ("", 1, "`data` or `metadata`"),
        ("va > 1", 1, "`data` or `metadata`"),
        ("data.va", 8, "an operator"),
        ("data.va ~ 1", 9, "an operator"),
        ("data.va > ", 11, "a number"),
        ("data.va > 1x", 12, "`and`"),
        ("data.va > 1-", 11, "a value as JSON writes it"),
        ("data.va > true", 11, "an order"),
        ("data.va > null", 11, "an order"),
        ("data.va > 1 or data.va < 0", 13, "`and`"),
        ("data.va > 1 and", 16, "`data` or `metadata`"),
        ("data.'va' > 1", 5, "an operator"),
        ("data.va > 'it", 11, "quoted string"),
        ("data.va > 1; DROP TABLE events", 12, "`and`"),
    ],
)
async def test_a_condition_that_cannot_be_read_is_refused_at_the_call_and_the_place_is_named(
    where: str, place: int, said: str, bus: EventBus
) -> None:
    ways: list[Any] = [lambda: bus.subscribe("a", where=where), lambda: bus.wait_for("a", where)]
    for way in ways:
        with pytest.raises(InvalidOptionError, match=f"at character {place},") as caught:
            way()
        assert said in str(caught.value)
    with pytest.raises(InvalidOptionError, match=f"at character {place},"):
        await bus.query(where=where)


async def test_what_a_condition_holds_is_bound_and_never_read_as_sql(log: Log) -> None:
    name = "x') OR 1=1 --"
    async with log.bus() as bus:
        await bus.publish("a", {name: name, "y": 1})
        await bus.publish("a", {"y": name})
        found = await bus.query(where=f'data["{name}"] = "{name}"')
        assert [event.sequence for event in found] == [1]
