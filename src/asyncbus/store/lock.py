"""One process writes a log: a lock file beside it, which the system releases when its holder dies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from asyncbus.errors import StoreLockedError

if TYPE_CHECKING:
    from filelock import BaseFileLock


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs; true where the system cannot tell."""
    if os.name == "posix":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
    return True


def acquire(path: Path) -> BaseFileLock:
    """Take the lock of writers of `path`, at once or not at all.

    Raises:
        StoreLockedError: somebody holds it; the process id is not known here.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415  # only writers of files need it, and importing it is slow

    # Not thread-local: it is taken on one thread and released on another.
    lock = FileLock(f"{path}.lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise StoreLockedError(str(path), None) from None
    return lock
