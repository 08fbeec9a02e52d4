"""The database in which a consumer has its effects: the two methods that make any database one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Effects(Protocol):
    """The database in which a consumer has its effects: two methods make any database one.

    What `transaction` saves for a consumer, `load` must return once it is committed, and only then. A consumer begins
    one transaction after the other, never two at once.
    """

    async def load(self, consumer: str) -> str | None:
        """What was saved for this consumer with its last effect that was committed; None: nothing yet.

        Called before the first transaction, and again where the outcome of one is not known.
        """
        ...

    def transaction(self, consumer: str, state: str) -> AbstractAsyncContextManager[object]:
        """Begin a transaction; save `state` in it for the consumer; commit when the block ends.

        An exception before the block has begun is no attempt at an event. It is tried again where the database is only
        busy or does not answer (`OSError`; by SQLite's error code or the SQLSTATE a conflict or a lock), and ends the
        consumer where not.

        Where the block raises or is cancelled, all of it is rolled back and the exception goes on. An exception though
        the block has ended means that nothing is known before `load` is asked, unless it says more.
        """
        ...
