from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbus.errors import EffectsError
from asyncbus.events import LAST_SEQUENCE
from asyncbus.fence import Fence


def applied(*sequences: int, checkpoint: int = 0) -> Fence:
    fence = Fence()
    for sequence in sequences:
        fence = fence.with_applied(sequence, checkpoint)
    return fence


def had(fence: Fence, sequences: Iterable[int] = range(1, 13), *, retried: bool = False) -> list[int]:
    return [sequence for sequence in sequences if fence.has(sequence, retried=retried)]


def test_at_first_nothing_has_had_its_effect() -> None:
    assert had(Fence()) == had(Fence(), retried=True) == []


def test_what_was_applied_out_of_order_is_remembered() -> None:
    fence = applied(7, 4, 9, 8)

    assert had(fence) == [4, 7, 8, 9]
    assert fence.applied == ((4, 4), (7, 9))


def test_what_the_checkpoint_covers_is_dropped() -> None:
    fence = applied(3, 4, 6, 7, 8).with_applied(9, 6)

    assert had(fence) == list(range(1, 10))
    assert fence.applied == ((7, 9),)
    assert fence.with_applied(12, 11).applied == ((12, 12),)
    assert fence.with_applied(12, 12).applied == ()


def test_the_checkpoint_never_moves_back() -> None:
    fence = Fence(checkpoint=6).with_applied(8, 3)

    assert (fence.checkpoint, had(fence)) == (6, [1, 2, 3, 4, 5, 6, 8])
    assert fence.with_applied(5, 0) == fence


def test_what_is_passed_without_an_effect_is_dropped_as_well() -> None:
    assert applied(3, 6, 7).passing(6) == Fence(checkpoint=6, applied=((7, 7),))
    assert Fence(checkpoint=2, retried=(1,)).passing(5) == Fence(checkpoint=5, retried=(1,))


def test_events_of_a_rare_type_are_one_range() -> None:
    fence = Fence(checkpoint=10)
    previous = 20  # in flight
    for sequence in range(30, 1_000, 10):
        fence = fence.with_applied(sequence, 10, after=previous)
        previous = sequence

    assert fence.applied == ((21, 990),)
    assert not fence.has(20)
    assert fence.with_applied(20, 10, after=10).with_applied(1_000, 990, after=990).applied == ((991, 1_000),)


@pytest.mark.fault(67)
def test_a_dead_letter_below_the_checkpoint_has_its_effect_once() -> None:
    fence = Fence(checkpoint=10)
    assert fence.has(4)
    assert not fence.has(4, retried=True)

    once = fence.with_applied(4, 10, retried=True)
    assert had(once, retried=True) == [4]
    assert had(once.with_applied(11, 11), retried=True) == [4]  # whatever becomes of the checkpoint


def test_a_dead_letter_above_the_checkpoint_has_its_effect_once() -> None:
    parked_after_all = applied(8, checkpoint=2)  # the commit's outcome was unknown
    assert parked_after_all.has(8, retried=True)

    retried = Fence(checkpoint=2).with_applied(8, 2, retried=True)
    assert retried.has(8)
    assert retried.with_applied(9, 9).has(8, retried=True)


def test_a_retried_one_is_forgotten_when_its_dead_letter_is_gone() -> None:
    fence = Fence(checkpoint=10).with_applied(4, 10, retried=True).with_applied(2, 10, retried=True)

    assert had(fence.forgetting([4, 5]), retried=True) == [2]
    assert fence.forgetting([2, 4]) == Fence(checkpoint=10)


def test_a_consumer_that_is_moved_has_what_comes_after_again_but_not_the_retries_before() -> None:
    fence = applied(3, 5, 8).with_applied(2, 3, retried=True)

    assert had(fence.at(1)) == [1]
    assert had(fence.at(1), retried=True) == []
    assert had(fence.at(2), retried=True) == [2]
    assert had(fence.at(11)) == list(range(1, 12))


@pytest.mark.parametrize(
    ("fence", "text"),
    [
        (Fence(), "{}"),
        (Fence(checkpoint=12), '{"checkpoint":12}'),
        (applied(14, 15, 17, checkpoint=12), '{"checkpoint":12,"applied":[[14,15],[17,17]]}'),
        (
            Fence(checkpoint=12).with_applied(7, 12, retried=True).with_applied(3, 12, retried=True),
            '{"checkpoint":12,"retried":[3,7]}',
        ),
        (Fence(checkpoint=LAST_SEQUENCE), '{"checkpoint":9223372036854775807}'),
    ],
)
def test_a_fence_is_short_as_text(fence: Fence, text: str) -> None:
    assert fence.to_text() == text
    assert Fence.from_text(text, "projector") == fence


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        '{"checkpoint":12',
        '{"checkpoint":"12"}',
        '{"checkpoint":12.5}',
        '{"checkpoint":-1}',
        '{"checkpoint":9223372036854775808}',
        '{"checkpoint":1,"more":2}',
        '{"checkpoint":5,"applied":[[5,6]]}',
        '{"checkpoint":5,"applied":[[8,7]]}',
        '{"checkpoint":5,"applied":[[8,9],[9,9]]}',
        '{"checkpoint":5,"applied":[[8,9],[6,7]]}',
        '{"checkpoint":5,"applied":[[8]]}',
        '{"checkpoint":5,"applied":[8]}',
        '{"checkpoint":5,"retried":[4,3]}',
        '{"checkpoint":5,"retried":[4,4]}',
    ],
)
def test_a_damaged_text_says_what_to_do(text: str) -> None:
    with pytest.raises(EffectsError, match=r'put \{"checkpoint":N\} in its place') as damaged:
        Fence.from_text(text, "projector")

    assert damaged.value.name == "projector"


SEQUENCES = st.integers(1, 30)
STEPS = st.lists(
    st.tuples(SEQUENCES, st.integers(0, 30), st.booleans())
    | st.tuples(st.just("forget"), st.sets(SEQUENCES))
    | st.tuples(st.just("seek"), st.integers(0, 30)),
    max_size=40,
)


@given(STEPS)
def test_it_knows_what_three_sets_would_know(steps: list[tuple[object, ...]]) -> None:
    fence, checkpoint, known, retries = Fence(), 0, set[int](), set[int]()
    for step in steps:
        match step:
            case int(sequence), int(reached), bool(retried):
                fence = fence.with_applied(sequence, reached, retried=retried)
                checkpoint = max(checkpoint, reached)
                known = {each for each in {*known, sequence} if each > checkpoint}
                retries |= {sequence} if retried else set()
            case "forget", set(gone):
                fence = fence.forgetting(gone)
                retries -= gone
            case "seek", int(checkpoint):
                fence = fence.at(checkpoint)
                retries = {each for each in retries if each <= checkpoint}
                known = set()

        every = range(1, 32)
        assert fence.checkpoint == checkpoint
        assert had(fence, every) == [each for each in every if each <= checkpoint or each in known]
        assert had(fence, every, retried=True) == [each for each in every if each in known | retries]
        assert Fence.from_text(fence.to_text(), "projector") == fence
        assert all(last + 1 < first for (_, last), (first, _) in zip(fence.applied, fence.applied[1:], strict=False))
