import asyncio
from concurrent.futures import Future as ThreadFuture
from typing import Any

import pytest

from asyncbus.futures import fail, resolve


async def future_of_the_loop() -> Any:
    return asyncio.get_running_loop().create_future()


async def future_of_a_thread() -> Any:
    return ThreadFuture()


@pytest.mark.asyncio
@pytest.mark.parametrize("make", [future_of_the_loop, future_of_a_thread])
async def test_the_first_who_settles_a_future_is_heeded_and_the_others_harm_nobody(make: Any) -> None:
    resolved, failed, cancelled = await make(), await make(), await make()

    resolve(resolved, 1)
    fail(resolved, ValueError())
    assert resolved.result() == 1

    fail(failed, ValueError("first"))
    resolve(failed, 1)
    fail(failed, ValueError("second"))
    assert str(failed.exception()) == "first"

    cancelled.cancel()
    resolve(cancelled, 1)
    fail(cancelled, ValueError())
    assert cancelled.cancelled()
