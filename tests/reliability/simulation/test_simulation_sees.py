"""The simulation can see: each break of a promise, put in by hand, is found within some hundred seeds."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from asyncbus import Appended, ConsumerState, Record
from asyncbus.batch import Batch, Submission
from asyncbus.delivering import Delivering
from asyncbus.fanout import Fanout
from asyncbus.feed import Feed
from asyncbus.history import History
from asyncbus.inbox import Inbox
from asyncbus.ledger import Ledger
from asyncbus.saving import Saves
from asyncbus.store.base import number
from asyncbus.storing import Storing
from asyncbus.subscription import Subscription
from asyncbus.writer import Writer
from tests.reliability.simulation.tool import play
from tests.reliability.trials import Violation

MOST = 400
"""Seeds in which a break is to be found."""


def is_found(what: str) -> bool:
    """Whether a scene is told of by these words, among others."""
    return any(what in told_of(seed) for seed in range(MOST))


def told_of(seed: int) -> str:
    """What a scene has found, if anything."""
    try:
        play(seed)
    except Violation as violation:
        return str(violation)
    return ""


def test_delivering_before_the_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    append = Writer._append

    async def deliver_first(self: Writer, submissions: Sequence[Submission], saves: Saves | None) -> Appended:
        expected = Appended(self._heads + 1)  # type: ignore[attr-defined]
        number(submissions, expected.first)
        if submissions:  # there may be only what consumers store
            self._on_committed(submissions, expected)
        return await append(self, submissions, saves)

    monkeypatch.setattr(Writer, "_append", deliver_first)
    monkeypatch.setattr(
        Writer, "_heads", property(lambda self: self._on_committed.__self__.history.head), raising=False
    )
    assert is_found("before it was durable")


def test_acknowledging_before_the_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    append = Writer._append

    async def acknowledge_first(self: Writer, submissions: Sequence[Submission], saves: Saves | None) -> Appended:
        number(submissions, self.stored + 1)
        self._inbox.settle(self._inbox._in_flight)
        return await append(self, submissions, saves)

    monkeypatch.setattr(Writer, "_append", acknowledge_first)
    assert is_found("acknowledged")


def test_an_await_in_the_hand_over_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def catch_up(self: Subscription, fanout: Fanout) -> None:
        page = await fanout.history.page(self._read_to, self.pattern, self._page_size)
        is_level = page.up_to >= fanout.history.head
        await asyncio.sleep(0)
        if self._open:
            self._page.extend(page.records)
            self._read_to = page.up_to
            self._live = is_level

    monkeypatch.setattr(Subscription, "_catch_up", catch_up)
    assert is_found("got")


def test_going_on_from_what_was_received_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    overflow = Subscription._overflow

    def forget_what_did_not_fit(self: Subscription, records: Sequence[Record], room: int) -> None:
        overflow(self, records, room)
        if not self._live and self._open:
            self._read_to = records[-1].sequence

    monkeypatch.setattr(Subscription, "_overflow", forget_what_did_not_fit)
    assert is_found("got")


def test_going_live_without_having_read_all_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    page = History.page

    async def claim_the_head(self: History, after: int, *wanted: Any) -> Any:
        read = await page(self, after, *wanted)
        return type(read)(read.records, max(read.up_to, self.head), read.floor)

    monkeypatch.setattr(History, "page", claim_the_head)
    assert is_found("got")


def test_forgetting_the_last_batch_at_the_close_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Inbox.take

    async def stop_at_once(self: Inbox) -> Batch | None:
        return None if self._closed is not None else await take(self)

    monkeypatch.setattr(Inbox, "take", stop_at_once)
    assert is_found("accepted and then forgotten")


def test_swallowing_a_cancellation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Subscription.ready

    async def swallow(self: Subscription) -> bool:
        try:
            return await ready(self)
        except asyncio.CancelledError:
            return await ready(self)

    monkeypatch.setattr(Subscription, "ready", swallow)
    assert is_found("swallowed")


def test_storing_what_was_withdrawn_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave_it_there(self: Inbox, submissions: Sequence[Submission]) -> None:
        if not submissions[0].batch.taken:
            self.withdrawn += len(submissions)

    monkeypatch.setattr(Inbox, "withdraw", leave_it_there)
    assert is_found("though the writer had not taken it")


def test_a_torn_group_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    withdraw = Inbox.withdraw

    def tear(self: Inbox, submissions: Sequence[Submission]) -> None:
        withdraw(self, submissions[:1])

    monkeypatch.setattr(Inbox, "withdraw", tear)
    assert is_found("was stored as")


def test_losing_what_is_at_hand_with_the_cancellation_of_its_reader_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Subscription.ready

    async def forget_what_came(self: Subscription) -> bool:
        try:
            return await ready(self)
        except asyncio.CancelledError:
            self._queue.clear()
            self._page.clear()
            raise

    monkeypatch.setattr(Subscription, "ready", forget_what_came)
    assert is_found(" got [")


def test_dropping_what_comes_while_a_handler_is_at_work_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    offer = Subscription.offer

    def only_to_who_waits(self: Subscription, records: Sequence[Record]) -> None:
        if self._busy or not self._handled:
            offer(self, records)

    monkeypatch.setattr(Subscription, "offer", only_to_who_waits)
    assert is_found("got")


def test_a_reader_that_is_not_woken_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wake = Subscription.wake

    def sleep_on(self: Subscription) -> None:
        if self.delivered != 1:
            wake(self)

    monkeypatch.setattr(Subscription, "wake", sleep_on)
    assert is_found("is not level")


def test_a_writer_that_waits_for_ever_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget_to_tell(self: Fanout, receiver: Any) -> None:
        self._blockers.pop(receiver, None)

    monkeypatch.setattr(Fanout, "unblock", forget_to_tell)
    assert is_found("waits for ever")


def test_two_rows_for_one_id_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    append = Writer._append

    async def without_ids(self: Writer, submissions: Sequence[Submission], saves: Saves | None) -> Appended:
        appended = await append(self, submissions, saves)
        self._store._inner._by_id.clear()  # type: ignore[attr-defined]
        return appended

    monkeypatch.setattr(Writer, "_append", without_ids)
    assert is_found(" and as ")


def test_delivering_to_who_has_left_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep_the_queue(self: Subscription, error: Any = None) -> None:
        self._leave(error, self.position)
        self.wake()

    monkeypatch.setattr(Subscription, "end", keep_the_queue)
    assert is_found("was closed")


def test_a_checkpoint_past_an_unfinished_event_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "checkpoint", lambda self, read_to: read_to)
    assert is_found("does not owe")


def test_forgetting_what_was_owed_out_of_order_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    state = Ledger.state

    def without_owed(self: Ledger, before: ConsumerState, read_to: int, **others: Any) -> ConsumerState:
        return replace(state(self, before, read_to, **others), owed={})

    monkeypatch.setattr(Ledger, "state", without_owed)
    assert is_found("does not owe")


def test_handing_an_event_out_before_that_is_stored_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hurry(self: Storing) -> None:
        self._around.saving.ask(self)

    monkeypatch.setattr(Storing, "_store_begun", hurry)
    assert is_found("before that was stored")


def test_a_dead_letter_that_is_not_stored_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Delivering, "_park", lambda self, held: None)
    assert is_found("does not owe")


def test_a_retry_that_never_comes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Delivering, "come_back", lambda self, held: None)
    assert is_found("has not handled")


def test_an_event_that_is_handed_out_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Feed.take

    def repeat(self: Feed, limit: int) -> list[Record]:
        taken = take(self, limit)
        if len(taken) > 1:
            self._queue.appendleft(taken[0])
        return taken

    monkeypatch.setattr(Feed, "take", repeat)
    assert is_found("again, though it was done")
