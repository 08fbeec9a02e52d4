"""The proof that the model of consumers sees: each that breaks a promise is found."""

from pathlib import Path
from typing import Any

import pytest

from asyncbus.lanes import Lanes
from asyncbus.ledger import Held, Ledger
from asyncbus.resuming import Resuming
from asyncbus.store.consumers import ConsumerState
from asyncbus.store.kept_in_memory import KeptInMemory
from tests.reliability.model import desk
from tests.reliability.model.tool import explore_consumers
from tests.reliability.trials import Violation

TRIES = 60
"""Trials within which a broken consumer must be found."""


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is broken may hang."""
    monkeypatch.setattr(desk, "PATIENCE", 1.0)


def found(folder: Path) -> str:
    """What the tool says of a broken consumer."""
    for seed in range(TRIES):
        try:
            explore_consumers(seed, folder)
        except Violation as violation:
            return str(violation)
    raise AssertionError(f"not found in {TRIES} trials")


@pytest.mark.fault(63)
def test_a_checkpoint_that_passes_an_unfinished_event_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "checkpoint", lambda self, read_to: read_to)

    assert "the checkpoint is" in found(tmp_path)


@pytest.mark.fault(62)
def test_an_attempt_that_an_unclean_end_forgets_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Resuming, "_suspect", lambda self, held: None)

    assert "state.crash" in found(tmp_path)


def test_an_event_that_overtakes_another_of_its_key_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lanes, "of", lambda self, record: None)

    assert "and only these may" in found(tmp_path)


def test_a_retry_that_comes_at_once_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(self: desk.PassingClock, seconds: float) -> None:
        """As if it were over."""

    monkeypatch.setattr(desk.PassingClock, "sleep", at_once)

    assert "and only these may" in found(tmp_path)


def test_what_was_acknowledged_out_of_order_and_comes_again_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = Ledger.state

    def up_to_the_checkpoint_only(self: Ledger, before: ConsumerState, read_to: int, **others: Any) -> ConsumerState:
        told = state(self, before, read_to, **others)
        others |= {"checkpoint": told.checkpoint, "settled_to": told.checkpoint, "owed": {}}
        return ConsumerState(**{name: getattr(told, name) for name in told.__struct_fields__} | others)

    monkeypatch.setattr(Ledger, "state", up_to_the_checkpoint_only)

    assert "state." in found(tmp_path)


@pytest.mark.fault(66)
def test_a_dead_letter_that_is_not_kept_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeptInMemory, "_park", lambda self, parked: None)

    assert "state." in found(tmp_path)


def test_a_failure_that_is_not_stored_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Ledger.wait

    def wait_in_memory(self: Ledger, held: Held, due: int) -> None:
        wait(self, held, due)
        self._told.discard(held.record.sequence)

    monkeypatch.setattr(Ledger, "wait", wait_in_memory)

    assert "state." in found(tmp_path)
