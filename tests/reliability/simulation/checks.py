"""What must hold in a simulated scene when nothing can happen any more, and when its bus has closed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from asyncbus import (
    BusClosedError,
    EventsLostError,
    PublishOutcomeUnknownError,
    StoreFailedError,
    StoreFullError,
    SubscriptionOverflowError,
)
from tests.reliability.simulation.disk import Faults, Row
from tests.reliability.simulation.world import Attempt, Reader, World


def while_quiet(world: World, actors: list[asyncio.Task[None]], *, harmed: bool) -> Iterator[str]:
    """Promises that do not hold, though nothing can happen any more and the bus is open.

    Args:
        world: the scene.
        actors: those of it that end by themselves.
        harmed: the store has failed, or the bus was hit where it is not to be: then some may wait no more.
    """
    stuck = any(reader.stuck for reader in world.readers)
    holding = any(named.held for named in world.names.values())  # for whom a drain waits as long as it may
    for actor in actors:
        if not (actor.done() or stuck or holding):
            yield f"{actor.get_name()} waits for ever"
    if harmed or stuck:
        return
    head = world.bus.statistics().head
    if head != world.ledger.head:
        yield f"the head is {head}, though {world.ledger.head} is stored"
    for reader in world.readers:
        subscription = reader.subscription
        if subscription is None or reader.left or reader.closed or reader.ended or not subscription.open:
            continue
        if subscription.position != head:
            yield f"{reader.name} is not level at {subscription.position}, the head is {head}"
        yield from _missing(world, reader)


def after(world: World, *, harmed: bool, faults: Faults) -> Iterator[str]:
    """Promises that were not kept, now that all is over."""
    yield from world.ledger.problems
    yield from world.problems
    stored: dict[str | bytes, list[int]] = {}
    for row in world.ledger.rows.values():
        stored.setdefault(row.data, []).append(row.sequence)
    for attempt in world.attempts:
        found = [stored.get(f'"{payload}"', []) for payload in attempt.payloads]
        yield from _of_attempt(world, attempt, found)
        yield from _of_error(attempt, harmed=harmed, faults=faults)
    yield from _order_of_publishers(world)
    for reader in world.readers:
        yield from _of_reader(world, reader, harmed=harmed)


def _of_attempt(world: World, attempt: Attempt, found: list[list[int]]) -> Iterator[str]:
    what = f"{attempt.payloads} ({attempt.outcome}, {attempt.error!r})"
    if attempt.id is not None:
        # Others may have stored it; the ledger sees to it that it was stored once.
        for sequence in attempt.sequences:
            row = world.ledger.rows.get(sequence)
            if row is None or (row.id, row.data) != (attempt.id, f'"{attempt.payloads[0]}"'):
                yield f"{what} was acknowledged with the sequence of {row}"
        return
    first = found[0][0] if found[0] else 0
    causes = {world.ledger.rows[sequence].causation_id for sequences in found for sequence in sequences}
    if causes - {attempt.cause}:
        yield f"{what} follows from {causes} and not from {attempt.cause}"
    torn = found != ([[first + place] for place in range(len(found))] if first else [[]] * len(found))
    if torn:
        yield f"{what} was stored as {found}"
    if attempt.outcome == "stored" and [[sequence] for sequence in attempt.sequences] != found:
        yield f"{what} was acknowledged as {attempt.sequences} and stored as {found}"
    if attempt.outcome == "not stored" and first:
        yield f"{what} was stored as {found}"


def _of_error(attempt: Attempt, *, harmed: bool, faults: Faults) -> Iterator[str]:
    """Every error has its cause."""
    match attempt.error:
        case BusClosedError() if attempt.accepted and not harmed:
            yield f"{attempt.payloads} was accepted and then forgotten"
        case StoreFullError() if not faults.full:
            yield f"{attempt.payloads}: {attempt.error!r}, though there was room"
        case StoreFailedError() if not (faults.failed or harmed):
            yield f"{attempt.payloads}: {attempt.error!r}, though nothing had failed"
        case PublishOutcomeUnknownError() as error if "within" not in str(error) and not (faults.failed or harmed):
            yield f"{attempt.payloads}: {attempt.error!r}, though nothing had failed"


def _order_of_publishers(world: World) -> Iterator[str]:
    last: dict[str, int] = {}
    for row in world.ledger.rows.values():
        name, _, number = str(row.data).strip('"').partition("/")
        if name.startswith("publisher"):
            if int(number) < last.get(name, -1):
                yield f"{name}/{number} was stored after {last[name]} of the same publisher"
            last[name] = int(number)


def _owed(world: World, reader: Reader) -> list[Row]:
    last = world.ledger.head if reader.owed_up_to is None else reader.owed_up_to
    return [
        row
        for row in world.ledger.rows.values()
        if reader.owed_above < row.sequence <= last
        and row.recorded_at >= reader.owed_since
        and _wants(reader.pattern, row.type)
    ]


def _wants(pattern: str, type: str) -> bool:
    """The grammar of patterns, told a second time."""
    return type.startswith(pattern[:-1]) if pattern.endswith("*") else type == pattern


def _missing(world: World, reader: Reader) -> Iterator[str]:
    if reader.when_full != "drop_oldest" and len(reader.got) < len(owed := _owed(world, reader)):
        yield f"{reader.name} has not got {[row.sequence for row in owed[len(reader.got) :]]}"


def _of_reader(world: World, reader: Reader, *, harmed: bool) -> Iterator[str]:
    owed = [row.sequence for row in _owed(world, reader)]
    got = reader.got
    error = reader.error
    if reader.subscription is not None:
        error = error or reader.subscription.error
    if reader.when_full == "drop_oldest":
        wanted = iter(owed)
        if not all(sequence in wanted for sequence in got):
            yield f"{reader.name} got {got} of {owed}"
        return
    if got != owed[: len(got)]:
        yield f"{reader.name} ({reader.pattern}, {reader.when_full}, above {reader.owed_above}) got {got} of {owed}"
    rest = owed[len(got) :]
    if reader.owed_up_to is not None and reader.ended and rest:
        yield f"{reader.name} ended before {rest}"
    match error:
        case EventsLostError(first=first, last=last):
            if not world.removes or last > world.ledger.floor or (rest and rest[0] < first):
                yield f"{reader.name} got {got} of {owed}, and then {error!r}; up to {world.ledger.floor} is gone"
        case SubscriptionOverflowError() if reader.when_full != "fail":
            yield f"{reader.name} with {reader.when_full}: {error!r}"
        case StoreFailedError() if not harmed:
            yield f"{reader.name}: {error!r}, though nothing had failed"
