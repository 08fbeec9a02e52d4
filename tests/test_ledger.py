"""The ledger of a consumer: never a checkpoint past what is not done, and what is stored owes exactly that."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncbus.ledger import Held, Ledger
from asyncbus.store.consumers import ConsumerState, Owed
from tests.fakes import recorded

DUE = 1_700_000_000_000_000
EMPTY = ConsumerState(name="one", pattern="a")


def held_of(sequence: int, attempts: int = 0, due: int = 0) -> Held:
    return Held(recorded("a", first=sequence)[0], attempts, due)


def read(ledger: Ledger, *sequences: int) -> list[Held]:
    """New events, read in this order."""
    found = [held_of(sequence) for sequence in sequences]
    for held in found:
        ledger.read(held)
    return found


def stored(ledger: Ledger, read_to: int) -> tuple[int, int, int, dict[int, Owed]]:
    state = ledger.state(EMPTY, read_to)
    return state.checkpoint, state.settled_to, state.begun_to, dict(state.owed)


@pytest.mark.fault(63)
def test_the_checkpoint_moves_over_what_is_done_without_a_gap() -> None:
    ledger = Ledger(EMPTY)
    events = read(ledger, 1, 2, 4, 5)
    for held in events:
        ledger.begin(held)
    checkpoints = []
    for place in (1, 3, 0, 2):
        ledger.finish(events[place])
        checkpoints.append(ledger.checkpoint(6))
    assert checkpoints == [0, 0, 3, 6], "it passes what does not match, up to where it has read"


def test_where_the_checkpoint_will_be_once_an_event_is_done() -> None:
    ledger = Ledger(EMPTY)
    first, second, _ = read(ledger, 2, 3, 7)
    assert ledger.checkpoint_without(first, 9) == 2
    assert ledger.checkpoint_without(second, 9) == 1
    ledger.finish(first)
    assert ledger.checkpoint_without(second, 9) == 6
    assert ledger.checkpoint(9) == 2


def test_what_was_begun_once_is_told_by_how_far_it_was_begun() -> None:
    ledger = Ledger(EMPTY)
    first, second, third, _ = read(ledger, 1, 2, 3, 4)
    for held in (first, second, third):
        ledger.begin(held)
    assert stored(ledger, 4) == (0, 0, 3, {})
    ledger.finish(second)
    assert stored(ledger, 4) == (0, 2, 3, {1: Owed(1)})
    ledger.finish(first)
    assert stored(ledger, 4) == (2, 2, 3, {})
    ledger.finish(third)
    assert stored(ledger, 4) == (3, 3, 3, {})


def test_what_failed_is_told_with_its_attempts_and_when_it_comes_again() -> None:
    ledger = Ledger(EMPTY)
    [held] = read(ledger, 1)
    ledger.begin(held)
    ledger.wait(held, DUE)
    assert not held.is_begun
    assert stored(ledger, 1) == (0, 1, 1, {1: Owed(1, DUE)})
    ledger.begin(held)
    assert (held.is_begun, held.attempts, held.due) == (True, 2, 0)
    assert stored(ledger, 1) == (0, 1, 1, {1: Owed(2)})
    ledger.finish(held)
    assert stored(ledger, 1) == (1, 1, 1, {})


def test_what_was_begun_and_taken_back_was_no_attempt() -> None:
    ledger = Ledger(EMPTY)
    [held] = read(ledger, 1)
    ledger.begin(held)
    ledger.take_back(held)
    assert (held.is_begun, held.attempts) == (False, 0)
    assert stored(ledger, 1) == (0, 1, 1, {1: Owed(0)})
    ledger.begin(held)
    assert ledger.state(EMPTY, 1).begun_to == 1
    assert held.attempts == 1


def test_what_was_passed_over_was_not_begun_though_a_later_one_was() -> None:
    ledger = Ledger(EMPTY)
    first, second, third, fourth, fifth = read(ledger, 1, 2, 3, 4, 5)
    ledger.begin(first)
    for held in (second, third, fifth):
        ledger.pass_over(held)
    assert stored(ledger, 5) == (0, 0, 1, {}), "nothing after it was begun: the store need not know"
    ledger.begin(fourth)
    assert stored(ledger, 5) == (0, 3, 4, {1: Owed(1), 2: Owed(0), 3: Owed(0)})
    ledger.begin(third)
    assert stored(ledger, 5) == (0, 2, 4, {1: Owed(1), 2: Owed(0)})
    ledger.begin(second)
    assert stored(ledger, 5) == (0, 0, 4, {})
    for held in (first, second, third, fourth):
        ledger.finish(held)
    assert stored(ledger, 5) == (4, 4, 4, {})


def test_a_clean_end_keeps_the_attempts_of_what_is_in_flight_and_of_nothing_else() -> None:
    ledger = Ledger(EMPTY)
    handed_out, waiting, ahead, last = read(ledger, 1, 2, 3, 4)
    for held in (handed_out, waiting, ahead, last):
        ledger.begin(held)
    ledger.wait(waiting, DUE)
    ledger.rest(4, {handed_out})
    assert stored(ledger, 4) == (0, 2, 2, {1: Owed(1), 2: Owed(1, DUE)}), "the others are as new"


def test_what_was_not_read_back_is_as_suspect_as_before_after_a_clean_end() -> None:
    ledger = Ledger(ConsumerState(name="one", pattern="a", begun_to=9, active_since=1))
    read(ledger, 1)
    ledger.rest(1, ())
    assert ledger.state(EMPTY, 1).begun_to == 9
    ledger.rest(9, ())
    assert ledger.state(EMPTY, 9).begun_to == 0


def test_what_is_owed_is_read_back_once() -> None:
    ledger = Ledger(
        ConsumerState(name="one", pattern="a", checkpoint=3, settled_to=9, begun_to=9, owed={7: Owed(2), 5: Owed(1)})
    )
    assert ledger.checkpoint(9) == 4
    assert [sequence for sequence, _ in ledger.owed()] == [5, 7]
    for sequence, owed in ledger.owed():
        ledger.read(held_of(sequence, owed.attempts))
    assert list(ledger.owed()) == []
    assert len(ledger) == 2
    assert [held.record.sequence for held in ledger] == [5, 7]


def test_what_is_owed_is_stored_as_before_while_it_is_not_read_back() -> None:
    before = ConsumerState(
        name="one", pattern="a", checkpoint=1, settled_to=4, begun_to=4, owed={2: Owed(1), 4: Owed(2, DUE)}
    )
    ledger = Ledger(before)
    assert ledger.state(before, 9) == before
    ledger.read(held_of(2, 1))
    assert ledger.state(before, 9) == before


def test_what_may_have_been_handed_out_before_is_told_as_soon_as_it_is_read() -> None:
    ledger = Ledger(ConsumerState(name="one", pattern="a", begun_to=2, active_since=1))
    ledger.read(held_of(1, 1))
    assert stored(ledger, 1) == (0, 1, 2, {1: Owed(1)})


@pytest.mark.parametrize("order", [(2, 0), (0, 2)])
def test_what_was_done_before_an_earlier_one_stays_done(order: tuple[int, int]) -> None:
    ledger = Ledger(EMPTY)
    events = read(ledger, 1, 2, 3)
    for held in events:
        ledger.begin(held)
    for place in order:
        ledger.finish(events[place])
    assert stored(ledger, 3) == (1, 3, 3, {2: Owed(1)})


@given(st.sets(st.integers(1, 30)), st.data())
def test_done_in_any_order_it_ends_where_it_has_read(matching: set[int], data: st.DataObject) -> None:
    ledger = Ledger(EMPTY)
    events = read(ledger, *sorted(matching))
    for held in events:
        ledger.begin(held)
    before = 0
    for held in data.draw(st.permutations(events)):
        ledger.finish(held)
        assert before <= (before := ledger.checkpoint(30))
    assert stored(ledger, 30) == (30, 30, 30, {})


# --------------------------------------------------------------------------------------------- whatever happens to it


class Consuming(RuleBasedStateMachine):
    """A ledger whose consumer is killed or closed now and then, beside what it must know."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(EMPTY)
        self.state = EMPTY
        self.read_to = 0
        self.done: set[int] = set()
        # By sequence: how often it was handed out, and all that was read and is not done, by what becomes of it.
        self.handed_out: dict[int, int] = {}
        self.idle: dict[int, Held] = {}
        self.behind: dict[int, Held] = {}
        self.in_flight: dict[int, Held] = {}
        self.waiting: dict[int, Held] = {}

    @property
    def unfinished(self) -> dict[int, Held]:
        return self.idle | self.behind | self.in_flight | self.waiting

    # -------------------------------------------------------------------------------------- what a consumer does

    @rule(step=st.integers(1, 3))
    def read(self, step: int) -> None:
        """The next event that matches; up to two others are passed."""
        self.read_to += step
        sequence = self.read_to
        held = held_of(sequence)
        self.ledger.read(held)
        self.idle[sequence] = held

    def _one(self, among: dict[int, Held], data: st.DataObject) -> Held:
        return among.pop(data.draw(st.sampled_from(sorted(among))))

    @precondition(lambda self: self.idle)
    @rule(data=st.data(), count=st.integers(1, 4))
    def begin(self, data: st.DataObject, count: int) -> None:
        """A few are begun, which is stored, and only then handed out."""
        lump = [self._one(self.idle, data) for _ in range(min(count, len(self.idle)))]
        for held in lump:
            self.ledger.begin(held)
        self.store()
        for held in lump:
            sequence = held.record.sequence
            self.handed_out[sequence] = self.handed_out.get(sequence, 0) + 1
            self.in_flight[sequence] = held

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def pass_over(self, data: st.DataObject) -> None:
        """What was read last waits for another of its key."""
        last = max(self.idle)
        if last == max(self.unfinished) and not self.handed_out.get(last):
            held = self.behind[last] = self.idle.pop(last)
            self.ledger.pass_over(held)

    @precondition(lambda self: self.behind)
    @rule()
    def follow(self) -> None:
        """Its turn has come."""
        first = min(self.behind)
        self.idle[first] = self.behind.pop(first)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        held = self._one(self.in_flight, data)
        self.ledger.finish(held)
        self.done.add(held.record.sequence)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        held = self._one(self.in_flight, data)
        self.ledger.wait(held, DUE)
        self.waiting[held.record.sequence] = held

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        held = self._one(self.waiting, data)
        self.idle[held.record.sequence] = held

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """Its handler was cancelled."""
        held = self._one(self.in_flight, data)
        self.ledger.take_back(held)
        self.handed_out[held.record.sequence] -= 1
        self.idle[held.record.sequence] = held

    @rule()
    def store(self) -> None:
        self.state = self.ledger.state(self.state, self.read_to)

    # ---------------------------------------------------------------------------------------------- how it ends

    @rule()
    def killed(self) -> None:
        """What was done since it was stored last is done once more."""
        self.done = {sequence for sequence in self.done if not self.owes(sequence)}
        self._live_again()

    @rule()
    def closed(self) -> None:
        self.ledger.rest(self.read_to, set(self.in_flight.values()))
        self.store()
        assert {sequence for sequence in self.done if self.owes(sequence)} == set()
        for sequence, held in self.unfinished.items():
            owed = self.state.owed.get(sequence, Owed(0))
            assert (owed.attempts, owed.due) == (self.handed_out.get(sequence, 0), held.due)
        self._live_again()

    def _live_again(self) -> None:
        ends = self.state
        self.ledger = Ledger(ends)
        self.in_flight, self.idle, self.behind, self.waiting = {}, {}, {}, {}
        for sequence, owed in self.ledger.owed():
            held = held_of(sequence, owed.attempts, owed.due)
            self.ledger.read(held)
            (self.waiting if owed.due else self.idle)[sequence] = held
            self.handed_out[sequence] = owed.attempts
        self.read_to = ends.settled_to
        for sequence in [sequence for sequence in self.handed_out if sequence > ends.settled_to]:
            del self.handed_out[sequence]

    def owes(self, sequence: int) -> bool:
        """Whether the next holder of the name would hand it out."""
        return sequence > self.state.settled_to or sequence in self.state.owed

    # ------------------------------------------------------------------------------------------- what always holds

    @invariant()
    def no_checkpoint_is_past_what_is_not_done(self) -> None:
        unfinished = self.unfinished
        for checkpoint in (self.ledger.checkpoint(self.read_to), self.state.checkpoint):
            assert all(sequence > checkpoint for sequence in unfinished)
        if not unfinished:
            assert self.ledger.checkpoint(self.read_to) == self.read_to

    @invariant()
    def all_that_is_not_done_is_owed(self) -> None:
        assert all(map(self.owes, self.unfinished))

    @invariant()
    def what_is_in_flight_is_stored_with_its_attempt(self) -> None:
        for sequence, held in self.in_flight.items():
            known = self.state.owed.get(sequence, Owed(int(sequence <= self.state.begun_to))).attempts
            assert known >= held.attempts

    @invariant()
    def what_was_passed_over_is_not_stored_as_begun(self) -> None:
        state = self.ledger.state(self.state, self.read_to)
        for sequence in self.behind:
            assert sequence > state.begun_to or state.owed.get(sequence) == Owed(0)

    @invariant()
    def its_parts_ascend(self) -> None:
        state = self.ledger.state(self.state, self.read_to)
        assert 0 <= state.checkpoint <= state.settled_to <= state.begun_to
        assert list(state.owed) == sorted(state.owed)
        assert all(state.checkpoint < sequence <= state.settled_to for sequence in state.owed)
        assert set(state.owed) & self.done == set()


TestWhateverHappensToALedger = Consuming.TestCase
TestWhateverHappensToALedger.settings = settings(max_examples=50, stateful_step_count=40)
