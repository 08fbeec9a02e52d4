import sys
import weakref
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbus import patterns
from asyncbus.errors import InvalidPatternError
from asyncbus.patterns import TYPE_CACHE_LIMIT, Pattern, PatternIndex

# --- one pattern -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("a.b", ["a.b"], ["a", "a.b.c", "a.bc", "A.b"]),
        (
            "optimization.*",
            ["optimization.cache_hit", "optimization.cache.l2.hit"],
            ["optimization", "optimizations.x", "optimization-x"],
        ),
        ("opt*", ["opt", "optimization", "optimization.cache_hit"], ["op", "Opt"]),
        ("*", ["a", "a.b", "-", "Z" * 255], []),
        ("order_*", ["order_created"], ["orderXcreated", "ORDER_created"]),
        (["a", "b.*"], ["a", "b.c"], ["b", "c"]),
        (("a*", "a.b"), ["a", "ab", "a.b"], ["b"]),
        ({"a.*", "b.*"}, ["a.x", "b.x"], ["c.x"]),
    ],
)
def test_a_pattern_takes_its_types_and_no_others(pattern: object, taken: list[str], left: list[str]) -> None:
    wanted = Pattern.parse(pattern)

    assert [type for type in taken + left if wanted.matches(type)] == taken


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "it is empty; '*' takes all events"),
        ("a.**", "'*' stands at character 3, but only the end"),
        ("*.b", "'*' stands at character 1"),
        ("a*b", "'*' stands at character 2"),
        ("a..b", "token 2 is empty"),
        ("a..*", "token 2 is empty"),
        (".*", "token 1 is empty"),
        ("a.", "token 2 is empty"),
        ("a b", "token 1, 'a b', has a character outside"),
        ("a.b%", "token 2, 'b%', has a character outside"),
        ("[ab]*", "token 1, '[ab]', has a character outside"),
        ("a.>", "token 2, '>', has a character outside"),
        ("a\n", r"token 1, 'a\n', has a character outside"),
        ("а.*", "token 1, 'а', has a character outside"),  # noqa: RUF001  # a Cyrillic letter is the point
        ("x" * 300, "300 characters, at most"),
        ("x" * 256 + "*", "257 characters, at most"),
        (["a", 3], "expected a string, found int"),
        (["a", ""], "it is empty"),
        ([], "expected a string or several strings"),
        (None, "expected a string or several strings"),
        (7, "expected a string or several strings"),
        (b"a", "expected a string or several strings"),
    ],
)
def test_anything_else_is_refused_with_the_offending_part_named(pattern: object, reason: str) -> None:
    with pytest.raises(InvalidPatternError) as refused:
        Pattern.parse(pattern)

    assert refused.value.reason.startswith(reason)


def test_an_exact_pattern_is_no_longer_than_a_type() -> None:
    """Else it would be taken, and match nothing for ever."""
    assert Pattern.parse("x" * 255).matches("x" * 255)
    assert Pattern.parse("x" * 255 + "*").matches("x" * 255)
    with pytest.raises(InvalidPatternError):
        Pattern.parse("x" * 256)


def test_a_pattern_parsed_already_is_taken_as_it_is() -> None:
    wanted = Pattern.parse(["a", "b.*"])

    assert Pattern.parse(wanted) is wanted


def test_terms_that_another_one_covers_are_left_out() -> None:
    assert Pattern.parse(["a.b", "a.*", "a.b.*", "c", "c"]) == Pattern(exact=("c",), prefixes=("a.",))
    assert Pattern.parse(["*", "a", "a*"]) == Pattern.parse("*")


def test_only_the_star_matches_all() -> None:
    assert Pattern.parse(["*", "a"]).matches_all
    assert not Pattern.parse(["a*", "b"]).matches_all


def test_the_order_of_terms_does_not_matter() -> None:
    assert Pattern.parse(["b", "a", "d*", "c*"]) == Pattern.parse(["c*", "d*", "a", "b"])


TYPES = st.from_regex(r"[ab_.-]{1,6}", fullmatch=True).filter(lambda text: all(text.split(".")))
TERMS = TYPES | TYPES.map(lambda type: f"{type}*") | TYPES.map(lambda type: f"{type}.*") | st.just("*")
PATTERNS = st.lists(TERMS, min_size=1, max_size=4).map(Pattern.parse)


@given(PATTERNS)
def test_a_pattern_shows_itself_as_it_can_be_written(pattern: Pattern) -> None:
    assert Pattern.parse(str(pattern).split(", ")) == pattern


@given(st.lists(TERMS, min_size=1, max_size=4), TYPES)
def test_several_terms_take_what_each_of_them_takes(terms: list[str], type: str) -> None:
    assert Pattern.parse(terms).matches(type) == any(Pattern.parse(term).matches(type) for term in terms)


@pytest.mark.fault(23)
@given(PATTERNS, TYPES | st.text(alphabet="abz~", min_size=1, max_size=4))
def test_the_ranges_hold_the_types_that_match(pattern: Pattern, type: str) -> None:
    """What a store finds by its index is what the index in memory finds."""
    assert any(low <= type < high for low, high in pattern.ranges()) == pattern.matches(type)


@given(PATTERNS)
def test_the_ranges_ascend_without_overlap(pattern: Pattern) -> None:
    ends = [end for bounds in pattern.ranges() for end in bounds]

    assert ends == sorted(ends)
    assert all(low < high for low, high in pattern.ranges())


# --- many patterns ---------------------------------------------------------------------------------------------------


class Receiver:
    def __init__(self, number: int, priority: int = 0) -> None:
        self.rank = (-priority, number)

    def __repr__(self) -> str:
        return f"Receiver{self.rank}"


