"""`asyncbus.testing.FaultyStore`, by which a user tests an application, over either store, fault by fault."""

import asyncio
import inspect
from textwrap import dedent
from typing import Any, get_args

import pytest

import asyncbus
from asyncbus import (
    EventBus,
    EventIdConflictError,
    InvalidOptionError,
    PublishOutcomeUnknownError,
    StoreCorruptError,
    StoreError,
    StoreFailedError,
    StoreFullError,
    SubscriptionError,
)
from asyncbus.store.consumers import ConsumerState, ConsumerStore, ParkedFilter
from asyncbus.testing import FaultyStore, record
from asyncbus.testing.faulty import Call
from tests.behaviour.stage import Log, payloads, sequences, take, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]

ONE = ConsumerState(name="one", pattern="*")
TWO = ConsumerState(name="two", pattern="*")
FULL = StoreFullError("no space is left")


class Shop:
    """An application, with the answer to a full disk that the documentation's example asks of it."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    async def order(self, what: str) -> str:
        try:
            await self._bus.publish("order.placed", {"what": what})
        except StoreError:
            return "please try again"
        return "thank you"


async def test_the_example_of_the_documentation_runs() -> None:
    documentation = inspect.getdoc(FaultyStore)
    assert documentation is not None
    example = documentation.split("::\n\n")[1].split("\n\nCalls are named")[0]
    names: dict[str, Any] = {"Shop": Shop, "FaultyStore": FaultyStore, **vars(asyncbus)}
    exec(dedent(example), names)  # noqa: S102  # our own documentation
    await names["test_an_order_that_cannot_be_stored_is_refused"]()


async def test_without_a_fault_it_is_the_store_it_wraps(log: Log) -> None:
    store = FaultyStore(log.store())
    assert isinstance(store, asyncbus.EventStore)
    async with EventBus(store) as bus:
        await bus.publish("a", 1)
        assert payloads(await bus.query()) == [1]
    assert store.features == log.store().features
    assert store.calls == {"open": 1, "append": 1, "query": 1, "close": 1}


# --- failing ---------------------------------------------------------------------------------------------------------


async def test_the_nth_append_fails_and_the_others_are_stored_without_a_hole(log: Log) -> None:
    store = FaultyStore(log.store())
    store.fail("append", FULL, nth=3, times=2)
    async with EventBus(store) as bus:
        events = bus.subscribe("*")
        for number in range(6):
            if number in {2, 3}:
                with pytest.raises(StoreFullError):
                    await bus.publish("a", number)
                assert bus.health().status == "degraded"
            else:
                await bus.publish("a", number)
        assert payloads(await take(events, 4)) == payloads(await bus.query()) == [0, 1, 4, 5]
        assert sequences(await bus.query()) == [1, 2, 3, 4]
        assert bus.health().status == "ok"


async def test_a_store_that_fails_for_good_takes_nothing_until_it_is_healed(log: Log) -> None:
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        await bus.publish("a", "before")
        store.fail("append", FULL, times=None)
        for _ in range(10):
            with pytest.raises(StoreFullError):
                await bus.publish("a", "never")
        assert payloads(await bus.query()) == ["before"]
        store.heal()
        assert (await bus.publish("a", "after")).sequence == 2


@pytest.mark.fault(26)
async def test_what_no_store_should_raise_is_told_at_once_and_the_bus_is_not_well(log: Log) -> None:
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        store.fail("append", ZeroDivisionError("a bug in a store"))
        outcomes = await asyncio.gather(*(bus.publish("a") for _ in range(5)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {PublishOutcomeUnknownError}
        assert bus.health().status == "failed"


@pytest.mark.fault(34)
async def test_nothing_is_delivered_of_an_append_whose_answer_was_lost_and_the_id_makes_it_safe(log: Log) -> None:
    store = FaultyStore(log.store())
    store.fail("append", StoreFailedError("the answer was lost", outcome_unknown=True), after=True)
    async with EventBus(store) as bus:
        events = bus.subscribe("*")
        with pytest.raises(PublishOutcomeUnknownError):
            await bus.publish("a", 1, id="one")
        for _ in range(2):
            with pytest.raises(StoreFailedError, match="nobody knows what is stored"):
                await bus.publish("a", 1, id="one")
        assert (events.position, bus.recent()) == (0, [])
    async with EventBus(store) as bus:
        receipt = await bus.publish("a", 1, id="one")
        assert (receipt.sequence, receipt.duplicate) == (1, True)
        assert (await bus.publish("a", 2)).sequence == 2
        assert payloads(await bus.query()) == [1, 2]


@pytest.mark.fault(34)
@pytest.mark.parametrize("error", [FULL, StoreFailedError("fsync failed"), ZeroDivisionError("a bug")])
async def test_an_append_that_did_its_work_and_then_failed_is_never_said_to_be_not_stored(
    log: Log, error: Exception
) -> None:
    store = FaultyStore(log.store())
    store.fail("append", error, after=True)
    async with EventBus(store) as bus:
        with pytest.raises(PublishOutcomeUnknownError) as caught:
            await bus.publish("a", 1)
        assert isinstance(caught.value.__cause__, StoreFailedError)
        assert caught.value.__cause__.__cause__ is error
    async with EventBus(store) as bus:
        assert payloads(await bus.query()) == [1]


async def test_a_reader_gets_the_error_of_its_read_and_another_one_goes_on(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", number) for number in range(10)])
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        store.fail("read", StoreCorruptError("its checksum is wrong", 1))
        with pytest.raises(StoreCorruptError):
            await anext(bus.subscribe("*", start="earliest"))
        assert payloads(await take(bus.subscribe("*", start="earliest"), 10)) == list(range(10))


@pytest.mark.parametrize("call", ["query", "latest_sequence", "clear"])
async def test_each_other_call_fails_who_made_it_and_nobody_else(log: Log, call: Any) -> None:
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        await bus.publish("a", 1)
        store.fail(call, StoreFailedError("for once"))
        with pytest.raises(StoreFailedError, match="for once"):
            await getattr(bus, call)()
        assert (await bus.publish("a", 2)).sequence == 2
        assert payloads(await bus.query()) == [1, 2]
        await getattr(bus, call)()


@pytest.mark.parametrize("after", [False, True])
async def test_a_store_that_cannot_be_opened_leaves_nothing_open(log: Log, after: bool) -> None:
    store = FaultyStore(log.store())
    store.fail("open", StoreFullError("no space is left"), after=after)
    with pytest.raises(StoreFullError):
        async with EventBus(store):
            pass
    async with EventBus(store) as bus:
        await bus.publish("a")


async def test_an_error_of_closing_reaches_who_closes_and_the_store_is_released(log: Log) -> None:
    store = FaultyStore(log.store())
    bus = EventBus(store)
    await bus.__aenter__()
    await bus.publish("a", 1)
    store.fail("close", StoreFailedError("fsync failed"))
    with pytest.raises(StoreFailedError, match="fsync"):
        await bus.close()
    async with log.bus() as again:
        assert payloads(await again.query()) == [1]


# --- slow and hanging ------------------------------------------------------------------------------------------------


async def test_a_slow_store_takes_what_came_meanwhile_as_one_batch(log: Log) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    store = FaultyStore(log.store(), sleep=sleep)
    store.slow("append", 2.5)
    async with EventBus(store) as bus:
        await asyncio.gather(*(bus.publish("a", number) for number in range(100)))
        assert payloads(await bus.query()) == list(range(100))
    assert slept == [2.5] * store.calls["append"]
    assert store.calls["append"] < 10


@pytest.mark.fault(33)
async def test_while_an_append_hangs_publishers_time_out_as_unknown_and_readers_go_on(log: Log) -> None:
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        events = bus.subscribe("*", start="earliest")
        await bus.publish("a", "before")
        held = store.hang("append")
        taken = asyncio.create_task(bus.publish("a", "taken", timeout=0.01))
        await held.reached.wait()
        with pytest.raises(PublishOutcomeUnknownError):
            await taken
        with pytest.raises(TimeoutError):
            await bus.publish("a", "waiting", timeout=0.01)
        assert payloads(await take(events, 1)) == payloads(await bus.query()) == ["before"]
        held.release()
        assert (await bus.publish("a", "after")).sequence == 3
        assert payloads(await take(events, 2)) == ["taken", "after"]


async def test_an_append_that_hangs_holds_up_closing_only_for_close_timeout(log: Log) -> None:
    store = FaultyStore(log.store())
    held = store.hang("append")
    bus = EventBus(store, close_timeout=0.05)
    await bus.__aenter__()
    pending = bus.publish_nowait("a")
    await held.reached.wait()
    await bus.close()
    with pytest.raises(PublishOutcomeUnknownError):
        await pending


async def test_a_read_that_hangs_is_cancelled_with_its_reader(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", 1)
    store = FaultyStore(log.store())
    held = store.hang("read")
    async with EventBus(store) as bus:
        reading = asyncio.create_task(anext(bus.subscribe("*", start="earliest")))
        await held.reached.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert payloads(await take(bus.subscribe("*", start="earliest"), 1)) == [1]


async def test_what_is_released_before_it_has_come_does_not_hang(log: Log) -> None:
    store = FaultyStore(log.store())
    store.hang("append").release()
    async with EventBus(store) as bus:
        await bus.publish("a")


# --- a store that breaks its promise ---------------------------------------------------------------------------------


async def test_a_torn_batch_is_unknown_to_who_published_it_and_found_when_the_log_is_opened_again(log: Log) -> None:
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        await bus.publish("a", 0)
        store.tear(2)
        with pytest.raises(PublishOutcomeUnknownError):
            await bus.publish_many([("a", number) for number in range(1, 5)])
        with pytest.raises(StoreFailedError, match="nobody knows what is stored") as caught:
            await bus.publish("a", 5)
        assert isinstance(caught.value.__cause__, StoreFailedError)
        assert bus.health().status == "failed"
        assert payloads(bus.recent()) == [0]
    async with EventBus(store) as bus:
        # An application that relies on all or nothing can look at what its store has made of it.
        assert payloads(await bus.query()) == [0, 1, 2]
        assert (await bus.publish("a", 5)).sequence == 4


async def test_a_conflict_is_no_fault_and_leaves_no_doubt(log: Log) -> None:
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        await bus.publish("a", 1, id="one")
        with pytest.raises(EventIdConflictError):
            await bus.publish("a", 2, id="one")
        await bus.publish("a", 3)


# --- ordering --------------------------------------------------------------------------------------------------------


async def test_faults_count_from_the_moment_they_are_ordered_and_may_stand_together(log: Log) -> None:
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        await bus.publish("a", 1)
        store.fail("append", FULL, nth=2)
        store.fail("append", StoreFailedError("worse"), nth=3)
        held = store.hang("append", nth=2)
        await bus.publish("a", 2)
        second = asyncio.create_task(bus.publish("a", 3))
        await until(lambda: store.calls["append"] == 3)
        assert not held.reached.is_set(), "what was ordered first happens first"
        with pytest.raises(StoreFullError):
            await second
        with pytest.raises(StoreFailedError, match="worse"):
            await bus.publish("a", 4)
        assert (await bus.publish("a", 5)).sequence == 3


@pytest.mark.parametrize(
    ("order", "option"),
    [
        (lambda store: store.fail("apend", FULL), "call"),
        (lambda store: store.fail("append", FULL, nth=0), "nth"),
        (lambda store: store.fail("append", FULL, times=0), "times"),
        (lambda store: store.slow("append", -1), "seconds"),
        (lambda store: store.hang("appends"), "call"),
        (lambda store: store.tear(0), "stored"),
        (lambda store: store.tear(1, call="clear"), "call"),
        (lambda store: store.fail(["append"], FULL), "call"),
        (lambda store: store.slow({}, 1), "call"),
        (lambda store: store.hang([]), "call"),
        (lambda store: store.fail("append", StoreFullError), "error"),
        (lambda store: store.fail("append", asyncio.CancelledError()), "error"),
        (lambda store: store.fail("append", "full"), "error"),
        (lambda _: FaultyStore(asyncbus.MemoryStore(), sleep=2.5), "sleep"),  # type: ignore[arg-type]  # as below
        (lambda _: FaultyStore("events.db"), "store"),  # type: ignore[arg-type]  # what somebody may try
    ],
)
async def test_an_order_that_cannot_be_met_is_refused(memory_log: Log, order: Any, option: str) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        order(FaultyStore(memory_log.store()))

    assert caught.value.option == option


async def test_every_method_of_a_store_can_have_a_fault(file_log: Log) -> None:
    methods = {
        name
        for kind in (asyncbus.BackupStore, asyncbus.KeyedStore, asyncbus.CountedStore, ConsumerStore)
        for name in dir(kind)
        if name[0] != "_"
    }

    assert set(get_args(Call)) == methods - {"features"}


class Measured(asyncbus.MemoryStore):
    def statistics(self) -> dict[str, int]:
        return {"appends": 7}


@pytest.mark.parametrize(("wrapped", "figures"), [(Measured, {"appends": 7}), (asyncbus.MemoryStore, {})])
async def test_the_figures_of_the_store_it_wraps_are_told(wrapped: Any, figures: dict[str, int]) -> None:
    async with EventBus(FaultyStore(wrapped())) as bus:
        assert bus.statistics().store == figures


async def test_a_copy_that_fails_is_its_callers(file_log: Log) -> None:
    store = FaultyStore(file_log.store())
    copy = file_log.path.with_name("copy.db")
    async with EventBus(store) as bus:
        await bus.publish("a", 1)
        store.fail("backup", FULL)
        with pytest.raises(StoreFullError):
            await bus.backup(copy)
        assert not copy.exists()
        await bus.backup(copy)
    assert (await asyncio.to_thread(asyncbus.verify, copy)).events == 1


async def test_a_follower_whose_store_fails_ends_its_readers_with_the_cause(file_log: Log) -> None:
    async with file_log.bus() as writer:
        await writer.publish("a", 1)
        store = FaultyStore(asyncbus.SQLiteStore(file_log.path, read_only=True))
        held = store.hang("changed")
        store.fail("changed", StoreFailedError("the disk is gone"))
        async with EventBus(store) as bus:
            events = bus.subscribe("*", start="earliest")
            assert payloads(await take(events, 1)) == [1]
            held.release()
            with pytest.raises((StoreError, SubscriptionError, StopAsyncIteration)):
                await anext(events)
            assert bus.health().status == "failed"


async def test_it_stands_below_the_bus_and_needs_none(log: Log) -> None:
    store = FaultyStore(log.store())
    await store.open()
    store.fail("append", FULL)
    with pytest.raises(StoreFullError):
        await store.append([record("a")])
    assert (await store.append([record("a")])).first == 1
    await store.close()


@pytest.mark.parametrize("after", [False, True])
async def test_a_commit_can_fail_as_an_append_can(log: Log, after: bool) -> None:
    store = FaultyStore(log.store())
    await store.open()
    store.fail("commit", FULL, nth=2, after=after)
    await store.commit([record("a")], [ONE])
    with pytest.raises(StoreFailedError if after else StoreFullError) as caught:
        await store.commit([record("a")], [TWO])
    assert list(await store.consumers()) == ([ONE, TWO] if after else [ONE])
    if after:
        assert isinstance(caught.value, StoreFailedError)
        assert caught.value.outcome_unknown
        with pytest.raises(StoreFailedError, match="nobody knows what is stored"):
            await store.commit([], [TWO])
    else:
        assert (await store.commit([record("a")], [TWO])).first == 2
    await store.close()


async def test_a_commit_can_hang_and_be_slow_and_the_calls_of_consumers_can_fail(log: Log) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    store = FaultyStore(log.store(), sleep=sleep)
    await store.open()
    held = store.hang("commit")
    store.slow("commit", 2.5)
    committing = asyncio.create_task(store.commit([], [ONE]))
    await held.reached.wait()
    assert list(await store.consumers()) == []
    held.release()
    await committing
    assert (list(await store.consumers()), slept) == ([ONE], [2.5])
    for call, ask in (
        ("consumers", store.consumers),
        ("dead_letters", lambda: store.dead_letters(ParkedFilter())),
        ("dead_letter_counts", store.dead_letter_counts),
    ):
        store.fail(call, FULL)  # type: ignore[arg-type]  # a name of a call
        with pytest.raises(StoreFullError):
            await ask()
        assert len(await ask()) == (call == "consumers")
    await store.close()


async def test_a_torn_commit_stores_the_first_events_and_no_change(log: Log) -> None:
    store = FaultyStore(log.store())
    await store.open()
    store.tear(2, call="commit")
    with pytest.raises(StoreFailedError, match="torn"):
        await store.commit([record("a") for _ in range(3)], [ONE])
    with pytest.raises(StoreFailedError, match="nobody knows what is stored"):
        await store.append([record("a")])
    assert (await store.latest_sequence(), list(await store.consumers())) == (2, [])
    await store.close()
