"""The model tool, short; and the proof that it sees: each broken log is found."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from asyncbus import Appended, EventFilter, EventStore, MemoryStore, Page, Pattern, Record
from asyncbus.store import pages
from asyncbus.store.watermark import Watermark
from asyncbus.subscription import Subscription
from tests.reliability.conftest import ShortRun
from tests.reliability.model import stage
from tests.reliability.model.tool import TOOL, explore
from tests.reliability.model.world import World, make_store
from tests.reliability.trials import Violation

Make = Callable[[World, Path], EventStore]

TRIES = 20
"""Trials within which a broken log must be found."""


@pytest.mark.fault(5)
@pytest.mark.fault(6)
@pytest.mark.fault(12)
@pytest.mark.fault(44)
@pytest.mark.fault(45)
@pytest.mark.fault(60)
def test_whatever_is_done_to_a_bus_everybody_sees_what_a_plain_dict_says(short_run: ShortRun) -> None:
    report = short_run(TOOL)

    assert report.violations == []
    rare = ("duplicates", "conflicts", "EventsLostError", "SubscriptionOverflowError", "flipped bits", "lost tails")
    consumed = ("handed out", "handed out again", "parked", "crashes")
    for what in ("read", "cancelled and stored", *rare, *consumed):
        assert report.figures[what] > 0, f"not a single one in so many steps: {what}"


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is broken may hang."""
    monkeypatch.setattr(stage, "PATIENCE", 1.0)


def found(folder: Path, make: Make = make_store, *, first: int = 0) -> str:
    """What the tool says of a broken log; with a well-chosen `first` seed it says it soon."""
    for seed in range(first, first + TRIES):
        try:
            explore(seed, folder, make)
        except Violation as violation:
            return str(violation)
    raise AssertionError(f"not found in {TRIES} trials")


def in_memory(broken: type[MemoryStore]) -> Make:
    def make(world: World, path: Path) -> EventStore:
        return broken() if world.kind == "memory" else make_store(world, path)

    return make


class LosesOneInTen(MemoryStore):
    """Keeps all, but has forgotten some when it is read."""

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        page = await super().read(after, pattern, limit)
        return Page([record for record in page.records if record.sequence % 10], page.up_to, page.floor)


class TellsAnotherSequence(MemoryStore):
    """Answers a duplicate with the sequence before the first one's."""

    async def append(self, records: Sequence[Record]) -> Appended:
        appended = await super().append(records)
        wrong = {index: max(sequence - 1, 1) for index, sequence in appended.duplicates.items()}
        return Appended(appended.first, wrong, appended.floor)


class ReadsByLike(MemoryStore):
    """Compares event types as SQL's LIKE does: without regard to case, and `_` is any character."""

    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        folded = Pattern(
            tuple(type.lower() for type in wanted.pattern.exact), tuple(p.lower() for p in wanted.pattern.prefixes)
        )
        everything = await super().query(EventFilter(limit=None))
        return [record for record in everything if folded.matches(record.type.lower())]


class StoresByHalf(MemoryStore):
    """Refuses a conflicting group after it has stored its beginning."""

    async def append(self, records: Sequence[Record]) -> Appended:
        appended = Appended(0)
        for record in records:
            appended = await super().append([record])
        return appended


class ForgetsItsIds(MemoryStore):
    """Knows an id only as long as it is open."""

    async def close(self) -> None:
        self._by_id.clear()


@pytest.mark.parametrize(
    ("broken", "first"),
    [(LosesOneInTen, 20), (TellsAnotherSequence, 0), (ReadsByLike, 0), (StoresByHalf, 1), (ForgetsItsIds, 3)],
)
def test_a_broken_log_is_found(broken: type[MemoryStore], first: int, tmp_path: Path) -> None:
    assert "state." in found(tmp_path, in_memory(broken), first=first), "the steps that show it are told"


@pytest.mark.fault(44)
def test_a_log_without_checksums_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "first_damaged", lambda records: None)

    assert "flip_a_bit" in found(tmp_path, first=12)


@pytest.mark.fault(45)
def test_a_log_without_a_watermark_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watermark, "read", lambda self: 0)

    assert "cut_the_wal" in found(tmp_path, first=13)


@pytest.mark.fault(60)
def test_a_queue_that_drops_in_silence_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drop = Subscription._drop

    def drop_in_silence(self: Subscription, count: int) -> None:
        drop(self, count)
        self.dropped -= 1

    monkeypatch.setattr(Subscription, "_drop", drop_in_silence)

    assert "counted" in found(tmp_path)


def test_a_subscription_that_delivers_twice_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overflow = Subscription._overflow

    def compare_with_what_was_received(self: Subscription, records: Sequence[Record], room: int) -> None:
        position = self._queue[-1].sequence if self._queue else records[0].sequence - 1
        overflow(self, records, room)
        self._read_to = position

    monkeypatch.setattr(Subscription, "_overflow", compare_with_what_was_received)

    assert "state." in found(tmp_path, first=4)


def test_an_event_that_a_cancelled_reader_has_lost_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Subscription.ready

    async def ready_and_gone(self: Subscription) -> bool:
        there = await ready(self)
        if len(self._queue) > 3:
            self._queue.popleft()
        return there

    monkeypatch.setattr(Subscription, "ready", ready_and_gone)

    assert "state." in found(tmp_path, first=4)
