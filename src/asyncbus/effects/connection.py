"""What effects on one connection share: begin, save the state, run the block, commit, and nothing half done."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final
from weakref import WeakValueDictionary

from asyncbus.errors import EffectsError
from asyncbus.shielded import to_its_end

CREATE: Final = "CREATE TABLE IF NOT EXISTS asyncbus_checkpoints (consumer TEXT PRIMARY KEY, state TEXT NOT NULL)"

OPEN: Final = (
    "cannot begin a transaction, for one is open on its connection: commit or roll back first, give the effects a"
    " connection that nobody else uses, and do not connect with autocommit=False"
)
ENDED: Final = (
    "had the transaction ended inside its handler (commit, rollback, executescript, or an error after which the"
    " database rolls back by itself): let it be committed when the handler returns, and see what the database holds of"
    " this event before going on"
)
OTHER: Final = (
    "has another state in the database than when it was loaded: another process or bus uses its name with the same"
    " database; stop that one, or give this one a name of its own"
)

# By the id of the connection, which lives as long as the effects that hold the lock.
_locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()


class OnConnection(ABC):
    """What both ready-made ones share: when what is done, whoever is cancelled."""

    def __init__(self, connection: object) -> None:
        # A connection has one transaction at a time, however many consumers use it.
        self._lock = _locks.setdefault(id(connection), asyncio.Lock())
        # A transaction of ours, until it has ended.
        self._is_open = False
        # By consumer, as far as is known here: what others saved meanwhile is not to be replaced.
        self._saved: dict[str, str | None] = {}

    async def load(self, consumer: str) -> str | None:
        """What was saved for this consumer with its last effect that was committed; None: nothing yet.

        The first time it creates the table `asyncbus_checkpoints`.

        Raises:
            EffectsError: a transaction is open on the connection.
        """
        async with self._lock:
            await self._end_the_last_one()
            await self._prepare(consumer)
            self._saved[consumer] = state = await self._read(consumer)
            return state

    @asynccontextmanager
    async def transaction(self, consumer: str, state: str) -> AsyncIterator[None]:
        """Begin a transaction, save `state` in it for the consumer, and commit when the block ends.

        It waits for its turn on the connection. Where the block raises or is cancelled, all of it is rolled back, and
        the exception goes on unchanged. Beginning, committing and rolling back are waited for also where this is
        cancelled, so nothing is left open or half done; the cancellation goes on afterwards.

        Raises:
            EffectsError: a transaction was open already; or the block has ended this one by itself; or the state was
                changed since `load` by somebody else. Nothing was committed, but by the block itself.
        """
        async with self._lock:
            await self._end_the_last_one()
            try:
                await to_its_end(self._begin(consumer))
                await self._save(consumer, state)
                yield
            except BaseException as error:
                if self._is_open:
                    await self._undo(self._give_up(consumer, state), error)
                raise
            await to_its_end(self._finish(consumer, state))

    async def _end_the_last_one(self) -> None:
        if self._is_open:  # it could not be rolled back at the time
            await to_its_end(self._roll_back())

    async def _give_up(self, consumer: str, state: str) -> None:
        await self._roll_back()
        if state != self._saved.get(consumer) and state == await self._read(consumer):
            raise EffectsError(consumer, ENDED)

    async def _finish(self, consumer: str, state: str) -> None:
        try:
            await self._commit(consumer)
        except BaseException as error:
            await self._undo(self._roll_back(), error)
            raise
        self._is_open = False
        self._saved[consumer] = state

    async def _undo(self, work: Coroutine[Any, Any, None], error: BaseException) -> None:
        """Roll back because of `error`; what goes wrong with that is noted there, for it is no reason of its own."""
        try:
            await to_its_end(work)
        except Exception as failed:
            if isinstance(failed, EffectsError) and isinstance(error, Exception):
                raise
            error.add_note(f"rolling back: {failed!r}")

    @abstractmethod
    async def _prepare(self, consumer: str) -> None:
        """See that no transaction is open, and that the table is there."""

    @abstractmethod
    async def _read(self, consumer: str) -> str | None:
        """What is saved."""

    @abstractmethod
    async def _begin(self, consumer: str) -> None:
        """Begin a transaction, and note that it is open."""

    @abstractmethod
    async def _save(self, consumer: str, state: str) -> None:
        """Replace the state that is known, and set a savepoint: it is gone if the transaction ends before its time."""

    @abstractmethod
    async def _commit(self, consumer: str) -> None:
        """Commit if the savepoint is there."""

    @abstractmethod
    async def _roll_back(self) -> None:
        """Leave no transaction open, and note that."""
