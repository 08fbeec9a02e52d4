"""Which file systems a log cannot live on: those whose locks and shared memory reach no other machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from asyncbus.errors import UnsupportedFilesystemError

MOUNTS: Final = Path("/proc/self/mounts")
"""What is mounted where, as Linux tells it; where it is missing, nothing is refused."""

_NETWORK: Final = frozenset(
    {
        "9p",
        "afpfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "davfs",
        "fuse.ceph",
        "fuse.cephfs",
        "fuse.davfs2",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
    }
)


def check_filesystem(path: Path) -> None:
    """Refuse a log on a network file system.

    Raises:
        UnsupportedFilesystemError: SQLite's write-ahead log is not safe there (https://www.sqlite.org/wal.html).
    """
    try:
        mounts = MOUNTS.read_text("utf-8", "replace")
    except OSError:
        return
    kind = _kind(os.path.realpath(path.parent), mounts)
    if kind in _NETWORK:
        raise UnsupportedFilesystemError(str(path), kind)


def _kind(folder: str, mounts: str) -> str:
    """The file system that holds `folder`: of the longest mount point above it, the one mounted last."""
    place = folder.rstrip("/") + "/"
    longest, kind = -1, ""
    for line in mounts.splitlines():
        match line.split(" "):
            case [_, point, found, *_]:
                at = _plain(point).rstrip("/") + "/"
                if place.startswith(at) and len(at) >= longest:
                    longest, kind = len(at), found
    return kind


def _plain(point: str) -> str:
    """A mount point as it is called; blanks and backslashes stand as octal numbers."""
    return point.encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "replace")
