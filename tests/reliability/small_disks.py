"""File systems of some megabytes, each in a file, which can be filled up, and cut off as a power cut does it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_SHUTDOWN: Final = 0x8004587D
"""EXT4_IOC_SHUTDOWN, in Linux's fs/ext4/ext4.h."""

_WITHOUT_SYNC: Final = struct.pack("I", 2)
"""EXT4_GOING_FLAGS_NOLOGFLUSH: neither data nor the journal is written any more."""


class Unobtainable(str):
    """An obstacle that no package removes: the right to mount something, or an ability of the kernel."""

    __slots__ = ()


class SmallDisk:
    """A mounted ext4; unmounted when its context is left, whatever happens there.

    Args:
        folder: where its image and its mount point are made.
        megabytes: its size; some of them are its journal's.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.path = folder / "disk"
        self._image = folder / "disk.img"
        self._megabytes = megabytes

    def __enter__(self) -> Self:
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(self._megabytes * 2**20)
        # Nothing kept back for root, and nothing done in the background.
        _run("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", "lazy_itable_init=0", str(self._image))
        self.mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.path.is_mount():
            self.unmount()

    def mount(self) -> None:
        """Mount it, which mends what a power cut has left."""
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def unmount(self) -> None:
        """Forget all that is in memory of it."""
        _run("umount", str(self.path))

    def cut_power(self) -> None:
        """What is not synced by now never will be; every write and every sync fails from now on."""
        import fcntl  # noqa: PLC0415  # on other systems the tools say that they cannot run, and must be importable

        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, _WITHOUT_SYNC)
        finally:
            os.close(descriptor)


class MemoryDisk(SmallDisk):
    """The same in memory: a tmpfs."""

    def __enter__(self) -> Self:
        self.path.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={self._megabytes}m", "tmpfs", str(self.path))
        return self


@cache
def obstacle() -> str | None:
    """Why there can be no small disk here."""
    if sys.platform != "linux":
        return Unobtainable("it takes Linux to mount a small disk")
    if shutil.which("mkfs.ext4") is None:
        return "mkfs.ext4 is missing; Debian's package is e2fsprogs"
    if os.geteuid() != 0:
        return Unobtainable("only root may mount a small disk")
    # Root in a container may not, either: nothing but trying it out tells.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            with SmallDisk(Path(folder), 8) as disk:
                disk.cut_power()
        except (OSError, subprocess.CalledProcessError) as error:
            told = getattr(error, "stderr", None) or error
            return Unobtainable(f"a small disk cannot be mounted or cut off here: {told}")
    return None


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
