"""What `strace` logged of a process, as changes of the folder it worked in, and its notes between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from tests.reliability.crash_states.disk import (
    FOLDER,
    Change,
    Create,
    Remove,
    Rename,
    Resize,
    SyncBegan,
    Synced,
    Write,
)

COMMAND = (
    *("strace", "-f", "--seccomp-bpf", "-xx", "-s", str(2**26), "-e", "signal=none", "-e"),
    # With a question mark: what not every processor has.
    "trace=?open,openat,close,lseek,write,pwrite64,ftruncate,fsync,fdatasync,?rename,?renameat,renameat2,?unlink,unlinkat",
)

_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)")
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)\) += (-?\d+|\?)")


class Note(Struct, frozen=True):
    """What the process noted: a line of JSON, written to a file that is not in the folder."""

    what: dict[str, Any]


Step: TypeAlias = Change | Note


class Call(Struct, frozen=True):
    """A system call as it stands in the log; those that did nothing are left out."""

    number: int
    name: str
    arguments: list[str]
    result: int

    def text(self, argument: int) -> str:
        """One of its arguments that is a string."""
        return _bytes(self.arguments[argument]).decode()

    def paths(self) -> list[str]:
        """All of its arguments that are strings."""
        return [_bytes(argument).decode() for argument in self.arguments if argument.startswith('"')]


class _OpenFile(Struct):
    file: int
    name: str
    position: int = 0


class Trace:
    """Reads the log of one process.

    Args:
        folder: where it worked; of what it did elsewhere only its notes count.
        marks: the file of its notes.
        names: the files of the folder when it began, by name.
        next_file: the number of the next new one.
    """

    def __init__(self, folder: Path, marks: Path, names: dict[str, int], next_file: int) -> None:
        self._folder = folder
        self._marks = marks
        self._names = dict(names)
        self._new = count(next_file)
        self._open: dict[int, _OpenFile] = {}
        self._notes = -1

    def steps(self, lines: Iterable[str]) -> Iterator[Step]:
        """All it did to the folder, in order, and its notes."""
        for call, phase in _calls(lines):
            if phase == "ends":
                yield from self._ended(call)
            elif call.name == "close":  # from its beginning on, its number may be another file's
                self._open.pop(int(call.arguments[0]), None)
            elif call.name in ("fsync", "fdatasync"):
                file = self._open.get(int(call.arguments[0]))
                if file is not None:
                    yield SyncBegan(call.number, file.file, file.name)

    def _ended(self, call: Call) -> Iterator[Step]:
        if call.name in ("open", "openat"):
            yield from self._opened(call)
        elif "rename" in call.name:
            old, new = map(self._name, call.paths())
            if old is not None and new is not None:
                self._names[new] = self._names.pop(old)
                yield from () if _volatile(old) else (Rename(old, new),)
        elif "unlink" in call.name:
            name = self._name(call.paths()[0])
            if name is not None:
                del self._names[name]
                yield from () if _volatile(name) else (Remove(name),)
        elif call.name == "write" and int(call.arguments[0]) == self._notes:
            yield Note(msgspec.json.decode(_bytes(call.arguments[1])))
        else:
            file = self._open.get(int(call.arguments[0]))
            if file is not None:
                yield from _done(call, file)

    def _opened(self, call: Call) -> Iterator[Change]:
        path = call.paths()[0]
        if path == str(self._marks):
            self._notes = call.result
        if path == str(self._folder):
            self._open[call.result] = _OpenFile(FOLDER, "")
        name = self._name(path)
        if name is None:
            return
        is_new = name not in self._names
        if is_new:
            self._names[name] = next(self._new)
        file = self._names[name]
        if not _volatile(name):
            self._open[call.result] = _OpenFile(file, name)
            if is_new:
                yield Create(file, name)
            elif any("O_TRUNC" in argument for argument in call.arguments):
                yield Resize(file, 0)

    def _name(self, path: str) -> str | None:
        """The name of a path in the folder; None: it is elsewhere."""
        return Path(path).name if Path(path).parent == self._folder else None


def _volatile(name: str) -> bool:
    """SQLite's index of the -wal file is in memory, and is made anew after a power cut."""
    return name.endswith("-shm")


def _done(call: Call, file: _OpenFile) -> Iterator[Change]:
    if call.name in ("fsync", "fdatasync"):
        yield Synced(call.number)
    elif call.name == "ftruncate":
        yield Resize(file.file, int(call.arguments[1]))
    elif call.name == "lseek":
        file.position = call.result
    elif call.name == "pwrite64":
        yield Write(file.file, int(call.arguments[3]), _bytes(call.arguments[1])[: call.result])
    elif call.name == "write":
        yield Write(file.file, file.position, _bytes(call.arguments[1])[: call.result])
        file.position += call.result


def _calls(lines: Iterable[str]) -> Iterator[tuple[Call, str]]:
    """Each call twice: when it "begins", with what is known then, and when it "ends", unless it failed."""
    waiting: dict[str, Call] = {}
    for number, line in enumerate(lines):
        if found := _WHOLE.match(line):
            thread, name, arguments, result = found.groups()
            call = Call(number, name, arguments.split(", "), 0)
            yield call, "begins"
        elif found := _BEGUN.match(line):
            thread, name, arguments = found.groups()
            waiting[thread] = Call(number, name, arguments.split(", "), 0)
            yield waiting[thread], "begins"
            continue
        elif found := _RESUMED.match(line):
            thread, _, result = found.groups()
            call = waiting.pop(thread)
        else:
            continue
        if result != "?" and int(result) >= 0:
            yield msgspec.structs.replace(call, result=int(result)), "ends"


def _bytes(argument: str) -> bytes:
    return bytes.fromhex(argument.strip('"').replace("\\x", ""))
