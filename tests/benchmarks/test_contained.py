"""A call in a process of its own, which does not outlive its limit."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.contained import FailedError, TookTooLongError, contained, tell


def test_a_contained_call_returns_what_the_function_returns() -> None:
    assert contained(operator.mul, 6, 7, limit=60) == 42


def test_a_contained_call_tells_on_the_way() -> None:
    told: list[object] = []
    contained(tell, {"done": 1}, limit=60, on_told=told.append)
    assert told == [{"done": 1}]


def test_a_contained_call_that_raises_is_reported_with_what_it_raised() -> None:
    with pytest.raises(FailedError, match="ValueError: invalid literal"):
        contained(int, "no number", limit=60)


def test_a_contained_call_that_hangs_is_killed() -> None:
    with pytest.raises(TookTooLongError, match=r"killed after 0\.5 s"):
        contained(time.sleep, 600, limit=0.5)


class SeenEnoughError(Exception):
    """What a call tells makes the one that contains it stop listening."""


def hold_open(fifo: str) -> None:
    """Start a process that keeps the fifo open, say so, and hang."""
    with open(fifo, "wb") as end:  # noqa: PTH123 - it is no file
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[end.fileno()])
    tell("started")
    time.sleep(600)


def test_what_a_killed_call_has_started_is_killed_with_it(tmp_path: Path) -> None:
    def stop(told: object) -> None:
        raise SeenEnoughError(told)

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(SeenEnoughError, match="started"):
            contained(hold_open, str(fifo), limit=60, on_told=stop)
        os.set_blocking(reading, True)
        assert os.read(reading, 1) == b""  # nobody has the other end any more
    finally:
        os.close(reading)
