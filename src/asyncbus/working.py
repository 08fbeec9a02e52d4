"""Runs the handler of a consumer: one event after the other, and what it raises is the outcome."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from asyncbus.consumer_options import Wanted
from asyncbus.delivery import Delivery
from asyncbus.errors import EffectsError, HandlerTimeoutError, InvalidHandlerError
from asyncbus.events import Event
from asyncbus.fencing import NotBegunError
from asyncbus.handlers import SLICE, is_cancelled
from asyncbus.ledger import Held
from asyncbus.resuming import Resuming
from asyncbus.surroundings import Surroundings

log = logging.getLogger("asyncbus")

ConsumerHandler: TypeAlias = Callable[[Event], Awaitable[Any] | Any] | Callable[[Event, Delivery], Awaitable[Any] | Any]
"""Called with each event, or with each event and its delivery; `async def` or a plain function."""

GRACE: Final = 1.0
"""Seconds that a handler has to end after it was cancelled."""

_LOOK_EVERY: Final = 64

_TURN: Final = 0.001
"""Seconds of a slice while more is being read or begun: so that it is there when this is done."""


def wants_delivery(handler: Callable[..., Any]) -> bool:
    """Whether a handler has a second parameter that must be given: it gets the delivery.

    Raises:
        InvalidHandlerError: it can be called neither with an event, nor with an event and its delivery.
    """
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # a callable of C may not say
        return False
    parameters = signature.parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [each for each in parameters if each.kind in positional and each.default is inspect.Parameter.empty]
    wants = len(needed) > 1
    try:
        signature.bind(*needed[:2], *(() if wants or needed else (None,)))
    except TypeError:
        raise InvalidHandlerError(handler) from None
    return wants


class Working(Resuming):
    """Takes what there is to hand out, runs the handler over it, and says what came of it."""

    def __init__(self, wanted: Wanted, surroundings: Surroundings) -> None:
        super().__init__(wanted, surroundings)
        handler, options = wanted.handler, wanted.options
        self._handler = handler
        self.decoding = wanted.decoding
        self._wants_delivery = handler is not None and wants_delivery(handler)
        self._awaited = inspect.iscoroutinefunction(handler)
        self._is_manual = options.ack == "manual"
        # Nothing but a call to be made: the hot path (benchmarks/bench_consumers.py).
        self._is_bare = not (self._wants_delivery or self._is_manual or options.timeout or options.effects)
        # Who runs the handler, and how many of them have an event.
        self._workers: list[asyncio.Task[None]] = []
        self._at_work = 0
        # By when what is in flight must have an outcome, in seconds of the loop's clock.
        self._deadlines: dict[Held, float] = {}
        self._timers: dict[Held, asyncio.TimerHandle] = {}
        # The tasks of handlers that have a time limit with their workers, and those that ignored its end.
        self._limited: dict[asyncio.Task[Any], asyncio.Task[Any] | None] = {}
        self._left_behind: set[asyncio.Task[None]] = set()
        # Events whose dead letters are done, until the database of their effects may forget them.
        self._released: set[int] = set()

    async def _work(self) -> None:
        """Handle events, one at a time, until nothing more is handed out."""
        handle = self._handle_many if self._is_bare else self._handle_one
        began = self._monotonic()
        while (held := await self._next_held()) is not None:
            self._at_work += 1
            try:
                await handle(held)
            finally:
                self._at_work -= 1
                if self._sought is not None:
                    self._nudge()
            if self._monotonic() - began >= SLICE:  # a handler that never waits gives others a turn
                await asyncio.sleep(0)
                began = self._monotonic()

    async def _handle_many(self, held: Held | None) -> None:
        """Handle what is at hand, and give others a turn after each slice of time."""
        handler, awaited = self._handler, self._awaited
        begin, event_of = self._around.history.being_handled.set, self.decoding.event
        assert handler is not None  # noqa: S101  # or nobody would work
        began = self._monotonic()
        look_after = 1
        while held is not None:
            # The clock is asked ever less often, for fast handlers are the hot path.
            for _ in range(look_after):
                try:
                    begin(held.record)
                    outcome = handler(event_of(held.record))
                    if awaited or inspect.isawaitable(outcome):
                        await outcome
                except BaseException as error:  # noqa: BLE001  # the handler is somebody else's code
                    self._judge(held, error)
                else:
                    is_awaited = self._hungry or self._passed or self._sought is not None
                    if is_awaited or held.suspect or held.leads or held.parked is not None:
                        self.finish(held)
                    else:  # as `finish` does, where nobody waits for anything: this runs for every event
                        self.handled += 1
                        self.in_flight.pop(held, None)  # it is gone where it has outlived its consumer
                        self._ledger.finish(held)
                held = self._take_nowait()
                if held is None:
                    return
            self._look_ahead()
            look_after = min(look_after * 2, _LOOK_EVERY)
            if self._monotonic() - began >= (_TURN if self._is_feeding else SLICE):
                await self._let_others(held)
                began, look_after = self._monotonic(), 1

    async def _let_others(self, held: Held) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._give_back(held)
            raise

    async def _handle_one(self, held: Held) -> None:
        """Handle one event with all that may be asked for beside the call."""
        assert self._handler is not None  # noqa: S101  # as above
        delivery = self._deliver(held) if self._wants_delivery or self._is_manual else None
        event = self.decoding.event(held.record) if delivery is None else delivery.event
        self._around.history.being_handled.set(held.record)
        call = functools.partial(self._handler, *((event, delivery) if self._wants_delivery else (event,)))
        try:
            await (self._within_time(held, call) if self._fencing is None else self._with_effect(held, call))
        except NotBegunError as error:
            self._give_back(held)
            if error.error is not None:
                self._end(error.error)
            return
        except BaseException as error:
            if delivery is None or self.in_flight.get(held) is delivery:
                self._judge(held, error)
                await self._pass_given_up()
            elif self._ends_worker(error):
                raise
            else:
                log.exception("consumer %s: error after the outcome of %r", self.name, delivery)
            return
        if delivery is not None and self.in_flight.get(held) is not delivery:
            await self._pass_given_up()
            return  # it has its outcome by the delivery
        if not self._is_manual:
            self.finish(held)
        elif self.options.timeout is not None:
            self._watch(held)

    async def _within_time(
        self, held: Held, call: Callable[[], Any], begun: asyncio.Future[None] | None = None
    ) -> None:
        """Call it, in a task of its own where it may take too long: one that ignores its end is left behind.

        Its time runs from now on, or from when `begun` is set.
        """
        if self.options.timeout is None:
            outcome = call()
            if inspect.isawaitable(outcome):
                await outcome
            return
        timeout = self.options.timeout
        loop = asyncio.get_running_loop()
        task = loop.create_task(_called(call), name=f"asyncbus consumer {self.name} handler")
        self._limit(task)
        try:
            if begun is not None:
                await asyncio.wait([task, begun], return_when=asyncio.FIRST_COMPLETED)
            self._begin_time(held)
            while not task.done():
                ends = self._deadlines.get(held)
                remaining = None if ends is None else ends - loop.time()  # none, where it has had its outcome
                if remaining is not None and remaining <= 0:
                    raise HandlerTimeoutError(self.name, held.record.sequence, timeout)
                await asyncio.wait([task], timeout=remaining)
        finally:
            if not task.done():
                await self._end_handler(task)
        task.result()

    async def _end_handler(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait([task], timeout=GRACE)
        if task.done():
            if not task.cancelled():
                task.exception()  # the outcome is decided, whatever it raised at last
        else:
            self._leave_behind(task)

    def _judge(self, held: Held, error: BaseException) -> None:
        if self._ends_worker(error):
            if isinstance(error, asyncio.CancelledError):
                self._give_back(held)
            raise error
        if held in self.in_flight:  # or it has outlived its consumer, and nobody waits for its outcome
            self.fail(held, error)

    def _ends_worker(self, error: BaseException) -> bool:
        """Whether it is meant for the task that runs the handler, or for the interpreter, and not for an event."""
        if isinstance(error, asyncio.CancelledError):
            return is_cancelled()
        if isinstance(error, GeneratorExit):  # the handler's own, unless the task is thrown away, with its loop say
            return _running_task() not in self._workers
        return isinstance(error, KeyboardInterrupt | SystemExit)

    # --------------------------------------------------------------------------------------------------- handing out

    def _deliver(self, held: Held) -> Delivery:
        """The delivery of what was taken."""
        delivery = self.in_flight[held] = Delivery(self, held, self._around.publish)
        return delivery

    async def _with_effect(self, held: Held, call: Callable[[], Any]) -> None:
        """Run a handler so that it has its effect once."""
        fencing = self._fencing
        assert fencing is not None  # noqa: S101  # or nobody would ask for it
        async with fencing.turn:
            while self.has_unstored_letters:  # the dead letter first, then the checkpoint that passes it
                await self._store_begun()
            fencing.forget(self._released)
            self._released.clear()
            checkpoint = functools.partial(self._checkpoint_without, held)
            begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            wanted = functools.partial(self._call_if_wanted, held, call, begun)
            apply = functools.partial(fencing.apply, held, checkpoint, wanted, lambda: self.is_open)
            try:
                await self._within_time(held, apply, begun)
            except _UnwantedError:
                pass
            except (NotBegunError, EffectsError):
                raise  # a handler that has ended the transaction has committed its state, and perhaps half an effect
            except Exception:
                if not await fencing.has_committed(held):
                    raise

    async def _call_if_wanted(self, held: Held, call: Callable[[], Any], begun: asyncio.Future[None]) -> None:
        begun.set_result(None)
        await _called(call)
        if asyncio.current_task() in self._left_behind:  # nobody waits for it: its event has another outcome
            raise asyncio.CancelledError
        if held.failures and held.failures[-1].attempt == held.attempts:  # by a nak or a reject of its own
            raise _UnwantedError

    def _checkpoint_without(self, held: Held) -> int:
        return self._ledger.checkpoint_without(held, self._feed.position)

    async def _pass_given_up(self) -> None:
        """Where nothing follows that has an effect, tell the database of what was parked or skipped."""
        if self._fencing is None or not self.is_open or self.held:
            return
        try:
            async with self._fencing.turn:
                await self._store_begun()
                await self._fencing.pass_by(self.checkpoint)
        except Exception:  # the database is somebody else's
            log.exception("consumer %s: its database has not heard what was parked or skipped", self.name)

    def _settled(self, held: Held, *, is_done: bool) -> None:
        if is_done and held.parked is not None and self._fencing is not None:
            self._released.add(held.record.sequence)

    def _limit(self, task: asyncio.Task[None]) -> None:
        """A handler runs in a task of its own."""
        self._limited[task] = asyncio.current_task()
        task.add_done_callback(lambda _: self._limited.pop(task, None))

    def _leave_behind(self, task: asyncio.Task[None]) -> None:
        """A handler ignores that it was cancelled: it goes on by itself, and its place is free."""
        self._left_behind.add(task)
        task.add_done_callback(self._left_behind.discard)
        log.error("a handler of consumer %s ignored its cancellation and is still running", self.name)

    def _begin_time(self, held: Held) -> None:
        """Its timeout begins."""
        if self.options.timeout is not None:
            self._deadlines[held] = asyncio.get_running_loop().time() + self.options.timeout

    def extend(self, held: Held) -> None:
        """Its timeout begins anew."""
        self._begin_time(held)

    def _watch(self, held: Held) -> None:
        """Let it fail when its time is over."""
        self._timers[held] = asyncio.get_running_loop().call_at(self._deadlines[held], self._expire, held)

    def _expire(self, held: Held) -> None:
        if held not in self._deadlines or self.options.timeout is None:
            return
        if asyncio.get_running_loop().time() < self._deadlines[held]:
            self._watch(held)
        else:
            self.fail(held, HandlerTimeoutError(self.name, held.record.sequence, self.options.timeout))

    def _forget_times(self) -> None:
        """What was in flight has no time limit any more."""
        self._deadlines.clear()
        while self._timers:
            self._timers.popitem()[1].cancel()

    def _leave_flight(self, held: Held) -> None:
        super()._leave_flight(held)
        if self._deadlines:
            self._deadlines.pop(held, None)
            timer = self._timers.pop(held, None)
            if timer is not None:
                timer.cancel()


class _UnwantedError(Exception):
    """The handler has given an outcome with which its effect must not be: it is rolled back."""


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop is running
        return None


async def _called(call: Callable[[], Any]) -> None:
    outcome = call()
    if inspect.isawaitable(outcome):
        await outcome
