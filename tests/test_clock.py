import asyncio
import time

import pytest

from asyncbus.clock import SystemClock


def test_now_is_the_wall_clock_in_whole_microseconds() -> None:
    before = time.time_ns() // 1000
    now = SystemClock().now()
    after = time.time_ns() // 1000

    assert before <= now <= after
    assert now.__class__ is int


def test_the_monotonic_clock_is_in_seconds() -> None:
    before = time.monotonic()

    assert before <= SystemClock().monotonic() <= time.monotonic()


@pytest.mark.asyncio
async def test_sleeping_lets_the_others_run() -> None:
    ran: list[int] = []
    asyncio.get_running_loop().call_soon(ran.append, 1)

    await SystemClock().sleep(0)

    assert ran == [1]


@pytest.mark.asyncio
async def test_sleeping_lasts_until_its_time_has_come_or_it_is_cancelled() -> None:
    sleeper = asyncio.create_task(SystemClock().sleep(3600))
    done, _ = await asyncio.wait([sleeper], timeout=0)
    assert not done

    sleeper.cancel()

    with pytest.raises(asyncio.CancelledError):
        await sleeper
