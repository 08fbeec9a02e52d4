"""A call in a Python process of its own, with a hard limit: what hangs is killed and reported as such."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

PROJECT = Path(__file__).resolve().parent.parent
_ANSWERS = "BENCHMARKS_ANSWERS"
"""Environment variable: the file descriptor on which a contained process talks to the one that contains it."""

_LINES_OF_AN_ERROR = 12


class TookTooLongError(Exception):
    """A contained call was killed because it exceeded its hard limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        super().__init__(f"killed after {limit:g} s, its hard limit")


class FailedError(Exception):
    """A contained call died; the last lines it wrote to standard error are the message."""


class Message(msgspec.Struct):
    """A line from a contained process: something told on the way or, as the last one, its result."""

    told: Any = None
    result: Any = None
    ended: bool = False


def contained(
    function: Callable[..., Any], *arguments: Any, limit: float, on_told: Callable[[Any], None] = lambda _: None
) -> Any:
    """Call a function of a module of this project in a fresh interpreter and return what it returns.

    Arguments and result must survive JSON. What the function hands to `tell` comes to `on_told` as it happens.

    Raises:
        TookTooLongError: it ran longer than `limit` seconds of wall time, and was killed.
        FailedError: it raised, or died.
    """
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.contained", f"{function.__module__}:{function.__qualname__}"),
            *(msgspec.json.encode(arguments).decode(), str(limit)),
        ],
        cwd=PROJECT,
        env={**os.environ, _ANSWERS: str(writing)},
        pass_fds=(writing,),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # With the servers that it starts, which are nobody's when it is killed; what it contains stays in its group.
        process_group=None if _ANSWERS in os.environ else 0,
    )
    os.close(writing)
    killed = threading.Event()
    timer = threading.Timer(limit, _kill, (process, killed))
    errors: list[bytes] = []
    listening = threading.Thread(target=_keep, args=(process.stderr, errors), daemon=True)
    listening.start()
    timer.start()
    try:
        with os.fdopen(reading, "rb") as lines:
            last = _listen(lines, on_told)
    finally:
        timer.cancel()
        _end(process)  # nothing where it has ended; it has nothing more to say in any case
        process.wait()
        listening.join()
    if last is not None:
        return last.result
    if killed.is_set():
        raise TookTooLongError(limit)
    said = b"".join(errors).decode(errors="replace").splitlines()[-_LINES_OF_AN_ERROR:]
    raise FailedError("\n".join(said) or f"ended without an answer, status {process.returncode}")


def tell(what: Any) -> None:
    """Say something to the process that contains this one; to nobody where there is none."""
    _say(Message(told=what))


def _say(message: Message) -> None:
    descriptor = os.environ.get(_ANSWERS)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "wb", closefd=False) as answers:
            answers.write(msgspec.json.encode(message) + b"\n")


def _listen(lines: Iterable[bytes], on_told: Callable[[Any], None]) -> Message | None:
    for line in lines:
        message = msgspec.json.decode(line, type=Message)
        if message.ended:
            return message
        on_told(message.told)
    return None


def _kill(process: subprocess.Popen[bytes], killed: threading.Event) -> None:
    killed.set()
    _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process, and its group where it has one of its own."""
    if _ANSWERS in os.environ:
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the process was not waited for yet, so the number is still its own


def _keep(stream: Any, lines: list[bytes]) -> None:
    with contextlib.closing(stream):
        lines.extend(stream)


def _answer(function: str, arguments: str, limit: str) -> None:
    """The contained side: call the function, and say what it returned."""
    # The kernel ends this process even if the one that contains it is gone and nothing here runs any more.
    signal.alarm(math.ceil(float(limit)) + 1)
    module, _, name = function.partition(":")
    result = getattr(import_module(module), name)(*msgspec.json.decode(arguments))
    _say(Message(result=result, ended=True))


if __name__ == "__main__":
    _answer(*sys.argv[1:])
