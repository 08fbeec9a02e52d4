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
        if not self.path.is_file():  # to open a named pipe would wait for its other end
            return 0
        try:
            log_id, sequence, checksum = _FORMAT.unpack(self.path.read_bytes()[: _FORMAT.size])
        except (FileNotFoundError, struct.error):
            return 0
        intact = crc32(log_id + sequence.to_bytes(8, "little")) == checksum
        return sequence if intact and log_id == self._log_id else 0

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
