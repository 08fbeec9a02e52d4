"""An event loop without a clock, a selector or threads: which callback runs next is a seeded choice."""

from __future__ import annotations

import asyncio
import gc
import heapq
import inspect
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from itertools import count
from random import Random
from types import AsyncGeneratorType, CodeType, CoroutineType, GeneratorType
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple

from tests.reliability.trials import Violation

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TURN: Final = 10e-6
"""Virtual seconds that each callback takes: so timers come between callbacks, and not only when nothing is ready."""

_KINDS: Final = {
    CoroutineType: ("cr_frame", "cr_await"),
    GeneratorType: ("gi_frame", "gi_yieldfrom"),  # an `__await__`
    AsyncGeneratorType: ("ag_frame", "ag_await"),
}

_MOST_TURNS: Final = 100_000


class Steps(Protocol):
    """Looks at each step of each task."""

    def before(self, task: asyncio.Task[Any]) -> None:
        """It is about to go on."""
        ...

    def after(self, task: asyncio.Task[Any]) -> None:
        """It waits for something, or has ended."""
        ...


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Runs one scene; where nothing is ready, the time jumps to the next timer.

    Tasks that are ready go on in any order. What asyncio promises stays: the callbacks of one future, and those given
    to `call_soon`, run in the order in which they came.

    Args:
        random: makes the choices.
        in_order: whatever is ready first runs first, as asyncio's own loops do it.

    Attributes:
        tasks: all that were made, in order.
        unhandled: what nobody caught.
        steps: look at each step of each task.
    """

    def __init__(self, random: Random, *, in_order: bool) -> None:
        self._random = random
        self._in_order = in_order
        self._now = 0.0
        self._ready: list[tuple[object, asyncio.Handle]] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._ties = count()
        self._idle: asyncio.Future[None] | None = None
        self.turns = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.unhandled: list[str] = []
        self.steps: Sequence[Steps] = ()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until `main` has ended."""
        task = self.create_task(main, name="main")
        asyncio._set_running_loop(self)
        try:
            while not task.done():
                if not self._turn():
                    self._tell_idle()
        finally:
            self._end()
            asyncio._set_running_loop(None)
        result: T = task.result()
        return result

    def _end(self) -> None:
        """Nothing may be left to whoever collects the garbage, also of a scene that has failed."""
        self.steps = ()
        for task in self.tasks:
            task.cancel()
        while self._turn():
            pass

    async def idle(self) -> None:
        """Wait until nothing can happen any more: nothing is ready, and no timer is set."""
        self._idle = self.create_future()
        await self._idle

    def pass_time(self, seconds: float) -> None:
        """Somebody computes for so long."""
        self._now += seconds

    def _tell_idle(self) -> None:
        if self._idle is None or self._idle.done():
            raise Violation(f"nothing can happen any more:\n{self.waiting()}")
        self._idle.set_result(None)

    def _turn(self) -> bool:
        """Run what is next; False: there is nothing."""
        while self._timers and (self._timers[0][0] <= self._now or not self._ready):
            when, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                self._now = max(self._now, when)
                self._make_ready(timer)
        if not self._ready:
            return False
        self.turns += 1
        if self.turns > _MOST_TURNS:
            raise Violation(f"it never ends:\n{self.waiting()}")
        _, handle = self._ready.pop(self._choose())
        self._now += TURN
        if not handle.cancelled():
            self._run(handle)
        return True

    def _choose(self) -> int:
        if self._in_order or len(self._ready) == 1:
            return 0
        chain, _ = self._random.choice(self._ready)
        return next(place for place, (other, _) in enumerate(self._ready) if other is chain)

    def _run(self, handle: asyncio.Handle) -> None:
        task = getattr(_parts(handle)[0], "__self__", None)
        if not isinstance(task, asyncio.Task):
            handle._run()
            return
        for steps in self.steps:
            steps.before(task)
        handle._run()
        for steps in self.steps:
            steps.after(task)

    def _make_ready(self, handle: asyncio.Handle) -> None:
        callback, args = _parts(handle)
        # What must stay in order: a future's callbacks, which get it as their argument; and plain ones.
        if args and isinstance(args[0], asyncio.Future):
            chain: object = args[0]
        else:
            chain = callback if isinstance(getattr(callback, "__self__", None), asyncio.Task) else None
        self._ready.append((chain, handle))

    def waiting(self) -> str:
        """Which tasks have not ended, and where they wait."""
        return "\n".join(f"  {task.get_name()}: {where(task)}" for task in self.tasks if not task.done())

    # ------------------------------------------------------------------------------------- what asyncio wants of a loop

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._make_ready(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._ties), timer))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, **options)
        self.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it is passed over when its time comes


def _parts(handle: asyncio.Handle) -> tuple[object, Sequence[Any]]:
    # Nothing else tells whose step it is; asyncio's own loops look there as well.
    return handle._callback, handle._args  # type: ignore[attr-defined]  # typeshed hides the first


def frames(task: asyncio.Task[Any]) -> list[tuple[CodeType, int]]:
    """Where a task waits: the code and the line of each coroutine, from the outermost one inwards."""
    found = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        kind = _KINDS.get(type(awaited))
        if kind is None:
            # A step of an asynchronous generator does not say whose it is; anything else is no frame of Python's.
            awaited = next(filter(inspect.isasyncgen, gc.get_referents(awaited)), None)
            continue
        frame = getattr(awaited, kind[0])
        if frame is not None:
            found.append((frame.f_code, frame.f_lineno))
        awaited = getattr(awaited, kind[1])
    return found


def where(task: asyncio.Task[Any]) -> str:
    """The same, to be read."""
    return " > ".join(f"{code.co_name}:{line}" for code, line in frames(task))
