"""Counts the system calls that a program makes on the files of a log, and lets one of them fail, with strace."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

from msgspec import Struct

from tests.reliability.failing_calls.stage import Watcher

CALLS = ("openat", "pwrite64", "write", "ftruncate", "fallocate", "mmap", "fdatasync", "fsync", "rename", "unlink")
"""The calls that create, change and secure files."""

LOG_NAME, FOLDER_NAME = "log.db", "the folder"

_FILES = ("", *(f"/{LOG_NAME}{suffix}" for suffix in ("", "-wal", "-shm", "-journal", "-watermark", ".lock")))
_DRAFTS = tuple(f"/{LOG_NAME}.asyncbus-new{suffix}" for suffix in ("", "-wal", "-shm", "-journal"))


def log_in(folder: Path) -> Path:
    """The log whose files are watched; the folder's path has no links in it."""
    return folder / LOG_NAME


class Call(Struct, frozen=True):
    """One system call of a run that follows the same way each time.

    Attributes:
        thread: that makes it; 0: the main thread, the others in the order in which they start.
        name: of the call.
        number: which of the calls of that name in that thread, from 1.
        file: that it is made on.
    """

    thread: int
    name: str
    number: int
    file: str

    def __str__(self) -> str:
        return f"{self.name} {self.number} of thread {self.thread} (on {self.file})"


class Fault(Struct, frozen=True):
    """What becomes of a call: `effect` in strace's words, to that one alone or to all from there on."""

    effect: str
    for_good: bool = False

    def __str__(self) -> str:
        return f"{self.effect} {'for good' if self.for_good else 'once'}"


class Counting(Watcher):
    """Finds the calls of a program."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads: list[int] = []
        self._strace: Strace | None = None
        self._log = folder / "strace"

    def begins(self, threads: list[int]) -> None:
        self._threads += threads
        self._strace = Strace(self._folder, threads[0], "-f", "-y", "-o", str(self._log))

    def thread(self, thread: int) -> None:
        self._threads.append(thread)

    def ends(self) -> None:
        if self._strace is not None:
            self._strace.stop()
            self._strace = None

    def close(self) -> None:
        self.ends()

    def calls(self) -> list[Call]:
        """In the order in which they were made."""
        counts: Counter[tuple[int, str]] = Counter()
        found = []
        line = re.compile(rf"^(\d+) +(\w+)\(.*?{re.escape(str(self._folder))}/?([^\">, ]*)", re.MULTILINE)
        for number, name, file in line.findall(self._log.read_text()):
            thread = self._threads.index(int(number))
            counts[thread, name] += 1
            found.append(Call(thread, name, counts[thread, name], file or FOLDER_NAME))
        return found


class Injecting(Watcher):
    """Lets one call fail."""

    def __init__(self, folder: Path, call: Call, fault: Fault) -> None:
        self._folder = folder
        self._call = call
        when = f"{call.number}{'+' if fault.for_good else ''}"
        self._option = f"inject={call.name}:{fault.effect}:when={when}"
        self._started = 0
        self._strace: Strace | None = None
        self._log = folder / "strace"

    def begins(self, threads: list[int]) -> None:
        for thread in threads:
            self.thread(thread)

    def thread(self, thread: int) -> None:
        if self._started == self._call.thread:
            # Without -f: strace counts for each thread, and only this one is meant.
            self._strace = Strace(self._folder, thread, "-e", self._option, "-o", str(self._log))
        self._started += 1

    def close(self) -> None:
        if self._strace is not None:
            self._strace.stop()

    @property
    def has_struck(self) -> bool:
        return self._log.exists() and ("INJECTED" in self._log.read_text() or "DELAYED" in self._log.read_text())


class Strace:
    """strace, attached to a thread or a process, looking at the files of the log alone."""

    def __init__(self, folder: Path, thread: int, *options: str) -> None:
        paths = [part for file in (*_FILES, *_DRAFTS) for part in ("-P", f"{folder}{file}")]
        trace = "trace=" + ",".join(f"?{call}" for call in CALLS)
        command = ["strace", "-p", str(thread), "-e", trace, "-e", "signal=none", *paths, *options]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            if "attached" in line:
                return
            said.append(line)
        raise RuntimeError(f"strace cannot attach: {''.join(said)}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()
