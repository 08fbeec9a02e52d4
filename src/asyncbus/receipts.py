"""What became of a published event."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from copy import copy
from typing import Any

from msgspec import Struct

from asyncbus.batch import Submission
from asyncbus.errors import PublishOutcomeUnknownError, StoreFailedError, WrongEventLoopError, WrongThreadError
from asyncbus.events import Receipt
from asyncbus.inbox import Inbox
from asyncbus.options import check_seconds


class PendingReceipt(Struct, frozen=True, eq=False):
    """The receipt of an accepted event: its place in the order is fixed, its commit may be to come.

    Await it on the bus's loop, or ask for `result()` on another thread; as often as you like. It need not be looked at:
    failures that nobody waits for are counted and logged once a batch.
    """

    _submission: Submission
    _inbox: Inbox

    @property
    def done(self) -> bool:
        """Whether the outcome is known, so that awaiting it does not wait."""
        return self._submission.batch.settled

    def __await__(self) -> Generator[Any, None, Receipt]:
        batch = self._submission.batch
        if not batch.settled:
            if asyncio.get_running_loop() is not self._inbox.loop:
                raise WrongEventLoopError("this receipt belongs to another event loop; ask result() on other threads")
            yield from self._inbox.settling(batch, (self._submission,))
        return outcome(self._submission)

    def result(self, timeout: float | None = None) -> Receipt:
        """Wait for the outcome on a thread that is not the loop's, at most `timeout` seconds.

        Returns:
            The receipt.

        Raises:
            TimeoutError: it is not known in time; ask again.
            WrongThreadError: called on the loop's own thread before the outcome is known; await it there.
            AsyncBusError: what the write raised.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        batch = self._submission.batch
        if not batch.settled:
            if threading.get_ident() == self._inbox.thread:
                raise WrongThreadError("result() would block the event loop it waits for; await the receipt instead")
            self._inbox.settle_from_thread(self._submission, timeout)
        return outcome(self._submission)

    def __repr__(self) -> str:
        submission = self._submission
        state = f"sequence={submission.sequence}" if submission.sequence else "failed" if self.done else "pending"
        return f"PendingReceipt({submission.type!r}, {state})"


def outcome(submission: Submission) -> Receipt:
    """The receipt of an event whose batch is settled.

    Raises:
        AsyncBusError: why it was not stored, or that nobody knows.
    """
    error = submission.batch.error
    if error is None:
        if submission.sequence:
            return Receipt(submission.sequence, submission.duplicate)
        # A settled event has a sequence, or its batch an error.
        raise StoreFailedError("the store has not said what became of this event", outcome_unknown=True)
    # A sequence says nothing here: a store may have given it before it failed.
    if isinstance(error, StoreFailedError) and error.outcome_unknown:
        raise PublishOutcomeUnknownError(submission.id, error.reason) from error
    raise copy(error)
