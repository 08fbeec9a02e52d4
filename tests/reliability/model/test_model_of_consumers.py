"""The proof that the model of consumers sees: each that breaks a promise is found."""

from pathlib import Path
from typing import Any

import pytest

from asyncbus.lanes import Lanes
from asyncbus.ledger import Held, Ledger
from asyncbus.resuming import Resuming
from asyncbus.store.consumers import ConsumerState
from asyncbus.store.kept_in_memory import KeptInMemory
from asyncbus.testing import FakeClock
from tests.reliability.model import by_hand
from tests.reliability.model.tool import explore_consumers
from tests.reliability.trials import Violation

TRIES = 60
"""Trials within which a broken consumer must be found."""


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is broken may hang."""
    monkeypatch.setattr(by_hand, "PATIENCE", 1.0)


def is_found(told: str, folder: Path, *, first: int) -> bool:
    """Whether the tool says so of a broken consumer; with a well-chosen `first` seed it says it soon.

    What is broken may differ from one time to the next, and then hypothesis says that instead.
    """
    for seed in range(first, first + TRIES):
        try:
            explore_consumers(seed, folder)
        except Violation as violation:
            if told in str(violation):
                return True
    return False


@pytest.mark.fault(63)
def test_a_checkpoint_that_passes_an_unfinished_event_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "checkpoint", lambda self, read_to: read_to)

    assert is_found("the checkpoint is", tmp_path, first=48)


@pytest.mark.fault(62)
def test_an_attempt_that_an_unclean_end_forgets_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Resuming, "_suspect", lambda self, held: None)

    assert is_found("state.crash", tmp_path, first=30)


def test_an_event_that_overtakes_another_of_its_key_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lanes, "of", lambda self, record: None)

    assert is_found("and only these may", tmp_path, first=18)


def test_a_retry_that_comes_at_once_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(self: FakeClock, seconds: float) -> None:
        """As if it were over."""

    monkeypatch.setattr(FakeClock, "sleep", at_once)

    assert is_found("and only these may", tmp_path, first=34)


def test_what_was_acknowledged_out_of_order_and_comes_again_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = Ledger.state

    def up_to_the_checkpoint_only(self: Ledger, before: ConsumerState, read_to: int, **others: Any) -> ConsumerState:
        told = state(self, before, read_to, **others)
        others |= {"checkpoint": told.checkpoint, "settled_to": told.checkpoint, "owed": {}}
        return ConsumerState(**{name: getattr(told, name) for name in told.__struct_fields__} | others)

    monkeypatch.setattr(Ledger, "state", up_to_the_checkpoint_only)

    assert is_found("state.", tmp_path, first=15)


@pytest.mark.fault(66)
def test_a_dead_letter_that_is_not_kept_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeptInMemory, "_park", lambda self, parked: None)

    assert is_found("state.", tmp_path, first=41)


def test_a_failure_that_is_not_stored_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Ledger.wait

    def wait_in_memory(self: Ledger, held: Held, due: int) -> None:
        wait(self, held, due)
        self._told.discard(held.record.sequence)

    monkeypatch.setattr(Ledger, "wait", wait_in_memory)

    assert is_found("state.", tmp_path, first=15)
