"""What fan-out costs by itself: the memory store, beside plain queues with a worker each, and beside the emitters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import cycle, islice
from time import perf_counter
from typing import Any

import msgspec

from benchmarks.harness import Contestant, Question, Role, Setting, Size, Target, single
from benchmarks.ours import opened
from benchmarks.peers import bubus, emitters
from benchmarks.workload import PATTERN, TEXTS, TYPE, Handled, payloads, working

_CAPACITY = 1024
FLOORS = {1: 0.4, 10: 1.0, 100: 1.2, 1000: None}
"""Subscribers → what is asked of the ratio to plain queues; at 1,000 nothing is, it is shown."""

FanOut = Callable[[int, int], Coroutine[Any, Any, float]]
"""Measures so many events to so many subscribers, in deliveries a second."""

EMITTERS: dict[str, tuple[FanOut, int]] = {
    "aiopubsub": (emitters.aiopubsub, 10),
    "blinker": (emitters.blinker, 1),
    "broadcaster": (emitters.broadcaster, 1),
    "bubus": (bubus.fan_out, 1000),
    "pyee": (emitters.pyee, 10),
    "pymitter": (emitters.pymitter, 10),
}
"""The peers, each with how much less than ours it is given to do, so that it takes no longer."""

_BYTES = tuple(text.encode() for text in TEXTS)


class Message(msgspec.Struct):
    """What a worker hands to the handler: as little as carries `data`."""

    data: Any


def question(setting: Setting) -> Question:
    sizes = [size for size in FLOORS if setting.size is not Size.TINY or size < 100]

    return Question(
        title="memory store, publish to handler that reads the data, 1 / 10 / 100 / 1,000 subscribers",
        contestants=[contestant for subscribers in sizes for contestant in _contestants(setting, subscribers)],
        targets=[_target(subscribers, FLOORS[subscribers]) for subscribers in sizes],
        notes=f"Queues hold {_CAPACITY:,}, as a subscription's does; what is put into them is encoded beforehand.\n"
        "A handler of ours, and one behind a queue, decodes data of its own; the peers hand the same object to all.\n"
        "blinker and pymitter have no queues: the publisher awaits the handlers, blinker one after the other. "
        "aiopubsub and broadcaster queue without a bound, and pyee starts a task for each delivery, waited for every "
        "thousand. bubus runs each handler in a task with a deadline and keeps its result.\n"
        "blinker, broadcaster and pyee have no patterns: their subscribers name the type. None of the peers keeps an "
        "event for who comes late.",
    )


def _contestants(setting: Setting, subscribers: int) -> list[Contestant]:
    """Ours, plain queues and the peers, to so many subscribers."""
    deliveries = setting.pick(full=300_000, quick=60_000, tiny=1_000)

    def contestant(name: str, measure: FanOut, less: int, role: Role) -> Contestant:
        count = max(1, deliveries // less // subscribers)
        return single(name, "deliveries/s", lambda: asyncio.run(measure(count, subscribers)), role)

    return [
        contestant(ours(subscribers), published_to_handled, 1, "ours"),
        contestant(limit(subscribers), queued_to_handled, 1, "limit"),
        *(contestant(peer(name, subscribers), measure, less, "peer") for name, (measure, less) in EMITTERS.items()),
    ]


def _target(subscribers: int, floor: float | None) -> Target:
    asked = "(1,000: for orientation, " if floor is None else f"{subscribers}: at least {floor} "
    text = "of plain `asyncio.Queue`s whose workers decode the same bytes and call the same handler"
    return Target(f"{asked}{text}{')' if floor is None else ''}", ours(subscribers), limit(subscribers), at_least=floor)


def ours(subscribers: int) -> str:
    """The name of our figure."""
    return f"asyncbus, memory store, {subscribers}"


def limit(subscribers: int) -> str:
    """That of plain queues."""
    return f"asyncio.Queue, {subscribers}"


def peer(name: str, subscribers: int) -> str:
    """That of a peer."""
    return f"{name}, {subscribers}"


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

    async with working(*map(work, queues)):
        start = perf_counter()
        for text in islice(cycle(_BYTES), count):
            for queue in queues:
                if queue.full():
                    await queue.put(text)
                else:
                    queue.put_nowait(text)
        await handled.all_handled.wait()
        return handled.expected / (perf_counter() - start)
