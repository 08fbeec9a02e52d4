"""What one event costs the loop's thread, and which parts of the way take how much of it."""

from __future__ import annotations

import asyncio
from time import thread_time

from asyncbus.clock import SystemClock
from asyncbus.encoder import Encoder
from benchmarks.harness import Contestant, Question, Setting
from benchmarks.ours import opened
from benchmarks.workload import PATTERN, TYPE, Handled, payloads

WHOLE = "the whole way, publish to handled, SQLite FULL"
ENCODING = "of it, encoding: type, JSON, checksum, clock, record"
PUBLISHING = "of it, the rest of `publish`: its call, the inbox, the receipt"
HANDLING = "of it, from the queue through an async handler that reads the data"

_LOT = 4_000
"""Events published without a wait: fewer than an inbox holds, and than one batch."""


def question(setting: Setting) -> Question:
    lots = setting.pick(full=25, quick=10, tiny=1)
    lot = setting.pick(full=_LOT, quick=_LOT, tiny=100)

    def run() -> tuple[float, float, float, float]:
        encoding = encode(lots, lot)
        publishing = asyncio.run(publish(lots, lot))
        whole, handling = asyncio.run(go_the_whole_way(setting, lots * lot))
        return whole, encoding, publishing - encoding, handling

    return Question(
        title="what one event costs the loop's thread",
        contestants=(Contestant(dict.fromkeys((WHOLE, ENCODING, PUBLISHING, HANDLING), "µs"), run),),
        targets=(),
        notes="Processor time of the loop's thread, not of SQLite's, which works beside it. What the parts leave of "
        "the whole is binding, numbering, fan-out, the recent events, and the loop itself.",
    )


def encode(lots: int, lot: int) -> float:
    """Microseconds an event."""
    encoder = Encoder(2**20, SystemClock().now)
    start = thread_time()
    for _ in range(lots):
        _ = [encoder.submission(TYPE, payload) for payload in payloads(lot)]
    return (thread_time() - start) / lots / lot * 1e6


async def publish(lots: int, lot: int) -> float:
    """Microseconds an event, of what happens before the writer gets a turn."""
    seconds = 0.0
    async with opened(None) as bus:
        for _ in range(lots):
            start = thread_time()
            for payload in payloads(lot):
                await bus.publish(TYPE, payload, ack="accepted")
            seconds += thread_time() - start
            await bus.flush()
    return seconds / lots / lot * 1e6


async def go_the_whole_way(setting: Setting, count: int) -> tuple[float, float]:
    """Microseconds an event on the loop's thread, and of them those of handling it."""
    handled = Handled(count)
    async with opened(setting.fresh("way")) as bus:
        bus.subscribe(PATTERN, handled.handle)
        start = thread_time()
        for payload in payloads(count):
            await bus.publish(TYPE, payload, ack="accepted")
        await handled.all_handled.wait()
        whole = thread_time() - start
        [reader] = bus.statistics().subscriptions
        return whole / count * 1e6, reader.handler_time / count * 1e6
