"""Promise 7, where an allocation fails: what cannot be made is refused, and nothing is stored by half."""

from datetime import datetime, timedelta, tzinfo

import pytest

from asyncbus import EventBus, PayloadError, PublishOutcomeUnknownError, StoreFailedError
from tests.behaviour.stage import Log, payloads, take

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


class Large(tzinfo):
    """Asked for where encoding a payload needs it, and then there is no memory."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        raise MemoryError

    dst = utcoffset

    def tzname(self, moment: datetime | None) -> str:
        return "large"


LARGE = {"part": datetime(2024, 5, 1, tzinfo=Large())}


@pytest.mark.fault(79)
async def test_a_payload_for_which_there_is_no_memory_is_refused_and_burns_no_sequence(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", "before")
        with pytest.raises(PayloadError):
            await bus.publish("a", LARGE)
        with pytest.raises(PayloadError):
            await bus.publish_many([("a", 1), ("a", LARGE)])
        assert (await bus.publish("a", "after")).sequence == 2
        assert payloads(await bus.query()) == ["before", "after"]


@pytest.mark.fault(79)
async def test_a_batch_for_which_the_store_has_no_memory_is_unknown_and_never_there_by_half(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        events = bus.subscribe("*")
        store.append_faults.append(MemoryError())
        with pytest.raises(PublishOutcomeUnknownError) as caught:
            await bus.publish_many([("a", number) for number in range(3)])
        failed = caught.value.__cause__
        assert isinstance(failed, StoreFailedError)
        assert isinstance(failed.__cause__, MemoryError)
        assert bus.health().status == "failed"
        await bus.publish("a", "after")
        assert payloads(await take(events, 1)) == payloads(await bus.query()) == ["after"]
