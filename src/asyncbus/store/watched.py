"""Files that must stay what they were when they were opened."""

from __future__ import annotations

import os


class WatchedFile:
    """Notices that a file was removed, replaced or cut; it asks the kernel, which need not ask the disk.

    The file is never opened for it: whoever closes a descriptor of a SQLite file gives up all locks of the process.

    Args:
        path: of a file that exists.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        found = os.stat(self.path)  # noqa: PTH116  # as below
        self._identity = (found.st_ino, found.st_dev)
        self._size = found.st_size

    def is_intact(self) -> bool:
        """Whether the file of this path is the one it was, and has become no shorter since it was asked last."""
        try:
            found = os.stat(self.path)  # noqa: PTH116  # once a batch, and a Path takes three times as long
        except OSError:
            return False
        if (found.st_ino, found.st_dev) != self._identity or found.st_size < self._size:
            return False
        self._size = found.st_size
        return True
