"""The disk as `crash_states` models it: what was synced, what waits in memory, and what a power cut may leave of it.

What each part may lose is said in `crash_states`, with the sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import TypeAlias

from msgspec import Struct, field

SECTOR = 512
FOLDER = 0
"""The number of the folder, among those of the files in it."""

Contents = dict[str, bytes]
"""The files of a folder."""


class Write(Struct, frozen=True):
    """Bytes written into a file, at an offset."""

    file: int
    offset: int
    data: bytes


class Resize(Struct, frozen=True):
    """A file cut, or filled up with zeros."""

    file: int
    size: int


class Create(Struct, frozen=True):
    """A new, empty file under a name."""

    file: int
    name: str


class Rename(Struct, frozen=True):
    """A file that got another name; what had that name has none any more."""

    old: str
    new: str


class Remove(Struct, frozen=True):
    """A file that has lost its name."""

    name: str


class SyncBegan(Struct, frozen=True):
    """Somebody asked that what was done to a file so far be made durable; `call` tells it from others."""

    call: int
    file: int
    name: str


class Synced(Struct, frozen=True):
    """The call has returned: it is durable."""

    call: int


FileChange: TypeAlias = Write | Resize
NameChange: TypeAlias = Create | Rename | Remove
Change: TypeAlias = FileChange | NameChange | SyncBegan | Synced


class File(Struct):
    """What is durable of a file, and what was done to it since."""

    durable: bytes = b""
    pending: list[FileChange] = field(default_factory=list)


class Disk:
    """A folder and its files; `contents`: what is in it from the beginning, durable."""

    def __init__(self, contents: Contents | None = None) -> None:
        contents = contents or {}
        self._files = {number: File(data) for number, data in enumerate(contents.values(), FOLDER + 1)}
        self._names = {name: number for number, name in enumerate(contents, FOLDER + 1)}
        self._pending: list[NameChange] = []
        self._syncs: dict[int, tuple[int, int]] = {}

    def copy(self) -> Disk:
        """Another one like it."""
        return deepcopy(self)

    def names(self) -> dict[str, int]:
        """The files by name, as programs see them now."""
        return _renamed(self._names, self._pending)

    def next_file(self) -> int:
        """The number of the next new file."""
        return max(self._files, default=FOLDER) + 1

    def is_synced(self) -> bool:
        """Whether a power cut would take nothing."""
        return not self._pending and not any(self._files[number].pending for number in self._names.values())

    def apply(self, change: Change) -> None:
        """Do what a program did."""
        match change:
            case Write() | Resize():
                self._files[change.file].pending.append(change)
            case SyncBegan(call, file):
                pending = self._pending if file == FOLDER else self._files[file].pending
                self._syncs[call] = file, len(pending)
            case Synced(call):
                self._sync(*self._syncs.pop(call))
            case _:
                if isinstance(change, Create):
                    self._files[change.file] = File()
                self._pending.append(change)

    def _sync(self, number: int, changes: int) -> None:
        if number == FOLDER:
            self._names = _renamed(self._names, self._pending[:changes])
            del self._pending[:changes]
            return
        file = self._files[number]
        file.durable = _changed(file.durable, file.pending[:changes])
        del file.pending[:changes]
        # A second sync of the same file may still be under way: part of what it is about is durable already.
        self._syncs = {
            call: (other, max(before - changes, 0) if other == number else before)
            for call, (other, before) in self._syncs.items()
        }

    # ------------------------------------------------------------------------------------------ what a cut may leave

    def everything(self) -> Contents:
        """Nothing is lost; what a program sees, and what is there after it was killed."""
        return {
            name: _changed(self._files[number].durable, self._files[number].pending)
            for name, number in self.names().items()
        }

    def nothing(self) -> Contents:
        """All is lost that was not synced."""
        return {name: self._files[number].durable for name, number in self._names.items()}

    def something(self, random: Random) -> Contents:
        """Any part of what was not synced is lost: of each name the last changes, of each file what chance takes."""
        names = _renamed(self._names, _kept(self._pending, random))
        return {name: _cut(self._files[number], random) for name, number in names.items()}


def _kept(changes: list[NameChange], random: Random) -> list[NameChange]:
    lost: set[int] = set()
    for places in _related(changes):
        lost.update(places[random.randint(0, len(places)) :])
    return [change for place, change in enumerate(changes) if place not in lost]


def _related(changes: list[NameChange]) -> list[list[int]]:
    """The places of changes that must keep their order: those of one name, or of two that a rename joins."""
    groups: list[tuple[set[str], list[int]]] = []
    for place, change in enumerate(changes):
        names = {change.old, change.new} if isinstance(change, Rename) else {change.name}
        places = [place]
        for group in [group for group in groups if group[0] & names]:
            groups.remove(group)
            names |= group[0]
            places = group[1] + places
        groups.append((names, places))
    return [sorted(places) for _, places in groups]


def _renamed(names: dict[str, int], changes: list[NameChange]) -> dict[str, int]:
    names = dict(names)
    for change in changes:
        match change:
            case Create(file, name):
                names[name] = file
            case Rename(old, new):
                names[new] = names.pop(old)
            case Remove(name):
                del names[name]
    return names


def _changed(durable: bytes, changes: list[FileChange]) -> bytes:
    if not changes:
        return durable
    content = bytearray(durable)
    for change in changes:
        if isinstance(change, Resize):
            _resize(content, change.size)
        else:
            _resize(content, max(len(content), change.offset))
            content[change.offset : change.offset + len(change.data)] = change.data
    return bytes(content)


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _cut(file: File, random: Random) -> bytes:
    content = _changed(file.durable, list(_survivors(file.pending, random)))
    # A file may have got its new size before the data, which then reads as zeros.
    size = len(_changed(file.durable, file.pending)) if file.pending else 0
    return content.ljust(size, b"\0") if random.random() < 0.25 else content


def _survivors(pending: list[FileChange], random: Random) -> Iterator[FileChange]:
    how = random.choice(("all", "none", "the first", "some", "torn"))
    if how == "all":
        yield from pending
    elif how == "the first":
        first = random.randint(0, len(pending))
        yield from pending[:first]
        for change in pending[first : first + 1]:
            yield from _torn(change, random)
    elif how == "some":
        share = random.random()
        yield from (change for change in pending if random.random() < share)
    elif how == "torn":
        for change in pending:
            yield from _torn(change, random)


def _torn(change: FileChange, random: Random) -> Iterator[FileChange]:
    """Of what was written, each sector may have reached the disk or not."""
    if isinstance(change, Resize):
        if random.random() < 0.5:
            yield change
        return
    share = random.random()
    place, end = change.offset, change.offset + len(change.data)
    while place < end:
        border = min(place - place % SECTOR + SECTOR, end)
        if random.random() < share:
            yield Write(change.file, place, change.data[place - change.offset : border - change.offset])
        place = border
