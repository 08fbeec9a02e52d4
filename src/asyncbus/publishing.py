"""The publishers' side of a bus."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sized
from copy import copy
from datetime import datetime
from typing import Any, Final, Literal, NoReturn, TypeAlias, overload

from msgspec.structs import astuple

from asyncbus.batch import OUTSIDE, Submission
from asyncbus.encoder import Encoder
from asyncbus.errors import (
    AsyncBusError,
    InboxFullError,
    InvalidOptionError,
    PublishOutcomeUnknownError,
    WouldDeadlockError,
    WrongEventLoopError,
    WrongThreadError,
)
from asyncbus.events import NewEvent, Receipt
from asyncbus.inbox import Inbox
from asyncbus.options import Ack, check_ack, check_seconds
from asyncbus.receipts import PendingReceipt, outcome

Proposal: TypeAlias = "NewEvent | tuple[str, Any] | object"
"""What `publish_many` takes for each event: a proposal, a pair of type and data, or a typed event."""

_PROPOSALS: Final = "NewEvents, typed events, or pairs of type and data"


class Publishing:
    """What publishers call; `EventBus` adds the rest.

    A publish ends in one of three ways. It returns a receipt: stored. It raises `CancelledError` or
    `PublishOutcomeUnknownError`: unknown, unless the writer had not taken the event, which is then withdrawn. It raises
    anything else: not stored. Publishing again with the same `id` is safe for as long as the event is retained.
    """

    _encoder: Encoder
    _inbox: Inbox
    # The loop's thread, on which publishing is possible. None while it is not, and then the error says why.
    _thread: int | None
    _unpublishable: AsyncBusError | None

    @overload
    async def publish(
        self,
        type: object,
        data: Any = None,
        *,
        ack: Literal["stored"] = "stored",
        id: str | None = None,
        key: str | None = None,
        expected_sequence: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        time: datetime | None = None,
        version: int | None = None,
        causation_id: int | None = None,
        correlation_id: str | None = None,
        timeout: float | None = None,
    ) -> Receipt: ...

    @overload
    async def publish(
        self,
        type: object,
        data: Any = None,
        *,
        ack: Literal["accepted"],
        id: str | None = None,
        key: str | None = None,
        expected_sequence: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        time: datetime | None = None,
        version: int | None = None,
        causation_id: int | None = None,
        correlation_id: str | None = None,
        timeout: float | None = None,
    ) -> PendingReceipt: ...

    async def publish(
        self,
        type: object,
        data: Any = None,
        *,
        ack: Ack = "stored",
        id: str | None = None,
        key: str | None = None,
        expected_sequence: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        time: datetime | None = None,
        version: int | None = None,
        causation_id: int | None = None,
        correlation_id: str | None = None,
        timeout: float | None = None,
    ) -> Receipt | PendingReceipt:
        """Publish one event.

        It waits for room in the inbox, first come, first served; events of one publisher keep their order.

        Args:
            type: the event type, `page_table.page_fault`; or an instance of a class declared with `event`.
            data: anything msgspec encodes to JSON, or bytes; encoded before anything else happens. None beside an
                instance, which is its data.
            ack: "stored": wait for the commit; "accepted": only until its place in the order is fixed.
            id: makes publishing it again safe: the same content under the same id is stored once.
            key: what orders and groups it: a VM, a vCPU, an order.
            expected_sequence: it is stored only if the last event with its key has this sequence; 0: there is none.
                Events of one `publish_many` all compare with what was there before it. An event whose id is stored
                already is a duplicate, whatever it expects.
            metadata: a mapping with string keys, kept beside the data.
            time: when it occurred, aware; None: now.
            version: of the shape of plain data, from 1 on; an instance has that of its class.
            causation_id: the sequence of the event that led to it; None: the one whose handler this is called by, or
                by a task or a thread it has started (with its context, as `asyncio.to_thread` does); 0: none.
            correlation_id: what all events of one flow share; None: that of the event being handled.
            timeout: seconds to wait at most; None: no limit.

        Returns:
            A `Receipt`; with `ack="accepted"` a `PendingReceipt`, which can be awaited later or left alone.

        Raises:
            InvalidTypeError, PayloadError, PayloadTooLargeError, InvalidOptionError: at once, nothing was queued.
            BusClosedError, WrongEventLoopError, StoreReadOnlyError: at once.
            TimeoutError: the time was over before the writer took it; not stored.
            PublishOutcomeUnknownError: the time was over, or the commit failed, after the writer took it.
            EventIdConflictError: the id was used for other content.
            ConcurrencyError: the last event with its key is another one than was expected.
            UnsupportedFeatureError: the store knows no last event of a key.
            WouldDeadlockError: called by a handler whose own full queue the writer waits for.
            StoreFullError, StoreFailedError: the store could not store it.
        """
        if self._thread != threading.get_ident():
            self._refuse()
        if ack != "stored" and ack != "accepted":  # noqa: PLR1714  # twice as fast as a set, and once an event
            check_ack(ack)
        submission = self._encoder.submission(
            type, data, id, key, metadata, time, expected_sequence, version, causation_id, correlation_id
        )
        if timeout is not None:
            return await self._publish_within(check_seconds("timeout", timeout), submission, ack)
        inbox = self._inbox
        if not inbox.put(submission):
            await inbox.wait_in_line((submission,))
        if ack == "accepted":
            return PendingReceipt(submission, inbox)
        try:
            await inbox.settling(submission.batch, (submission,))
        except WouldDeadlockError:
            if inbox.withdraw((submission,)):
                raise
            await inbox.settling(submission.batch, (submission,))  # the writer could go on after all, and has taken it
        except BaseException:
            inbox.withdraw((submission,))
            raise
        return outcome(submission)

    async def _publish_within(self, timeout: float, submission: Submission, ack: Ack) -> Receipt | PendingReceipt:
        inbox = self._inbox
        try:
            async with asyncio.timeout(timeout):
                if not inbox.put(submission):
                    await inbox.wait_in_line((submission,))
                if ack == "accepted":
                    return PendingReceipt(submission, inbox)
                try:
                    await inbox.settling(submission.batch, (submission,))
                except WouldDeadlockError:
                    if inbox.withdraw((submission,)):
                        raise
                    await inbox.settling(submission.batch, (submission,))  # as in `publish`
        except TimeoutError:
            inbox.withdraw((submission,))
            if submission.batch is OUTSIDE:
                raise TimeoutError(f"not stored within {timeout} s, and withdrawn") from None
            if submission.batch.settled:  # the answer came in the same turn of the loop
                return outcome(submission)
            raise PublishOutcomeUnknownError(submission.id, f"no answer from the store within {timeout} s") from None
        except BaseException:
            inbox.withdraw((submission,))
            raise
        return outcome(submission)

    def publish_nowait(
        self,
        type: object,
        data: Any = None,
        *,
        id: str | None = None,
        key: str | None = None,
        expected_sequence: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        time: datetime | None = None,
        version: int | None = None,
        causation_id: int | None = None,
        correlation_id: str | None = None,
    ) -> PendingReceipt:
        """Publish one event from synchronous code on the loop's thread: a hook, a callback.

        Args:
            type: as for `publish`, like the others.

        Returns:
            Its pending receipt: its place in the order is fixed.

        Raises:
            InboxFullError: there is no room, or others wait in line for it.
            And what `publish` raises at once.
        """
        if self._thread != threading.get_ident():
            self._refuse()
        submission = self._encoder.submission(
            type, data, id, key, metadata, time, expected_sequence, version, causation_id, correlation_id
        )
        if not self._inbox.put(submission):
            raise InboxFullError(self._inbox.capacity)
        return PendingReceipt(submission, self._inbox)

    def publish_from_thread(
        self,
        type: object,
        data: Any = None,
        *,
        id: str | None = None,
        key: str | None = None,
        expected_sequence: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        time: datetime | None = None,
        version: int | None = None,
        causation_id: int | None = None,
        correlation_id: str | None = None,
        timeout: float | None = None,
    ) -> PendingReceipt:
        """Publish one event from a thread that is not the loop's; it waits there for room in the inbox.

        Events of one thread keep their order.

        Args:
            type: as for `publish`, like the others.
            timeout: seconds to wait for room at most; None: no limit.

        Returns:
            Its pending receipt; `result()` waits for the commit.

        Raises:
            WrongThreadError: called on the loop's own thread.
            TimeoutError: there was no room in time; not stored.
            And what `publish` raises at once.
        """
        inbox = self._inbox
        if self._thread is None:
            self._refuse()
        if threading.get_ident() == self._thread:
            raise WrongThreadError(
                "publish_from_thread would block the event loop; await publish(…) here, or call publish_nowait(…)"
            )
        if timeout is not None:
            check_seconds("timeout", timeout)
        submission = self._encoder.submission(
            type, data, id, key, metadata, time, expected_sequence, version, causation_id, correlation_id
        )
        inbox.put_from_thread(submission, timeout)
        return PendingReceipt(submission, inbox)

    async def publish_many(self, events: Iterable[Proposal]) -> list[Receipt]:
        """Publish several events as one: all are stored, with consecutive sequences, or none is.

        It waits in line until there is room for all of them.

        Args:
            events: `NewEvent`s, instances of classes declared with `event`, or pairs of type and data.

        Returns:
            A receipt for each, in order. Events whose ids were stored before are duplicates, and take no sequence.

        Raises:
            BatchTooLargeError: more than the inbox ever holds; nothing was queued.
            And what `publish` raises, for any of them: none was stored.
        """
        if self._thread != threading.get_ident():
            self._refuse()
        if not isinstance(events, Iterable):
            raise InvalidOptionError("events", _PROPOSALS, events)
        submissions: list[Submission] = []
        for event in events:
            if len(submissions) >= self._inbox.capacity:  # an iterable may have no end
                raise self._inbox.too_large(
                    submissions, len(events) if isinstance(events, Sized) else len(submissions) + 1
                )
            submissions.append(self._submission(event))
        if not submissions:
            return []
        if not self._inbox.put_group(submissions):
            await self._inbox.wait_in_line(submissions)
        batch = submissions[0].batch
        try:
            await self._inbox.settling(batch, submissions)
        except WouldDeadlockError:
            if self._inbox.withdraw(submissions):
                raise
            await self._inbox.settling(batch, submissions)  # as in `publish`
        except BaseException:
            self._inbox.withdraw(submissions)
            raise
        return [outcome(submission) for submission in submissions]

    def _submission(self, event: object) -> Submission:
        match event:
            case NewEvent():
                return self._encoder.submission(*astuple(event))
            case (str() as type, data):
                return self._encoder.submission(type, data)
            case str() | bytes() | tuple() | list() | dict() | None:
                raise InvalidOptionError("events", _PROPOSALS, event)
        return self._encoder.submission(event)

    async def flush(self) -> None:
        """Wait until the outcome of all that was accepted before the call is known.

        Raises:
            BusClosedError, WrongEventLoopError, StoreReadOnlyError: at once.
            WouldDeadlockError: called by a handler whose own full queue the writer waits for.
            And what the commit of a batch it waited for raised. An id conflict only its own publisher gets.
        """
        if self._thread != threading.get_ident():
            self._refuse()
        await self._inbox.flush()

    def _refuse(self) -> NoReturn:
        """Raise the error that says why nothing can be published from here."""
        if self._unpublishable is not None:
            raise copy(self._unpublishable)
        raise WrongEventLoopError(
            "this bus was opened on another thread or event loop; use publish_from_thread(…) from other threads"
        )
