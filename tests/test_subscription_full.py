import asyncio
import logging

import pytest

from asyncbus.errors import SubscriptionOverflowError
from tests.fakes import opened, take

pytestmark = pytest.mark.asyncio


async def test_dropping_the_oldest_keeps_the_newest_and_counts_and_logs_once(caplog: pytest.LogCaptureFixture) -> None:
    log = await opened()
    reader = log.subscription(capacity=2, when_full="drop_oldest")

    await log.commit("a", "a", "a")
    await log.commit("a")

    assert (reader.phase, reader.dropped, reader.position) == ("live", 2, 2)
    assert await take(reader, 2) == [3, 4]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "subscription * is full and drops its oldest events, 1 (sequences 1 to 1) now" in caplog.text


async def test_failing_delivers_what_the_queue_holds_and_then_raises() -> None:
    log = await opened()
    reader = log.subscription(capacity=2, when_full="fail")

    await log.commit("a", "a", "a")
    assert await take(reader, 2) == [1, 2]
    for _ in range(2):
        with pytest.raises(SubscriptionOverflowError) as overflow:
            await anext(reader)

    assert overflow.value.capacity == 2
    assert log.ended == [reader]


async def test_the_error_of_an_overflow_and_the_position_tell_where_to_go_on() -> None:
    log = await opened("a")
    reader = log.subscription(capacity=2, when_full="fail")
    await log.commit("a", "a", "a")
    await take(reader, 2)

    with pytest.raises(SubscriptionOverflowError) as overflow:
        await anext(reader)

    assert overflow.value.position == reader.position == 3
    assert await take(log.subscription(start=reader.position + 1), 1) == [4]


async def test_blocking_lasts_until_there_is_room() -> None:
    log = await opened()
    reader = log.subscription(capacity=2, when_full="block")
    await log.commit("a")
    assert list(log.fanout.blockers) == []

    await log.commit("a", "a")
    assert list(log.fanout.blockers) == [reader]
    assert reader.statistics().queued == 3

    assert await take(reader, 1) == [1]
    assert list(log.fanout.blockers) == [reader]
    assert await take(reader, 1) == [2]
    assert list(log.fanout.blockers) == []
    assert await take(reader, 1) == [3]
    assert reader.phase == "live"


async def test_a_queue_that_is_just_full_blocks() -> None:
    log = await opened()
    reader = log.subscription(capacity=2, when_full="block")

    await log.commit("a", "a")

    assert list(log.fanout.blockers) == [reader]


async def test_closing_lifts_the_block() -> None:
    log = await opened()
    reader = log.subscription(capacity=1, when_full="block")
    await log.commit("a")
    writer = asyncio.create_task(log.fanout.change_of_blockers())
    await asyncio.sleep(0)

    await reader.close()

    await writer
    assert list(log.fanout.blockers) == []
