import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbus.events import Record
from asyncbus.fanout import Fanout
from asyncbus.history import History
from asyncbus.patterns import Pattern
from asyncbus.store.base import Appended
from asyncbus.store.memory import MemoryStore
from tests.fakes import recorded, sequences

Journal = list[tuple[str, str, list[int]]]


class Receiver:
    """Writes down what it is offered, and does something then, if told to."""

    reader: asyncio.Task[object] | None = None

    def __init__(self, name: str, journal: Journal, number: int, priority: int = 0) -> None:
        self.name = name
        self.rank = (-priority, number)
        self.then: Callable[[], object] = lambda: None
        self._journal = journal

    def offer(self, records: Sequence[Record]) -> None:
        self._journal.append((self.name, "offer", sequences(records)))
        self.then()

    def wake(self) -> None:
        self._journal.append((self.name, "wake", []))


class Stage:
    """A fan-out over an empty log, and its receivers."""

    def __init__(self) -> None:
        self.history = History(MemoryStore(), 8192)
        self.fanout = Fanout(self.history)
        self.journal: Journal = []
        self._number = 0

    def add(self, name: str, pattern: object, priority: int = 0) -> Receiver:
        self._number += 1
        receiver = Receiver(name, self.journal, self._number, priority)
        self.fanout.add(Pattern.parse(pattern), receiver)
        return receiver

    def dispatch(self, *types: str) -> None:
        first = self.history.head + 1
        self.fanout.dispatch(recorded(*types, first=first), Appended(first))

    def offered(self, name: str) -> list[int]:
        return [sequence for who, act, which in self.journal if (who, act) == (name, "offer") for sequence in which]

    def acts(self, act: str) -> list[str]:
        return [who for who, done, _ in self.journal if done == act]


# --- who gets what ---------------------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from(["*", "a", "a.*", "a.b", "b*", "c"]), max_size=6),
    st.lists(st.lists(st.sampled_from(["a", "a.b", "a.c", "b", "bc", "d"]), min_size=1, max_size=8), max_size=4),
)
def test_everybody_is_offered_his_events_once_and_in_order(patterns: list[str], batches: list[list[str]]) -> None:
    stage = Stage()
    for number, pattern in enumerate(patterns):
        stage.add(str(number), pattern)
    for batch in batches:
        stage.dispatch(*batch)

    types = [type for batch in batches for type in batch]
    for number, pattern in enumerate(patterns):
        wanted = Pattern.parse(pattern)
        expected = [sequence for sequence, type in enumerate(types, 1) if wanted.matches(type)]
        assert stage.offered(str(number)) == expected


def test_neighbours_that_the_same_ones_want_are_handed_on_as_one_run() -> None:
    stage = Stage()
    stage.add("all of a", "a.*")
    stage.add("all", "*")

    stage.dispatch("a.x", "a.y", "b", "c", "a.x")

    assert stage.journal[:-2] == [
        ("all of a", "offer", [1, 2]),
        ("all", "offer", [1, 2]),
        ("all", "offer", [3, 4]),
        ("all of a", "offer", [5]),
        ("all", "offer", [5]),
    ]


def test_a_batch_that_everybody_wants_is_handed_on_whole() -> None:
    stage = Stage()
    stage.add("all", "*")

    stage.dispatch("a", "b", "c")

    assert stage.journal == [("all", "offer", [1, 2, 3]), ("all", "wake", [])]


def test_who_wants_nothing_of_a_batch_is_left_alone() -> None:
    stage = Stage()
    stage.add("c", "c")

    stage.dispatch("a", "b")

    assert stage.journal == []


# --- order -----------------------------------------------------------------------------------------------------------


def test_higher_priorities_are_offered_and_woken_first_then_those_who_came_first() -> None:
    stage = Stage()
    for name, priority in (("second", 0), ("third", 0), ("first", 1), ("last", -1)):
        stage.add(name, "*", priority)

    stage.dispatch("a")

    assert stage.acts("offer") == stage.acts("wake") == ["first", "second", "third", "last"]


def test_after_several_runs_all_are_woken_once_in_the_order_of_priority() -> None:
    stage = Stage()
    for name, pattern, priority in (("b", "b", 0), ("a", "a", 1), ("all", "*", -1), ("also b", "b", 2)):
        stage.add(name, pattern, priority)

    stage.dispatch("a", "b", "a", "c")

    assert stage.acts("wake") == ["also b", "a", "b", "all"]