@settings(max_examples=200)
@given(st.data())
def test_the_index_agrees_with_the_patterns_themselves(data: st.DataObject) -> None:
    index: PatternIndex[Receiver] = PatternIndex()
    held: list[tuple[Pattern, Receiver]] = []
    for number in range(data.draw(st.integers(1, 12))):
        leaves = data.draw(st.booleans())
        if held and leaves:
            index.remove(*held.pop(data.draw(st.integers(0, len(held) - 1))))
        else:
            held.append((data.draw(PATTERNS), Receiver(number, data.draw(st.integers(-1, 1)))))
            index.add(*held[-1])
        for type in data.draw(st.lists(TYPES, max_size=4)):
            wanted_by = [receiver for pattern, receiver in held if pattern.matches(type)]
            assert list(index.receivers(type)) == sorted(wanted_by, key=lambda receiver: receiver.rank)


def index_of(*terms: str) -> tuple[PatternIndex[Receiver], list[Receiver]]:
    index: PatternIndex[Receiver] = PatternIndex()
    receivers = [Receiver(number) for number in range(len(terms))]
    for term, receiver in zip(terms, receivers, strict=True):
        index.add(Pattern.parse(term), receiver)
    return index, receivers


def test_a_receiver_that_two_terms_lead_to_is_found_once() -> None:
    index: PatternIndex[Receiver] = PatternIndex()
    receiver = Receiver(0)
    index.add(Pattern(exact=("a.b",), prefixes=("a", "a.")), receiver)

    assert index.receivers("a.b") == (receiver,)


def test_higher_priorities_come_first_then_the_order_of_coming() -> None:
    index: PatternIndex[Receiver] = PatternIndex()
    late, early, urgent = Receiver(2), Receiver(1), Receiver(3, priority=5)
    for receiver in (late, early, urgent):
        index.add(Pattern.parse("a"), receiver)

    assert index.receivers("a") == (urgent, early, late)


def test_types_with_the_same_receivers_share_one_answer() -> None:
    """So that whoever hands events on can compare with `is`."""
    index, (all_of_a, all_) = index_of("a.*", "*")

    assert index.receivers("a.x") is index.receivers("a.y")
    assert index.receivers("a.x") == (all_of_a, all_)


def test_types_share_one_answer_also_after_a_receiver_of_one_of_them_has_gone() -> None:
    index, _ = index_of("*")
    passer_by = Receiver(9)
    assert index.receivers("a") is index.receivers("b")

    index.add(Pattern.parse("a"), passer_by)
    assert index.receivers("a") is not index.receivers("b")
    index.remove(Pattern.parse("a"), passer_by)

    assert index.receivers("a") is index.receivers("b")


@pytest.mark.parametrize("term", ["a", "a*", "*"])
def test_nothing_keeps_a_removed_receiver_alive(term: str) -> None:
    index, receivers = index_of(term)
    assert index.receivers("a") == (receivers[0],)
    gone = weakref.ref(receivers[0])

    index.remove(Pattern.parse(term), receivers.pop())

    assert gone() is None
    assert index.receivers("a") == ()


def test_the_types_remembered_are_bounded() -> None:
    """Types may be generated without end."""
    index, (receiver, _) = index_of("a*", "b*")

    for number in range(TYPE_CACHE_LIMIT + 10):
        assert index.receivers(f"a{number}") == (receiver,)

    assert 0 < len(index._found) <= TYPE_CACHE_LIMIT
    assert len(index._interned) == 1


def steps(act: Callable[[], Any]) -> int:
    """Lines that `patterns.py` runs while acting."""
    lines = 0

    def count(frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        nonlocal lines
        if frame.f_code.co_filename != patterns.__file__:
            return None
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        act()
    finally:
        sys.settrace(before)
    return lines


def crowd(terms: Iterable[str]) -> PatternIndex[Receiver]:
    index, _ = index_of(*terms)
    return index


@pytest.mark.fault(25)
@settings(max_examples=25)
@given(st.integers(4, 255), st.integers(0, 300))
def test_looking_up_a_type_takes_steps_linear_in_its_length(length: int, others: int) -> None:
    nested = [f"{'x' * size}*" for size in range(1, length + 1)]
    index = crowd(nested + [f"y{number}*" for number in range(others)] + [f"z{number}" for number in range(others)])

    taken = steps(lambda: index.receivers("x" * length))

    # One to go on, one to compare, one to look up; and each prefix has a receiver here, which is sorted.
    assert length <= taken <= 4 * length + 20


@pytest.mark.fault(25)
def test_looking_up_a_type_takes_no_longer_where_thousands_do_not_want_it() -> None:
    alone = crowd(["a.*", "a.b"])
    crowded = crowd(["a.*", "a.b", *(f"{number}.*" for number in range(5000)), *(f"c.{n}" for n in range(5000))])

    # Five lengths more of prefixes: `0.` to `4999.`.
    assert steps(lambda: crowded.receivers("a.b")) <= steps(lambda: alone.receivers("a.b")) + 5 * 3


def test_prefixes_that_nobody_wants_any_more_cost_no_steps() -> None:
    index = crowd(["a*"])
    before = steps(lambda: index.receivers("a" * 255))
    passers_by = [(Pattern.parse(f"{'a' * size}*"), Receiver(size)) for size in range(1, 255)]
    for pattern, receiver in passers_by:
        index.add(pattern, receiver)
    for pattern, receiver in passers_by:
        index.remove(pattern, receiver)

    assert steps(lambda: index.receivers("a" * 255)) == before


def test_a_type_that_is_known_is_found_in_a_few_steps() -> None:
    index = crowd([f"{'x' * size}*" for size in range(1, 256)])
    index.receivers("x" * 255)

    assert steps(lambda: index.receivers("x" * 255)) <= 3
