"""Commands for durable consumers and their dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from cyclopts import App

from asyncbus.cli import printing
from asyncbus.cli.arguments import Bound, Flag, Format, Limit, Start, pattern
from asyncbus.cli.opening import reading, writing
from asyncbus.cli.refusing import RefusedError
from asyncbus.dead_letters import DeadLetter
from asyncbus.errors import UnknownConsumerError
from asyncbus.rows import event_row

_CONSUMERS: Final = (
    *("name", "pattern", "checkpoint", "backlog", "redelivered", "dead_letters", "paused"),
    "active_since",
)
_LETTERS: Final = ("number", "consumer", "time", "sequence", "type", "key", "attempts", "error", "data")

consumers: Final = App(name="consumers", help="Durable consumers: list, move, pause, resume and delete them.")
dead_letters: Final = App(name="dead-letters", help="Events that consumers could not handle: list, show, discard them.")


@consumers.command(name="list")
async def list_consumers(store: str, /, *, format: Format = "table") -> None:
    """Say of each consumer how far it is and what it owes.

    Args:
        store: the log; it may be in use.
        format: how they are printed.
    """
    async with reading(store) as bus:
        found = [{name: getattr(each, name) for name in _CONSUMERS} for each in await bus.consumers()]
    printing.rows(format, _CONSUMERS, found)


@consumers.command
async def seek(store: str, name: str, /, *, start: Start) -> None:
    """Have a consumer go on somewhere else.

    Args:
        store: the log; no application may hold it.
        name: of the consumer.
        start: where it goes on: the first event it gets then.
    """
    async with writing(store, must_exist=True) as bus:
        with _known(name):
            await bus.seek(name, start=start)


@consumers.command
async def pause(store: str, name: str, /) -> None:
    """Have a consumer get no events until it is resumed.

    Args:
        store: the log; no application may hold it.
        name: of the consumer.
    """
    async with writing(store, must_exist=True) as bus:
        with _known(name):
            await bus.pause(name)


@consumers.command
async def resume(store: str, name: str, /) -> None:
    """Undo a pause.

    Args:
        store: the log; no application may hold it.
        name: of the consumer.
    """
    async with writing(store, must_exist=True) as bus:
        with _known(name):
            await bus.resume(name)


@consumers.command
async def delete(store: str, name: str, /) -> None:
    """Forget a consumer: where it is, what it owes, and its dead letters.

    Args:
        store: the log; no application may hold it.
        name: of the consumer.
    """
    async with writing(store, must_exist=True) as bus:
        with _known(name):
            await bus.delete_consumer(name)


@dead_letters.command(name="list")
async def list_letters(
    store: str,
    /,
    *patterns: str,
    consumer: str | None = None,
    start: Bound = None,
    stop: Bound = None,
    limit: Limit = None,
    format: Format = "table",
) -> None:
    """List dead letters, in the order in which they were parked.

    Args:
        store: the log; it may be in use.
        patterns: event types, or prefixes that end in *; none: all.
        consumer: only of this one.
        start: the first event's sequence wanted, or parked at this time or later.
        stop: the first event's sequence, or time of parking, not wanted any more.
        limit: at most so many; else all.
        format: how they are printed.
    """
    async with reading(store) as bus:
        found = await bus.dead_letters(consumer, pattern(patterns), start=start, stop=stop, limit=limit)
    printing.rows(format, _LETTERS, [_row(letter) for letter in found])


@dead_letters.command
async def show(store: str, number: int, /, *, format: Format = "table") -> None:
    """Show one dead letter with all its attempts, and the traceback of the last.

    Args:
        store: the log; it may be in use.
        number: of the dead letter, as `dead-letters list` has it.
        format: how it is printed.
    """
    async with reading(store) as bus:
        found = await bus.dead_letters(after=max(number - 1, 0), limit=1)
    if not found or found[0].number != number:
        raise RefusedError(f"there is no dead letter {number}; `asyncbus dead-letters list` has their numbers")
    letter = found[0]
    row = event_row(letter.event) | _row(letter)
    row["history"] = [{"attempt": each.attempt, "time": each.time, "error": each.error} for each in letter.history]
    row["traceback"] = letter.traceback
    if format != "table":
        printing.rows(format, tuple(row), [row])
        return
    for name in [name for name in row if name not in {"history", "traceback"}]:
        print(f"{name}: {printing.shown(row[name])}")
    for each in letter.history:
        print(f"attempt {each.attempt}, {printing.shown(each.time)}: {printing.printable(each.error)}")
    for line in letter.traceback.splitlines():
        print(printing.printable(line))


@dead_letters.command
def retry(store: str, consumer: str, /) -> NoReturn:  # noqa: ARG001  # every command takes a store
    """Say how dead letters are tried again: only the running application can, for it has the handler.

    Args:
        store: the log.
        consumer: whose they are.
    """
    raise RefusedError(
        f"only the application that runs consumer {consumer!r} can try its dead letters again, for it has the handler:"
        f" there, `await bus.retry_dead_letters({consumer!r})`"
    )


@dead_letters.command
async def discard(
    store: str,
    consumer: str,
    /,
    *patterns: str,
    start: Bound = None,
    stop: Bound = None,
    limit: Limit = None,
    all: Flag = False,
) -> None:
    """Remove dead letters of a consumer for good; print how many.

    Args:
        store: the log; no application may hold it.
        consumer: whose they are.
        patterns: event types, or prefixes that end in *.
        start: the first event's sequence, or parked at this time or later.
        stop: the first event's sequence, or time of parking, that stays.
        limit: at most so many, the oldest first.
        all: whatever they are; asked for where nothing else is said.
    """
    if not (all or patterns or start is not None or stop is not None or limit is not None):
        raise RefusedError("say which with patterns, --start, --stop or --limit, or --all", status=2)
    async with writing(store, must_exist=True) as bus:
        with _known(consumer):
            removed = await bus.discard_dead_letters(consumer, pattern(patterns), start=start, stop=stop, limit=limit)
    print(removed)


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "number": letter.number,
        "consumer": letter.consumer,
        "time": letter.time,
        "sequence": letter.event.sequence,
        "type": letter.event.type,
        "key": letter.event.key,
        "attempts": letter.attempts,
        "error": letter.error,
        "data": event_row(letter.event).get("data"),
    }


@contextmanager
def _known(consumer: str) -> Iterator[None]:
    """That there is no such consumer is an answer, and no fault of the store."""
    try:
        yield
    except UnknownConsumerError as error:
        raise RefusedError(f"there is no consumer {consumer!r}; `asyncbus consumers list` has their names") from error