def test_nobody_is_woken_before_everybody_was_offered_the_batch() -> None:
    """Who wakes up may look at all of it."""
    stage = Stage()
    stage.add("a", "a")
    stage.add("b", "b")

    stage.dispatch("a", "b", "a")

    assert [act for _, act, _ in stage.journal] == ["offer"] * 3 + ["wake"] * 2


def test_the_head_has_moved_when_a_batch_is_offered() -> None:
    stage = Stage()
    heads: list[int] = []
    stage.add("a", "a").then = lambda: heads.append(stage.history.head)

    stage.dispatch("a", "b")

    assert heads == [2]


def test_the_floor_of_the_store_is_known_when_a_batch_is_offered() -> None:
    stage = Stage()
    stage.dispatch("a", "b")
    floors: list[int] = []
    stage.add("a", "a").then = lambda: floors.append(stage.history.floor)

    stage.fanout.dispatch(recorded("a", first=3), Appended(3, floor=2))

    assert floors == [2]


# --- coming and going ------------------------------------------------------------------------------------------------


@pytest.mark.fault(69)
def test_who_leaves_while_a_batch_is_offered_does_not_take_his_neighbours_with_him() -> None:
    stage = Stage()
    receivers = [stage.add(name, "*") for name in ("a", "b", "c")]
    receivers[1].then = lambda: stage.fanout.remove(Pattern.parse("*"), receivers[1])

    stage.dispatch("x")
    stage.dispatch("y")

    assert [stage.offered(name) for name in ("a", "b", "c")] == [[1, 2], [1], [1, 2]]


@pytest.mark.fault(69)
def test_who_leaves_is_offered_no_later_run_of_the_batch() -> None:
    stage = Stage()
    receivers = [stage.add(name, "*") for name in ("a", "b")]
    stage.add("odd", ["x", "z"])
    receivers[0].then = lambda: stage.fanout.remove(Pattern.parse("*"), receivers[0])

    stage.dispatch("x", "y", "z")

    assert [stage.offered(name) for name in ("a", "b", "odd")] == [[1], [1, 2, 3], [1, 3]]


def test_who_comes_is_offered_the_next_batch() -> None:
    stage = Stage()
    stage.add("early", "*")
    stage.dispatch("a")
    stage.add("late", "*")
    stage.dispatch("a")

    assert [stage.offered(name) for name in ("early", "late")] == [[1, 2], [2]]


# --- when_full="block" -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_who_blocks_is_named_until_he_unblocks_or_leaves() -> None:
    stage = Stage()
    first, second = stage.add("first", "*"), stage.add("second", "*")
    stage.fanout.block(first)
    stage.fanout.block(second)
    stage.fanout.block(first)
    assert list(stage.fanout.blockers) == [first, second]

    stage.fanout.unblock(first)
    assert list(stage.fanout.blockers) == [second]
    stage.fanout.remove(Pattern.parse("*"), second)
    assert list(stage.fanout.blockers) == []


@pytest.mark.asyncio
async def test_the_writer_hears_when_a_blocker_goes() -> None:
    stage = Stage()
    first, second, stranger = (stage.add(name, "*") for name in ("first", "second", "stranger"))
    stage.fanout.block(first)
    stage.fanout.block(second)
    waiting = asyncio.create_task(stage.fanout.change_of_blockers())
    await asyncio.sleep(0)

    stage.fanout.unblock(stranger)
    await asyncio.sleep(0)
    assert not waiting.done()

    stage.fanout.unblock(second)
    await waiting
    stage.fanout.unblock(first)


@pytest.mark.asyncio
async def test_a_writer_that_is_gone_does_not_disturb_who_unblocks() -> None:
    """Somebody may have cancelled all tasks of the loop; the subscriptions are ended then, one after the other."""
    stage = Stage()
    receiver = stage.add("a", "*")
    stage.fanout.block(receiver)
    writer = asyncio.create_task(stage.fanout.change_of_blockers())
    await asyncio.sleep(0)
    writer.cancel()
    await asyncio.wait([writer])

    stage.fanout.remove(Pattern.parse("*"), receiver)

    assert list(stage.fanout.blockers) == []
