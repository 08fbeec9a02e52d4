"""`GilYielder`, on a loop whose time moves only when nothing is ready, or when a test says that somebody computed."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable

import pytest

from asyncbus.store.gil import TICK, GilYielder

LONG = 10 * TICK


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when there is nothing else to do."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers_set = 0
        super().__init__(_StillSelector(self))

    def time(self) -> float:
        return self.now

    def call_at(self, *args: object, **options: object) -> asyncio.TimerHandle:
        self.timers_set += 1
        return super().call_at(*args, **options)  # type: ignore[arg-type]  # passed on as they came


class _StillSelector(selectors.DefaultSelector):
    def __init__(self, loop: StillLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.now += timeout or 0.0
        return super().select(0)


class Scene:
    """A yielder on a still loop, and what it did."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.yielder = GilYielder(self.pauses.append)

    @property
    def loop(self) -> StillLoop:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, StillLoop)
        return loop

    async def wait(self, seconds: float) -> None:
        """The loop has nothing to do for so long, of its own time."""
        await asyncio.sleep(seconds)

    async def compute(self, seconds: float) -> None:
        """Somebody keeps the loop for so long, then gives others a turn."""
        self.loop.now += seconds
        for _ in range(3):
            await asyncio.sleep(0)


def play(story: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await story()

    with asyncio.Runner(loop_factory=StillLoop) as runner:
        runner.run(main())


def test_no_timer_is_set_while_nothing_is_in_flight() -> None:
    async def story() -> None:
        scene = Scene()
        with scene.yielder:
            await scene.wait(LONG)
        await scene.wait(2 * TICK)
        before = scene.loop.timers_set
        await scene.wait(100 * TICK)
        assert scene.loop.timers_set == before + 1, "the test's own"

    play(story)


def test_others_get_the_gil_at_each_tick_also_where_the_loop_is_never_late() -> None:
    async def story() -> None:
        scene = Scene()
        with scene.yielder:
            await scene.wait(LONG)
            assert scene.loop.timers_set > LONG / TICK / 2, "again and again"
        assert len(scene.pauses) > LONG / TICK / 2

    play(story)


def test_the_gil_is_given_up_when_the_loop_is_late_and_something_is_in_flight() -> None:
    async def story() -> None:
        scene = Scene()
        with scene.yielder:
            for times in range(1, 6):
                await scene.compute(LONG)
                assert len(scene.pauses) == times
        assert all(0 < pause < 0.001 for pause in scene.pauses)

    play(story)


def test_operations_that_end_soon_are_left_alone_however_many_follow_each_other() -> None:
    async def story() -> None:
        scene = Scene()
        for _ in range(100):
            with scene.yielder:
                await scene.wait(TICK / 5)
        assert scene.pauses == []

    play(story)


def test_nothing_is_given_up_when_the_operation_has_ended() -> None:
    async def story() -> None:
        scene = Scene()
        with scene.yielder:
            await scene.wait(0)
        await scene.compute(LONG)
        await scene.compute(LONG)
        assert scene.pauses == []

    play(story)


def test_operations_that_overlap_share_one_timer() -> None:
    async def story() -> None:
        scene = Scene()
        with scene.yielder, scene.yielder, scene.yielder:
            assert scene.loop.timers_set == 1
            await scene.compute(LONG)
            assert len(scene.pauses) == 1
        with scene.yielder:
            await scene.compute(LONG)
        assert len(scene.pauses) == 2

    play(story)


def test_an_operation_that_fails_is_not_in_flight_any_more() -> None:
    async def story() -> None:
        scene = Scene()
        with pytest.raises(ZeroDivisionError), scene.yielder:
            _ = 1 / 0
        await scene.compute(LONG)
        before = scene.loop.timers_set
        await scene.compute(LONG)
        assert scene.pauses == []
        assert scene.loop.timers_set == before

    play(story)


def test_on_the_next_loop_it_works_as_on_the_first() -> None:
    scene = Scene()

    async def story() -> None:
        before = len(scene.pauses)
        with scene.yielder:
            await scene.compute(LONG)
            assert len(scene.pauses) == before + 1

    play(story)
    # As with two calls of asyncio.run: the first loop ended with a timer set.
    play(story)
