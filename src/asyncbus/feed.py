"""What a consumer reads of the log: a subscription that is taken from in lumps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncbus.events import Record
from asyncbus.fanout import Fanout
from asyncbus.patterns import Pattern
from asyncbus.subscription import Subscription

_CAPACITY: Final = 1024


class Feed(Subscription):
    """A subscription without an iterator: it tells that there is something to take, and is taken from.

    Args:
        pattern: which events.
        name: of the consumer.
        rank: as subscriptions have one.
        on_wake: called when there may be more at hand, or it has ended.
        on_end: as subscriptions have one.
    """

    def __init__(
        self,
        pattern: Pattern,
        *,
        name: str,
        rank: tuple[int, int],
        on_wake: Callable[[], None],
        on_end: Callable[[Subscription], None],
    ) -> None:
        super().__init__(
            pattern,
            name=f"consumer {name}",
            start="latest",
            capacity=_CAPACITY,
            when_full="catch_up",
            where=None,
            rank=rank,
            handled=True,
            on_end=on_end,
        )
        self._on_wake = on_wake

    def attach_after(self, fanout: Fanout, sequence: int) -> None:
        """Begin to take part with the first event after `sequence`.

        Raises:
            EventsLostError: some of them were removed.
        """
        self._start = sequence + 1
        self.attach(fanout)

    def wake(self) -> None:
        """Tell the consumer."""
        self._on_wake()

    def take(self, limit: int) -> list[Record]:
        """The next events that are at hand, at most `limit`, ascending."""
        taken: list[Record] = []
        for source in (self._page, self._queue):
            if len(source) <= limit - len(taken):
                taken += source
                source.clear()
            else:
                taken += [source.popleft() for _ in range(limit - len(taken))]
        self.delivered += len(taken)
        return taken

    async def read_on(self) -> bool:
        """Where it is catching up and has nothing at hand, read a page.

        Returns:
            Whether there was one to read; if not, `wake` tells of the next event.
        """
        if self.held or self._live or not self._open or self._fanout is None:
            return False
        await self._catch_up(self._fanout)
        return True
