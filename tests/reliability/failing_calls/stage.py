"""Runs a program in a fork of this process, and lets its threads wait where strace is to be attached to them."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from tests.reliability.trials import Violation

DEADLINE = 10.0
"""Seconds in which a program must have ended, whatever fails."""

# So that strace, a sibling of the program, may trace it where the system allows that to parents alone.
_SET_PTRACER, _ANYBODY = 0x59616D61, ctypes.c_ulong(-1)

Line = list[Any]


class Watcher:
    """What is done about a program while it waits; here nothing."""

    def begins(self, threads: list[int]) -> None:
        """What matters begins; the threads so far by the system's numbers, the main thread first."""

    def thread(self, thread: int) -> None:
        """One more thread has started, and has done nothing yet."""

    def ends(self) -> None:
        """What matters has ended."""

    def close(self) -> None:
        """The program has ended."""


class Stage:
    """The program's side: what it says, a line of JSON each, some of which wait for an answer."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._threads = [threading.get_native_id()]
        self._has_begun = False
        ctypes.CDLL(None).prctl(_SET_PTRACER, _ANYBODY)
        # Called in each new thread before it does anything.
        threading.setprofile(self._thread_began)

    def say(self, *what: Any) -> None:
        self._line.sendall(json.dumps(what).encode() + b"\n")

    def begins(self) -> None:
        """What matters begins here: only from now on calls are counted, and made to fail."""
        self._has_begun = True
        self._ask("begins", self._threads)

    def ends(self) -> None:
        """Calls are not counted any more; what fails for good goes on failing."""
        self._ask("ends")

    def _ask(self, *what: Any) -> None:
        self.say(*what)
        self._line.recv(1)

    def _thread_began(self, _frame: FrameType, _event: str, _argument: Any) -> None:
        sys.setprofile(None)
        self._threads.append(threading.get_native_id())
        if self._has_begun:
            self._ask("thread", self._threads[-1])


def perform(program: Callable[[Stage], None], watcher: Watcher) -> list[Line]:
    """Run a program in a fork; what it said, up to its end or until it killed itself.

    Raises:
        Violation: it did not end in time, or raised something.
    """
    ours, theirs = socket.socketpair()
    process = os.fork()
    if process == 0:
        ours.close()
        _run(program, theirs)
    theirs.close()
    said: list[Line] = []
    try:
        with ours:
            _listen(ours, said, watcher)
    except TimeoutError:
        raise Violation(f"not ended after {DEADLINE:g} s; it said {said}") from None
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        watcher.close()
    return said


def _run(program: Callable[[Stage], None], line: socket.socket) -> None:
    stage = Stage(line)
    try:
        program(stage)
    except BaseException:  # noqa: BLE001  # whatever it is, nobody but the other side can tell
        stage.say("crashed", traceback.format_exc())
    finally:
        os._exit(0)


def _listen(line: socket.socket, said: list[Line], watcher: Watcher) -> None:
    ends = time.monotonic() + DEADLINE
    received = b""
    while True:
        line.settimeout(max(ends - time.monotonic(), 0.001))
        part = line.recv(65536)
        if not part:
            return
        *lines, received = (received + part).split(b"\n")
        for text in lines:
            match json.loads(text):
                case ["begins", threads]:
                    watcher.begins(threads)
                case ["thread", thread]:
                    watcher.thread(thread)
                case ["ends"]:
                    watcher.ends()
                case ["crashed", trace]:
                    raise Violation(f"it raised what it should not: {trace}; it said {said}")
                case other:
                    said.append(other)
                    continue
            line.sendall(b"\n")
