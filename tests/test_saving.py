"""What consumers have to store goes with the next commit, and whoever waits for it learns what became of it."""

import asyncio
from collections.abc import Sequence
from itertools import chain

import pytest

from asyncbus.errors import BusClosedError, StoreFullError
from asyncbus.saving import Saving
from asyncbus.store.consumers import Change, ConsumerState, Released
from tests.fakes import until

pytestmark = pytest.mark.asyncio


class Saver:
    """Has one state to store whenever it is told that something has changed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.has_changed = True
        self.fate: list[object] = []

    def changes(self) -> Sequence[Change]:
        changed, self.has_changed = self.has_changed, False
        return [ConsumerState(name=self.name, pattern="a"), Released((1,))] if changed else []

    def kept(self, changes: Sequence[Change], *, stale: bool) -> None:
        self.fate.append("stale" if stale else "kept")

    def lost(self, changes: Sequence[Change], error: Exception) -> None:
        self.fate.append(error)


class Desk:
    """A saving, how often it has called the writer, and what was stored."""

    def __init__(self) -> None:
        self.calls = 0
        self.noted: list[Change] = []
        self.saving = Saving(self._wake, self.noted.append)

    def _wake(self) -> None:
        self.calls += 1

    async def save(self, saver: Saver) -> "asyncio.Task[None]":
        calls = self.calls
        task = asyncio.create_task(self.saving.save(saver))
        await until(lambda: self.calls > calls)
        return task


async def test_what_is_asked_for_goes_with_the_next_commit_and_no_later_one() -> None:
    desk, saver = Desk(), Saver("one")
    waiting = await desk.save(saver)
    assert desk.calls == 1
    saves = desk.saving.take(passing=False)
    assert [type(change) for change in saves.changes] == [ConsumerState, Released]
    assert not desk.saving.wanted
    assert desk.saving.take(passing=True).changes == []
    assert not waiting.done()
    saves.settle(None)
    await waiting
    assert (saver.fate, desk.noted) == (["kept"], saves.changes)


async def test_all_who_ask_before_a_commit_share_it() -> None:
    desk, savers = Desk(), [Saver("one"), Saver("two")]
    waiting = [await desk.save(saver) for saver in savers]
    saves = desk.saving.take(passing=False)
    assert [change.name for change in saves.changes if isinstance(change, ConsumerState)] == ["one", "two"]
    late = await desk.save(savers[0])
    saves.settle(None)
    await asyncio.gather(*waiting)
    assert not late.done(), "it has asked while that commit was under way"
    desk.saving.take(passing=False).settle(None)
    await late


async def test_a_commit_that_fails_is_told_to_each_who_waits_and_to_the_consumer() -> None:
    desk, saver = Desk(), Saver("one")
    waiting = [await desk.save(saver), await desk.save(saver)]
    error = StoreFullError("no space is left")
    desk.saving.take(passing=False).settle(error)
    raised = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(each) for each in raised] == ["no space is left"] * 2
    assert raised[0] is not raised[1], "or their tracebacks would pile up"
    assert saver.fate == [error]
    assert desk.noted == []


async def test_a_stale_holder_is_told_and_nothing_of_its_is_noted() -> None:
    desk, fresh, stale = Desk(), Saver("fresh"), Saver("stale")
    waiting = [await desk.save(fresh), await desk.save(stale)]
    saves = desk.saving.take(passing=False)
    saves.stale = frozenset({"stale"})
    saves.settle(None)
    await asyncio.gather(*waiting)
    assert (fresh.fate, stale.fate) == (["kept"], ["stale"])
    assert {getattr(change, "name", "fresh") for change in desk.noted} == {"fresh"}


async def test_who_stops_waiting_does_not_take_back_what_is_stored() -> None:
    desk, saver = Desk(), Saver("one")
    waiting = await desk.save(saver)
    waiting.cancel()
    await asyncio.wait([waiting])
    saves = desk.saving.take(passing=False)
    assert len(saves.changes) == 2
    saves.settle(None)
    assert saver.fate == ["kept"]


async def test_a_commit_of_events_takes_along_what_some_have_passed_in_turn() -> None:
    desk, savers = Desk(), [Saver(str(number)) for number in range(20)]
    for saver in savers:
        desk.saving.add(saver)
    taken = []
    for _ in range(3):
        saves = desk.saving.take(passing=True)
        taken.append([change.name for change in saves.changes if isinstance(change, ConsumerState)])
        saves.settle(None)
    assert len(taken[0]) == len(taken[1]) < 20, "a thousand cost no more than a few"
    assert sorted(chain(*taken)) == sorted(saver.name for saver in savers), "all have had their turn"
    assert desk.calls == 0, "nobody is woken for it"


async def test_nobody_who_has_left_is_asked() -> None:
    desk, stays, leaves = Desk(), Saver("stays"), Saver("leaves")
    for saver in (stays, leaves):
        desk.saving.add(saver)
        desk.saving.ask(saver)
    desk.saving.remove(leaves)
    saves = desk.saving.take_all()
    assert {change.name for change in saves.changes if isinstance(change, ConsumerState)} == {"stays"}
    desk.saving.remove(leaves)


async def test_when_the_writer_is_no_more_nobody_waits_for_it() -> None:
    desk, saver, late = Desk(), Saver("one"), Saver("late")
    waiting = await desk.save(saver)
    gone = BusClosedError("it was closed")
    desk.saving.end(gone)
    for attempt in (waiting, desk.saving.save(late)):
        with pytest.raises(BusClosedError, match="it was closed"):
            await attempt
    assert saver.fate == [gone]
