"""Those of a simulated scene who consume under a name: by handlers and by hand, in one life after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from asyncbus import (
    AsyncBusError,
    Consumer,
    ConsumerClosedError,
    ConsumerState,
    Delivery,
    Event,
    EventBus,
    Reject,
    Retry,
    StaleAckError,
    UnknownAckError,
)
from asyncbus.options import Start
from tests.reliability.simulation.world import Named, World

_NOT_TAKEN = (UnknownAckError, StaleAckError, ConsumerClosedError)


async def consume(world: World, name: str) -> None:
    """Consume with a handler, go away, and come again under the same name."""
    await world.opened.wait()
    named = world.named(name)
    for _ in range(world.random.choice((1, 2, 3))):
        await world.pause()
        handler = _handler(world, named, world.random.choice(_KINDS))
        consumer = _begin(world, named, handler)
        if consumer is None:
            return
        if world.random.random() < 0.5:
            return
        await world.pause()
        try:
            await consumer.drain(world.random.choice((None, 0.001)))
        except asyncio.CancelledError:
            named.left = True
            raise
        named.left = True


_KINDS = ("patient", "patient", "failing", "failing", "rejecting", "hanging", "publishing", "leaving", "closing")


def _begin(world: World, named: Named, handler: Any = None, **others: Any) -> Consumer | None:
    random = world.random
    options = {
        # Without jitter, whose random numbers are not of this seed.
        "retry": Retry(attempts=random.choice((1, 2, 3)), backoff=0.0002, maximum=0.001, jitter=False),
        "timeout": None if handler is None else random.choice((None, 0.0007)),
        "concurrency": random.choice((1, 1, 3)),
        "max_in_flight": random.choice((1, 3, 64)),
        "order": random.choice(("none", "key", "strict")),
        "on_exhausted": random.choice(("dead_letter", "dead_letter", "stop")),
    }
    try:
        consumer = world.bus.consume(named.name, named.pattern, handler, **{**options, **others})
    except AsyncBusError:  # somebody has the name, or the bus is closed
        return None
    consumer._feed._page_size = random.choice((1, 2, 512))
    named.consumer, named.left = consumer, False
    return consumer


def _handler(world: World, named: Named, kind: str) -> Any:
    if world.random.random() < 0.3:
        return _bare_handler(world, named)

    async def handler(event: Event, delivery: Delivery) -> None:
        _handed_out(world, named, event)
        await world.pause()
        if world.random.random() < 0.4:
            await _do(kind, world, named, delivery)
        # Nothing is awaited between this and the return, which is the ack.
        named.done.add(event.sequence)

    return handler


def _bare_handler(world: World, named: Named) -> Any:
    """One that wants the event only; now and then it takes longer than a handler may keep the loop."""

    async def handler(event: Event) -> None:
        _handed_out(world, named, event)
        if world.random.random() < 0.3:
            world.loop.pass_time(0.006)
        await world.pause()
        if world.random.random() < 0.2:
            raise ValueError("a handler that fails now and then")
        named.done.add(event.sequence)

    return handler


def _handed_out(world: World, named: Named, event: Event) -> None:
    sequence = event.sequence
    is_parked = (named.name, sequence) in world.ledger.parked or named.sought
    world.expect(sequence in world.ledger.rows, f"{named.name} has got {sequence} before it was durable")
    world.expect(sequence not in named.done or is_parked, f"{named.name} has got {sequence} again, though it was done")
    world.expect(_is_begun(world, named, sequence), f"{named.name} has got {sequence} before that was stored")


def _is_begun(world: World, named: Named, sequence: int) -> bool:
    """Whether the store knows that an event may have been handed out."""
    if named.sought:
        return True
    state = world.ledger.states.get(named.name)
    if (named.name, sequence) in world.ledger.parked:
        return True
    return state is not None and state.begun_to >= sequence


async def _do(kind: str, world: World, named: Named, delivery: Delivery) -> None:
    match kind:
        case "failing":
            raise ValueError("a handler that fails now and then")
        case "rejecting":
            raise Reject("for good")
        case "hanging":
            await asyncio.sleep(0.002)
        case "publishing":
            if len(world.ledger.rows) < 60:
                await delivery.publish("c.d", f"{named.name}/follows {delivery.event.sequence}")
        case "leaving":
            named.left = True
            await _consumer(named).close()
        case "closing":
            world.closing = True
            await world.bus.close()


def _consumer(named: Named) -> Consumer:
    assert named.consumer is not None
    return named.consumer


async def hold(world: World, name: str) -> None:
    """Consume with three handlers, of which up to two are at work until nothing else happens any more."""
    await world.opened.wait()
    await world.pause()
    named = world.named(name)

    async def handler(event: Event) -> None:
        _handed_out(world, named, event)
        await world.pause()
        if len(named.held) < 2 and world.random.random() < 0.5:
            named.held.add(event.sequence)
            try:
                await world.leaving.wait()
            finally:
                named.held.discard(event.sequence)
        named.done.add(event.sequence)

    _begin(world, named, handler, concurrency=3, max_in_flight=64, order="none", timeout=None)


async def take(world: World, name: str) -> None:
    """Consume by hand: outcomes in any order, or none."""
    await world.opened.wait()
    await world.pause()
    named = world.named(name)
    consumer = _begin(world, named, ack="manual")
    if consumer is None:
        return
    waiting: list[Delivery] = []
    try:
        async with consumer:
            async for delivery in consumer:
                _handed_out(world, named, delivery.event)
                waiting.append(delivery)
                world.random.shuffle(waiting)
                while waiting and world.random.random() < 0.7:
                    await _settle(world, named, waiting.pop())
                if world.random.random() < 0.1:
                    break
    except AsyncBusError:
        pass
    finally:
        named.left = True


async def _settle(world: World, named: Named, delivery: Delivery) -> None:
    sequence = delivery.event.sequence
    await world.pause()
    how = world.random.random()
    try:
        if how < 0.7:
            named.done.add(sequence)
            await delivery.ack()
        elif how < 0.9:
            await delivery.nak()
        else:
            await delivery.reject()
    except _NOT_TAKEN:
        named.done.discard(sequence)


async def administer(world: World) -> None:
    """Look at consumers, pause and move them, wait for them, and have dead letters tried again."""
    await world.opened.wait()
    await asyncio.sleep(world.random.choice((0, 0.0003, 0.002)))
    for _ in range(4):
        await world.pause()
        if world.names:
            with suppress(AsyncBusError, TimeoutError):
                await world.random.choice(_ADMINISTERING)(world, world.random.choice(tuple(world.names.values())))


async def _pause(world: World, named: Named) -> None:
    await world.bus.pause(named.name)
    await world.pause()
    await world.bus.resume(named.name)


async def _look(world: World, named: Named) -> None:
    await world.bus.consumers()
    await world.bus.dead_letters(named.name)


async def _wait(world: World, named: Named) -> None:
    head = world.bus.statistics().head
    await world.bus.wait_processed(named.name, head, timeout=0.003)
    state = world.bus.statistics().consumers
    world.expect(
        named.sought or all(each.checkpoint >= head for each in state if each.name == named.name),
        f"{named.name} has not processed {head}",
    )


async def _retry(world: World, named: Named) -> None:
    async with asyncio.timeout(0.003):
        await world.bus.retry_dead_letters(named.name)


async def _discard(world: World, named: Named) -> None:
    named.discarded = True
    await world.bus.discard_dead_letters(named.name)


async def _seek(world: World, named: Named) -> None:
    named.sought = True
    start: Start = world.random.choice(("earliest", "latest", world.moment()))
    async with asyncio.timeout(0.003):
        await world.bus.seek(named.name, start=start)


async def _delete(world: World, named: Named) -> None:
    named.sought = True
    await world.bus.delete_consumer(named.name)


_ADMINISTERING = (_pause, _look, _wait, _wait, _retry, _retry, _retry, _discard, _seek, _delete)


# ---------------------------------------------------------------------------------------------- what must hold of them


def while_quiet(world: World) -> Iterator[str]:
    """Consumers that could go on, and owe something though nothing can happen any more."""
    if any(reader.stuck for reader in world.readers):  # one with when_full="block" stops the writer
        return
    for named in world.names.values():
        consumer = named.consumer
        if (
            consumer is None
            or named.left
            or named.sought
            or not consumer.is_open
            or consumer.is_paused
            or (consumer.in_flight and not _has_hands_free(consumer, named.held))
        ):
            continue  # what is in flight may hold up others, and nobody says what becomes of it
        missing = [
            row.sequence
            for row in _wanted(world, named)
            if not _is_settled(world, named, row.sequence) and row.sequence not in named.held
        ]
        if missing:
            yield f"{named.name} has not handled {missing}"
        elif not named.held and consumer.checkpoint != world.bus.statistics().head:
            yield f"{named.name} is done with all, but its checkpoint is {consumer.checkpoint}"


def _has_hands_free(consumer: Consumer, held: set[int]) -> bool:
    """Whether those of its handlers that hold an event leave room for others."""
    options = consumer.options
    return (
        options.order == "none"
        and {in_flight.record.sequence for in_flight in consumer.in_flight} <= held
        and len(held) < min(options.concurrency, options.max_in_flight)
        and not any(in_flight.suspect for in_flight in consumer.in_flight)  # which is alone
    )


def after(world: World) -> Iterator[str]:
    """States that were stored and not true."""
    yield from world.ledger.untrue


def _wanted(world: World, named: Named) -> list[Any]:
    return [row for row in world.ledger.rows.values() if named.wants(row.type)]


def _is_settled(world: World, named: Named, sequence: int) -> bool:
    return sequence in named.done or (named.name, sequence) in world.ledger.ever_parked


def owes(state: ConsumerState | None, sequence: int) -> bool:
    """Whether the stored state says that an event is not done."""
    if state is None or sequence > state.settled_to:
        return True
    return sequence > state.checkpoint and sequence in state.owed


async def live_again(world: World, bus: EventBus) -> list[str]:
    """All names once more, with handlers that never fail: they get what is owed, as often as was counted, no more."""
    problems: list[str] = []
    stored = dict(world.ledger.states)
    for named in world.names.values():
        if named.sought:
            continue
        state = stored.get(named.name)
        parked = {sequence for name, sequence in world.ledger.ever_parked if name == named.name}
        got: dict[int, int] = {}

        def handler(event: Event, delivery: Delivery, got: dict[int, int] = got) -> None:
            got[event.sequence] = got.get(event.sequence, 0) + delivery.attempt

        await bus.resume(named.name) if state is not None else None
        consumer = bus.consume(named.name, named.pattern, handler, retry=Retry(attempts=9))
        await world.loop.idle()
        owed = {row.sequence for row in _wanted(world, named) if owes(state, row.sequence)} - parked
        if consumer.error is not None or set(got) != owed:
            problems.append(f"{named.name} got {got} of {owed} in its second life, {consumer.error!r}, from {state}")
        problems += [
            f"{named.name} counted {attempt} attempts of {sequence}, from {state}"
            for sequence, attempt in got.items()
            if attempt != _attempts(state, sequence) + 1
        ]
    return problems


def _attempts(state: ConsumerState | None, sequence: int) -> int:
    if state is None or sequence > state.begun_to:
        return 0
    return state.owed[sequence].attempts if sequence <= state.settled_to else 1
