"""How many events are begun with one commit: those somebody waits for, until it pays to begin more."""

import pytest

from asyncbus.ahead import EXACT, Ahead

QUICK, SLOW, COMMIT = 0.0001, 1.0, 0.001


def test_so_many_in_a_row_are_begun_one_for_each_free_hand() -> None:
    ahead = Ahead(1000)
    for _ in range(EXACT - 1):
        ahead.handled(1, QUICK, COMMIT)
        assert ahead.size == 1
    ahead.handled(1, QUICK, COMMIT)
    assert ahead.size == 2


def test_more_share_a_commit_as_long_as_they_are_handled_while_it_is_under_way() -> None:
    ahead = Ahead(100)
    sizes = []
    for _ in range(8):
        ahead.handled(EXACT, QUICK, COMMIT)
        sizes.append(ahead.size)
    assert sizes == [2, 4, 8, 16, 32, 64, 100, 100]


def test_what_takes_long_is_begun_one_by_one_however_many_there_are() -> None:
    ahead = Ahead(1000)
    for _ in range(10 * EXACT):
        ahead.handled(1, SLOW, COMMIT)
    assert ahead.size == 1


def test_once_they_take_longer_fewer_share_a_commit() -> None:
    ahead = Ahead(1000)
    for _ in range(4):
        ahead.handled(EXACT, QUICK, COMMIT)
    sizes = []
    for seconds in (4 * COMMIT, SLOW, SLOW, SLOW, SLOW, SLOW):
        ahead.handled(16, seconds, COMMIT)
        sizes.append(ahead.size)
    assert sizes == [16, 8, 4, 2, 1, 1]


def test_after_there_was_nothing_to_do_they_are_begun_one_by_one_again() -> None:
    ahead = Ahead(1000)
    ahead.handled(EXACT, QUICK, COMMIT)
    ahead.waited()
    assert ahead.size == 1
    ahead.handled(EXACT - 1, QUICK, COMMIT)
    assert ahead.size == 1
    ahead.handled(1, QUICK, COMMIT)
    assert ahead.size == 2


@pytest.mark.parametrize("most", [1, 2, 3])
def test_never_more_than_may_be_in_flight(most: int) -> None:
    ahead = Ahead(most)
    for _ in range(9):
        ahead.handled(EXACT, QUICK, COMMIT)
    assert ahead.size == most
