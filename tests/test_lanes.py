"""In which order events may be handed out: one of each lane at a time, and who waits behind whom."""

import random
from collections.abc import Sequence

import pytest

from asyncbus.lanes import Lanes, Order
from asyncbus.ledger import Held
from tests.fakes import recorded


def held_of(lanes: Lanes, sequence: int, key: str | None) -> Held:
    record = recorded("a", first=sequence)[0]
    record.key = key
    return Held(record, lane=lanes.of(record))


def lined_up(order: Order, *keys: str | None) -> tuple[Lanes, list[Held]]:
    """One event for each key, in order; None: without a key."""
    lanes = Lanes(order)
    return lanes, [held_of(lanes, sequence, key) for sequence, key in enumerate(keys, 1)]


def free(lanes: Lanes, events: Sequence[Held]) -> list[bool]:
    return [lanes.enter(held) for held in events]


@pytest.mark.parametrize(
    ("order", "expected"),
    [("none", [True] * 5), ("key", [True, True, False, True, True]), ("strict", [True] + [False] * 4)],
)
def test_who_may_be_handed_out_while_nothing_is_done(order: Order, expected: list[bool]) -> None:
    lanes, events = lined_up(order, "x", "y", "x", None, None)
    assert free(lanes, events) == expected
    assert [held.leads for held in events] == [
        lanes.of(held.record) is not None and at_once for held, at_once in zip(events, expected, strict=True)
    ]


def test_who_leads_is_free_as_often_as_it_is_asked() -> None:
    lanes, [first, second] = lined_up("key", "x", "x")
    assert free(lanes, [first, first, second, first]) == [True, True, False, True]
    assert list(lanes.behind(first)) == [second]


def test_the_next_of_a_lane_leads_when_the_one_before_has_left() -> None:
    lanes, [first, second, third, other] = lined_up("key", "x", "x", "x", "y")
    free(lanes, [first, second, third, other])
    assert lanes.leave(other) is None
    assert lanes.leave(first) is second
    assert (first.leads, second.leads, third.leads) == (False, True, False)
    assert lanes.leave(second) is third
    assert lanes.leave(third) is None
    assert lanes.enter(held_of(lanes, 9, "x")), "nothing is left of the lane"


def test_who_leads_no_lane_has_nobody_behind() -> None:
    lanes, [held] = lined_up("key", None)
    assert lanes.enter(held)
    assert list(lanes.behind(held)) == list(lanes.stop(held)) == []
    lanes.go_on(held)
    assert lanes.leave(held) is None
    assert not lanes.is_stopped(held)


def test_a_lane_is_stopped_while_who_leads_it_waits_for_its_retry() -> None:
    lanes, [first, second, other] = lined_up("key", "x", "x", "y")
    free(lanes, [first, second, other])
    assert list(lanes.stop(first)) == [second]
    assert [lanes.is_stopped(held) for held in (first, second, other)] == [True, True, False]
    lanes.go_on(first)
    assert not lanes.is_stopped(second)
    lanes.stop(first)
    lanes.leave(first)
    assert not lanes.is_stopped(second), "who leads now does not wait"


def test_keys_that_look_alike_are_lanes_of_their_own() -> None:
    lanes, events = lined_up("key", "", "True", "None", None, "x", "X")
    assert all(free(lanes, events))


@pytest.mark.parametrize("order", ["key", "strict"])
@pytest.mark.parametrize("seed", range(20))
def test_each_lane_goes_in_order_whoever_finishes_when(order: Order, seed: int) -> None:
    chance = random.Random(seed)
    lanes, events = lined_up(order, *chance.choices(["x", "y", "z"], k=30))
    arriving, flying, done = list(events), list[Held](), list[Held]()
    while arriving or flying:
        if arriving and chance.random() < 0.5:
            held = arriving.pop(0)
            if lanes.enter(held):
                flying.append(held)
        elif flying:
            held = flying.pop(chance.randrange(len(flying)))
            done.append(held)
            if (following := lanes.leave(held)) is not None:
                flying.append(following)
        assert len({held.lane for held in flying}) == len(flying), "one of each at a time"
    assert len(done) == 30
    for lane in {held.lane for held in events}:
        passed = [held.record.sequence for held in done if held.lane == lane]
        assert passed == sorted(passed)
