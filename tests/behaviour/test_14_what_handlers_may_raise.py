"""Durable consumers: whatever a handler raises concerns its event, and nothing else."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncbus import Delivery, Event, Reject
from tests.behaviour.consuming import ONCE, THREE_AT_ONCE, FailingHandler, Handler, publish_batch, settled
from tests.behaviour.projection import projection
from tests.behaviour.stage import Log, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20), pytest.mark.fault(56)]


class _WordlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class _UntraceableError(Exception):
    @property
    def __notes__(self) -> Any:  # type: ignore[override]  # that is why it cannot be shown
        raise RuntimeError("no notes")


class _OtherReject(Reject):
    def __init__(self, count: int) -> None:  # does not call that of `Reject`
        self.count = count


RAISED: dict[str, tuple[Callable[[], BaseException], str]] = {
    "no text": (_WordlessError, "_WordlessError, whose text raised RuntimeError"),
    "no traceback": (lambda: _UntraceableError("far"), "_UntraceableError: far"),
    "a text that is no Unicode": (lambda: ValueError("\ud800"), "ValueError: \\ud800"),
    "that a generator is closed": (lambda: GeneratorExit("shut"), "GeneratorExit: shut"),
    "of no class of Exception": (lambda: BaseException("base"), "BaseException: base"),
    "a group of them": (
        lambda: BaseExceptionGroup("some", [asyncio.CancelledError()]),
        "BaseExceptionGroup: some (1 sub-exception)",
    ),
    "a reason that is an error": (lambda: Reject(ValueError("x")), "x"),
    "a class of one's own that rejects": (lambda: _OtherReject(3), "3"),
}


@pytest.mark.parametrize("how", ["awaited", "plain", "timeout", "manual", "effects"])
@pytest.mark.parametrize("what", RAISED)
async def test_whatever_it_raises_is_the_failure_of_its_event(
    what: str, how: str, memory_log: Log, tmp_path: Path
) -> None:
    error, text = RAISED[what]
    done: list[int] = []

    def plain(event: Event) -> None:
        if event.sequence == 1:
            raise error()
        done.append(event.sequence)

    async def awaited(event: Event) -> None:
        await asyncio.sleep(0)
        plain(event)

    async def manual(event: Event, delivery: Delivery) -> None:
        plain(event)
        await delivery.ack()

    async with projection(tmp_path / "blocks.db") as blocks, memory_log.bus() as bus:
        every: dict[str, dict[str, Any]] = {
            "timeout": {"timeout": 60},
            "manual": {"ack": "manual"},
            "effects": {"effects": blocks.effects},
        }
        handler: Any = {"plain": plain, "manual": manual}.get(how, awaited)
        consumer = bus.consume("one", "a", handler, retry=ONCE, **every.get(how, {}))
        await publish_batch(bus, 2)
        await settled(bus)
        [letter] = await bus.dead_letters("one")
        assert (letter.event.sequence, letter.error) == (1, text)
        assert "\n" in letter.traceback
        assert (done, consumer.error) == ([2], None)


async def test_what_is_no_exception_of_a_class_that_can_be_named_is_tried_again(log: Log) -> None:
    async def act(delivery: Delivery) -> None:
        if delivery.attempt < 3:
            raise BaseExceptionGroup("some", [asyncio.CancelledError()])

    handler = Handler(act)
    async with log.bus() as bus:
        bus.consume("one", "a", handler, retry=THREE_AT_ONCE)
        await publish_batch(bus, 1)
        await settled(bus)
        assert await bus.dead_letters("one") == []
    assert handler.got == [(1, 1), (1, 2), (1, 3)]


async def test_what_it_raises_after_its_outcome_changes_nothing_whatever_it_is(memory_log: Log) -> None:
    async def act(delivery: Delivery) -> None:
        await delivery.ack()
        if delivery.event.sequence == 1:
            raise asyncio.CancelledError  # of something that it has awaited, say
        if delivery.event.sequence == 2:
            raise GeneratorExit

    handler = Handler(act)
    async with memory_log.bus() as bus:
        consumer = bus.consume("one", "a", handler)
        await publish_batch(bus, 3)
        await settled(bus)
        assert (handler.sequences, consumer.error, consumer.statistics().failed) == ([1, 2, 3], None, 0)


async def test_a_worker_that_is_thrown_away_with_its_loop_handles_nothing_more(memory_log: Log) -> None:
    handling = FailingHandler()
    handling.gate.clear()
    async with memory_log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle)
        await publish_batch(bus, 2)
        await until(lambda: handling.got)
        [worker] = consumer._workers
        coroutine: Any = worker.get_coro()
        coroutine.close()  # as the interpreter does with what is left behind; it is told where that is ignored
        worker.cancel()
        await until(lambda: consumer.error)
        assert (handling.got, consumer.statistics().failed) == ([1], 0)
