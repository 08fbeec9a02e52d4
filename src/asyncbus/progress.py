"""How far a subscription has got in the log, and who waits until it has got further."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from typing import Any, Literal

from asyncbus.events import Record
from asyncbus.fanout import Fanout
from asyncbus.futures import resolve


class Progress:
    """The place of a subscription in the log; `Receiving` moves it."""

    def __init__(self) -> None:
        # The task that iterates it or runs its handler, where it is known.
        self.reader: asyncio.Task[Any] | None = None
        self._fanout: Fanout | None = None
        self._open = True
        # What was read of the past goes before what came live; each is bounded by itself.
        self._page: deque[Record] = deque()
        self._queue: deque[Record] = deque()
        # Whether events come as they are committed.
        self._live = False
        # While catching up: every matching event at or below it was delivered or is in the page or the queue.
        self._read_to = 0
        # With which the reader waits for more.
        self._waiter: asyncio.Future[None] | None = None
        # Who waits for it, to be done up to which sequence.
        self._passed: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def phase(self) -> Literal["catching_up", "live"]:
        """Whether events come as they are committed, or are being read from the past."""
        return "live" if self._live else "catching_up"

    @property
    def position(self) -> int:
        """Every matching event at or below it was delivered; it moves over events that do not match."""
        if self._page:
            return self._page[0].sequence - 1
        if self._queue:
            return self._queue[0].sequence - 1
        return self._fanout.history.head if self._live and self._fanout is not None else self._read_to

    @property
    def backlog(self) -> int:
        """How many sequences the position is behind the head."""
        return 0 if self._fanout is None else max(self._fanout.history.head - self.position, 0)

    @property
    def open(self) -> bool:
        """Whether more events may come than it holds already."""
        return self._open

    @property
    def held(self) -> int:
        """Events it holds and has not delivered."""
        return len(self._page) + len(self._queue)

    # ------------------------------------------------------------------------------------------ who waits for it

    def is_read_beside(self, tasks: Collection[asyncio.Task[Any] | None]) -> bool:
        """Whether a task reads it that is none of `tasks`."""
        return self.reader is not None and self.reader not in tasks and not self.reader.done()

    def _know_reader(self) -> None:
        if self._fanout is not None:  # then there is a loop
            self.reader = asyncio.current_task()

    async def passed(self, sequence: int) -> None:
        """Wait until its reader is done with all events up to `sequence`, or it has ended and holds nothing more."""
        future = asyncio.get_running_loop().create_future()
        self._passed.append((sequence, future))
        if self._waiter is not None or self.reader is None or self.reader.done():  # no event is being handled
            self.tell_passed()
        await future

    def excuse(self) -> None:
        """Its reader itself waits for what waits for it: nobody is to wait for it any more."""
        for _, future in self._passed:
            resolve(future, None)

    async def finished(self) -> None:
        """Wait until what it holds was delivered and handled, or its reader is gone."""
        if self.reader is None:
            return
        delivered = asyncio.ensure_future(self.passed(self._read_to))
        try:
            await asyncio.wait([delivered, self.reader], return_when=asyncio.FIRST_COMPLETED)
        finally:
            delivered.cancel()

    def tell_passed(self) -> None:
        """Called where no event is being handled: let those go on who waited for that."""
        if self._passed:
            position = self.position
            ended = not self._open and not self.held
            for sequence, future in self._passed:
                if sequence <= position or ended:
                    resolve(future, None)
            self._passed = [(sequence, future) for sequence, future in self._passed if not future.done()]
