"""What fan-out costs by itself: the memory store, beside plain queues with a worker each."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice
from time import perf_counter
from typing import Any

import msgspec

from benchmarks.harness import Contestant, Question, Setting, Target, single
from benchmarks.ours import opened
from benchmarks.workload import PATTERN, TEXTS, TYPE, Handled, payloads

_CAPACITY = 1024
_FLOORS = {1: 0.4, 10: 1.0, 100: 1.2}
_BYTES = tuple(text.encode() for text in TEXTS)


class Message(msgspec.Struct):
    """What a worker hands to the handler: as little as carries `data`."""

    data: Any


def question(setting: Setting) -> Question:
    deliveries = setting.pick(full=300_000, quick=60_000, tiny=1_000)

    def contestants(subscribers: int) -> tuple[Contestant, Contestant]:
        count = deliveries // subscribers
        return (
            single(
                f"asyncbus, memory store, {subscribers}",
                "deliveries/s",
                lambda: asyncio.run(published_to_handled(count, subscribers)),
            ),
            single(
                f"asyncio.Queue, {subscribers}",
                "deliveries/s",
                lambda: asyncio.run(queued_to_handled(count, subscribers)),
                "limit",
            ),
        )

    return Question(
        title="memory store, publish to handler that reads the data, 1 / 10 / 100 subscribers",
        contestants=[contestant for subscribers in _FLOORS for contestant in contestants(subscribers)],
        targets=[
            Target(
                f"{subscribers}: at least {floor} of plain `asyncio.Queue`s whose workers decode the same bytes and "
                "call the same handler",
                f"asyncbus, memory store, {subscribers}",
                f"asyncio.Queue, {subscribers}",
                at_least=floor,
            )
            for subscribers, floor in _FLOORS.items()
        ],
        notes=f"Queues hold {_CAPACITY:,}, as a subscription's does; what is put into them is encoded beforehand.",
    )


async def published_to_handled(count: int, subscribers: int) -> float:
    """Deliveries a second to so many subscribers of one pattern."""
    handled = Handled(count * subscribers)
    async with opened(None) as bus:
        for _ in range(subscribers):
            bus.subscribe(PATTERN, handled.handle)
        start = perf_counter()
        for payload in payloads(count):
            await bus.publish(TYPE, payload, ack="accepted")
        await handled.all_handled.wait()
        return handled.expected / (perf_counter() - start)


async def queued_to_handled(count: int, subscribers: int) -> float:
    """The same by hand: one bounded queue and one worker a subscriber, and each worker decodes for itself."""
    handled = Handled(count * subscribers)
    decode = msgspec.json.Decoder().decode
    queues = [asyncio.Queue[bytes](_CAPACITY) for _ in range(subscribers)]

    async def work(queue: asyncio.Queue[bytes]) -> None:
        while True:
            await handled.handle(Message(decode(await queue.get())))

    workers = [asyncio.create_task(work(queue)) for queue in queues]
    start = perf_counter()
    for text in islice(cycle(_BYTES), count):
        for queue in queues:
            if queue.full():
                await queue.put(text)
            else:
                queue.put_nowait(text)
    await handled.all_handled.wait()
    seconds = perf_counter() - start
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    return handled.expected / seconds
