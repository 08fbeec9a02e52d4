"""Those of a simulated scene who publish, and who ask the bus to flush, drain, clear or close."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from asyncbus import AsyncBusError, NewEvent, PendingReceipt, PublishOutcomeUnknownError
from tests.reliability.simulation.world import Attempt, World

TYPES: Final = ("a", "a.b", "b", "b.c")

_WAYS: Final = (
    *("stored", "stored", "accepted", "nowait", "many", "many", "timeout", "same id", "same id"),
    *("keyed", "expecting", "expecting"),
)
_SHARED_IDS: Final = 3
_KEYS: Final = ("k", "l")


async def publish(world: World, name: str) -> None:
    """Publish some events, one after the other; then ask what became of some of them."""
    await world.opened.wait()
    number = 0
    for _ in range(world.random.randrange(2, 9)):
        await world.pause()
        number += await publish_somehow(world, name, number)
    for attempt, receipt in tuple(world.pending):
        if attempt.payloads[0].startswith(name) and world.random.random() < 0.5:
            await ask(world, attempt, receipt)


async def publish_somehow(world: World, name: str, number: int, cause: int | None = None) -> int:
    """One publish, by the handler of `cause` if any, and what came of it; how many events it had."""
    way = world.random.choice(_WAYS)
    members = world.random.randrange(1, 5) if way == "many" else 1
    attempt = Attempt(world.random.choice(TYPES), [f"{name}/{number + place}" for place in range(members)])
    if way == "same id":
        # The same content for all who use it; now and then it is another, which is a conflict.
        shared = world.random.randrange(_SHARED_IDS)
        content = shared if world.random.random() < 0.9 else f"{shared} again"
        attempt = Attempt("a", [f"shared/{content}"], f"id-{shared}")
    if way in {"keyed", "expecting"}:
        attempt.key = world.random.choice(_KEYS)
    if way == "expecting":
        attempt.expected = world.random.choice((0, world.last_of.get(attempt.key or "", 0)))
    attempt.cause = cause
    world.attempts.append(attempt)
    try:
        await _propose(world, attempt, way)
    except PublishOutcomeUnknownError as error:
        attempt.error = error
        world.expect(
            _given(world, attempt), f"{attempt.payloads}: unknown, though the writer had not taken it: {error}"
        )
    except (AsyncBusError, TimeoutError) as error:
        attempt.outcome, attempt.error = "not stored", error
    except asyncio.CancelledError as error:
        attempt.error = error
        if not attempt.accepted and not _given(world, attempt):
            attempt.outcome = "not stored"
        raise
    return members


async def _propose(world: World, attempt: Attempt, way: str) -> None:
    bus, type, payload = world.bus, attempt.type, attempt.payloads[0]
    match way:
        case "many":
            world.told(attempt, await bus.publish_many([NewEvent(type, each) for each in attempt.payloads]))
        case "timeout":
            timeout = world.random.choice((0, 0.00005, 0.0002, 10))
            world.told(attempt, [await bus.publish(type, payload, timeout=timeout)])
        case "nowait":
            _accept(world, attempt, bus.publish_nowait(type, payload))
        case "accepted":
            _accept(world, attempt, await bus.publish(type, payload, ack="accepted"))
        case _:
            receipt = await bus.publish(
                type, payload, id=attempt.id, key=attempt.key, expected_sequence=attempt.expected
            )
            world.told(attempt, [receipt])


def _accept(world: World, attempt: Attempt, receipt: PendingReceipt) -> None:
    attempt.accepted = True
    world.pending.append((attempt, receipt))


def _given(world: World, attempt: Attempt) -> bool:
    """Whether the writer has handed it to the store, as far as one can tell it from others."""
    return attempt.id is not None or any(f'"{payload}"' in world.ledger.given for payload in attempt.payloads)


async def ask(world: World, attempt: Attempt, receipt: PendingReceipt) -> None:
    """What became of an accepted event."""
    try:
        world.told(attempt, [await receipt])
    except PublishOutcomeUnknownError as error:
        attempt.error = error
    except AsyncBusError as error:
        attempt.outcome, attempt.error = "not stored", error


async def flush(world: World) -> None:
    """Afterwards the outcome of all that was accepted is known."""
    await world.opened.wait()
    for _ in range(3):
        await world.pause()
        accepted = [receipt for _, receipt in world.pending]
        with suppress(AsyncBusError):
            await world.bus.flush()
            world.expect(all(receipt.done for receipt in accepted), "flush returned before all accepted was settled")


async def drain(world: World) -> None:
    """Afterwards all that was stored is handled."""
    await world.opened.wait()
    for _ in range(2):
        await world.pause()
        head = world.bus.statistics().head
        handled = [reader for reader in world.readers if reader.name.startswith("handler")]
        with suppress(AsyncBusError):
            await world.bus.drain(world.random.choice((None, 0.0005, 0.005)))
            if world.closing:  # a handler that closes the bus is waited for by nobody
                return
            for reader in handled:
                events = reader.subscription
                done = reader.left or events is None or not events.open or events.position >= head
                world.expect(done, f"drained, but {reader.name} was not done with {head}")


async def clear(world: World) -> None:
    """Remove all events once."""
    await world.opened.wait()
    for _ in range(world.random.randrange(8)):
        await world.pause()
    acknowledged = world.acknowledged
    with suppress(AsyncBusError):
        await world.bus.clear()
        world.expect(world.ledger.floor >= acknowledged, f"cleared, but events up to {acknowledged} were there before")
        world.expect(await world.bus.latest_sequence() >= acknowledged, "the head went back")


async def close(world: World) -> None:
    """Close the bus beside its host, while others may be at work, or while it is being opened."""
    if world.random.random() < 0.5:
        await world.opened.wait()
        await asyncio.sleep(world.random.randrange(1, 100) * 1e-5)
    else:
        await world.pause()
    world.closing = True
    await world.bus.close()
