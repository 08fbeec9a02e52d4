"""Remembers outside the database how far it was written, so that a lost tail is noticed.

SQLite opens without a word a database whose -wal file was deleted or damaged; what it held is gone. The watermark is
never ahead of what is durable: it is written, without fsync, after a commit under FULL, and under NORMAL after a
checkpoint that moved everything. So a power cut may leave it behind, and then it can miss a loss, but it never invents
one.
"""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path
from typing import Final
from zlib import crc32

log = logging.getLogger("asyncbus")

_FORMAT: Final = struct.Struct("<32sQI")


class Watermark:
    """The sidecar file `<log>-watermark`: the log's id, the last durable sequence, and a checksum of both."""

    def __init__(self, path: Path, log_id: str) -> None:
        self.path = path.with_name(f"{path.name}-watermark")
        self._log_id = log_id.encode()
        self._descriptor = -1
        self._warned = False

    def read(self) -> int:
        """The sequence it holds; 0 where it is missing, damaged, no regular file, or another log's."""
        held = self._held()
        return held[1] if held is not None and held[0] == self._log_id else 0

    def fault(self) -> str | None:
        """What is wrong with the file, in words; None: nothing, or there is none yet."""
        if not self.path.exists():
            return None
        if not self.path.is_file():
            return "is no regular file"
        held = self._held()
        if held is not None:
            return None if held[0] == self._log_id else "belongs to another log"
        # Under NORMAL it is made long before it is written.
        return "is damaged, so a lost end may go unnoticed" if self.path.read_bytes().strip(b"\0") else None

    def _held(self) -> tuple[bytes, int] | None:
        """The log's id and the sequence in the file; None where there is no file, or none that is intact."""
        if not self.path.is_file():  # to open a named pipe would wait for its other end
            return None
        try:
            log_id, sequence, checksum = _FORMAT.unpack(self.path.read_bytes()[: _FORMAT.size])
        except (FileNotFoundError, struct.error):
            return None
        return (log_id, sequence) if crc32(log_id + sequence.to_bytes(8, "little")) == checksum else None

    def open(self) -> None:
        """Make ready for writing."""
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)

    def write(self, sequence: int) -> None:
        """Move it; a few microseconds, for the page cache takes it.

        What keeps it from being written is logged once and fails nothing: it can only make a loss go unnoticed.
        """
        checksum = crc32(self._log_id + sequence.to_bytes(8, "little"))
        try:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, _FORMAT.pack(self._log_id, sequence, checksum))
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warning("%s cannot be written, so a lost tail may go unnoticed: %s", self.path, error)

    def close(self) -> None:
        """Release the file."""
        os.close(self._descriptor)
