"""Children of one warm process, forked after all is imported, and how they are killed: at a moment or a system call."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import shutil
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from msgspec import Struct

from asyncbus import AsyncBusError
from tests.reliability.ledger import Claims, Ledger
from tests.reliability.lives import Life, live
from tests.reliability.trials import Figures, Violation

PATIENCE: Final = 30.0
"""Seconds after which a child is held to hang."""

_BROKEN: Final = 2
_STORE_FAILED: Final = 3
_PIPE: Final = 65_536


class SystemCall(Struct, frozen=True):
    """The nth call of its name that one of a child's threads makes; strace kills the child as it makes it."""

    name: str
    number: int


class Hearer(Protocol):
    """What keeps account of what children claim."""

    figures: Figures
    closing: bool
    """Whether the last child has begun to close its log."""

    def begin_life(self) -> None:
        """Another child is born."""

    def take(self, written: bytes) -> None:
        """Add what was read from its pipe."""


class Child:
    """A forked process that lives one life; made by `child` and `forked`.

    Attributes:
        killed: known when its context is left: it died of SIGKILL, and did not end by itself.
        may_fail: whether its store may fail from now on, and it with it.
    """

    def __init__(self, pid: int, pipe: int, ledger: Hearer) -> None:
        self.pid = pid
        self.killed = False
        self.may_fail = False
        self._pipe = pipe
        self._ledger = ledger
        self._born = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since it was let go."""
        return time.monotonic() - self._born

    def watch(self, enough: Callable[[], bool], *, tick: float = 0.002) -> bool:
        """Enter in the ledger what it claims until there is enough; False: it has ended before."""
        while not enough():
            if self.age > PATIENCE:
                raise Violation(f"the child hangs: {PATIENCE} s, {dict(self._ledger.figures)}")
            if select.select([self._pipe], [], [], tick)[0]:
                written = os.read(self._pipe, _PIPE)
                if not written:
                    return False
                self._ledger.take(written)
        return True

    def hear_out(self) -> None:
        """Enter what it has claimed so far."""
        while select.select([self._pipe], [], [], 0)[0]:
            written = os.read(self._pipe, _PIPE)
            if not written:
                return
            self._ledger.take(written)

    def kill(self) -> None:
        """SIGKILL, and enter all that it had claimed by then."""
        os.kill(self.pid, signal.SIGKILL)
        self.watch(lambda: False)

    def kill_while_closing(self, moment: float) -> None:
        """Kill it so many seconds after it has begun to close its log, unless it ends before."""
        if self.watch(lambda: self._ledger.closing):
            time.sleep(moment)
            self.kill()


def count_death(figures: Figures, death: str | None) -> None:
    """Add how a child was killed; None: it ended by itself."""
    if death is None:
        figures["ended before they could be killed"] += 1
    else:
        figures["kills"] += 1
        figures[death] += 1


@contextmanager
def child(life: Life, ledger: Ledger, folder: Path, *, dies_at: SystemCall | None = None) -> Iterator[Child]:
    """Fork a child that publishes and reads; `ledger` is also what it checks the log by. For the rest see `forked`."""
    with forked(lambda pipe: live(life, ledger, Claims(pipe)), ledger, folder, dies_at=dies_at) as one:
        yield one


@contextmanager
def forked(
    lives: Callable[[int], Coroutine[Any, Any, None]],
    ledger: Hearer,
    folder: Path,
    *,
    dies_at: SystemCall | None = None,
) -> Iterator[Child]:
    """Fork a child, and at the end wait for its end.

    Args:
        lives: what it does; it gets the pipe for its claims.
        ledger: its claims are entered there.
        folder: where it leaves word of what it found.
        dies_at: which of its system calls kills it.

    Raises:
        Violation: the child found one, or ended by an error.
    """
    ledger.begin_life()
    finding = folder / "finding.txt"
    claimed, claims = os.pipe()
    may_start, start = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(claimed)
        os.close(start)
        os.read(may_start, 1)
        _live_and_exit(lives(claims), finding)
    os.close(claims)
    os.close(may_start)
    status = None
    try:
        with _traced(pid, dies_at):
            os.write(start, b"!")
            one = Child(pid, claimed, ledger)
            yield one
            one.watch(lambda: False)
            _, status = os.waitpid(pid, 0)
    finally:
        if status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(claimed)
        os.close(start)
    one.killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not (one.killed or status == 0 or (one.may_fail and os.waitstatus_to_exitcode(status) == _STORE_FAILED)):
        raise Violation(finding.read_text() if finding.exists() else f"the child ended with status {status}")


def _live_and_exit(life: Coroutine[Any, Any, None], finding: Path) -> NoReturn:
    async def live_and_tell() -> None:
        try:
            await life
        except BaseException as error:  # noqa: BLE001  # it is told to the parent
            errors = _leaves(error)
            finding.write_text(
                str(errors[0]) if isinstance(errors[0], Violation) else "".join(traceback.format_exception(error))
            )
            # At once: a loop that closes waits for threads, which may wait for what has failed.
            os._exit(_STORE_FAILED if all(isinstance(each, AsyncBusError) for each in errors) else _BROKEN)

    # Whatever happens here, the process that was copied must not go on in its copy.
    try:
        logging.disable(logging.CRITICAL)  # nobody reads it
        asyncio.run(live_and_tell())
        os._exit(0)
    finally:
        os._exit(_BROKEN)


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors of which a group consists."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


@contextmanager
def _traced(pid: int, dies_at: SystemCall | None) -> Iterator[None]:
    """Have strace attached to a process that has not been let go yet."""
    if dies_at is None:
        yield
        return
    call = f"{dies_at.name}:signal=SIGKILL:when={dies_at.number}"
    with _strace(pid, "-f", "-e", f"trace={dies_at.name}", "-e", f"inject={call}") as told:
        if "attached" not in told:
            raise RuntimeError(f"strace cannot attach: {told}")
        yield
        # It ends with what it traces.


@contextmanager
def _strace(pid: int, *options: str) -> Iterator[str]:
    """Start it on a process; the first that it says."""
    command = ["strace", "-o", os.devnull, *options, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        yield strace.stderr.readline()


@cache
def can_trace() -> bool:
    """Whether strace is there, and may look into other processes of the same user."""
    if shutil.which("strace") is None:
        return False
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        with _strace(pid) as told:
            os.kill(pid, signal.SIGKILL)
        return "attached" in told
    finally:
        os.waitpid(pid, 0)
