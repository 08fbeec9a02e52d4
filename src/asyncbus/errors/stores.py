"""What a store raises."""

from __future__ import annotations

from asyncbus.errors.base import AsyncBusError


class StoreError(AsyncBusError):
    """The root of what a store raises."""


class StoreFullError(StoreError):
    """No space is left; nothing of the batch was stored, reads go on, and the next publish tries again."""


class StoreFailedError(StoreError):
    """The store cannot be trusted or reached any more: close the bus and open it again.

    `outcome_unknown` is true for the error of the very commit that failed: what it held may be stored.
    """

    def __init__(self, reason: str, *, outcome_unknown: bool = False) -> None:
        self.reason = reason
        self.outcome_unknown = outcome_unknown
        super().__init__(reason)


class StoreLockedError(StoreError):
    """Another process (or another bus) writes this file; `pid` is the holder's process id, where it is known."""

    def __init__(self, path: str, pid: int | None) -> None:
        self.path = path
        self.pid = pid
        super().__init__(
            f"{path} is being written by {f'process {pid}' if pid else 'another process'};"
            " one process writes, any number read: open it with read_only=True, or stop the other process"
        )


class StoreReadOnlyError(StoreError):
    """The store cannot be written: opened read-only, or on a read-only file system or without the rights."""


class StoreCorruptError(StoreError):
    """What the store holds is damaged; `sequence` is the first bad event, None where the damage has no event."""

    def __init__(self, reason: str, sequence: int | None = None) -> None:
        self.reason = reason
        self.sequence = sequence
        super().__init__(f"event {sequence} is corrupt: {reason}" if sequence is not None else reason)


class StoreTruncatedError(StoreError):
    """Acknowledged events are missing at the end: the watermark says `expected`, the log ends at `found`."""

    def __init__(self, path: str, expected: int, found: int, watermark: str) -> None:
        self.path = path
        self.expected = expected
        self.found = found
        self.watermark = watermark
        super().__init__(
            f"{path} ends at event {found}, but event {expected} was acknowledged: its -wal file was lost, or an older"
            f" copy was put in its place; restore it, or delete {watermark} to accept the loss"
        )


class StoreNotFoundError(StoreError, FileNotFoundError):
    """The file to read, or the folder to write in, does not exist."""


class StoreIsDirectoryError(StoreError, IsADirectoryError):
    """The path of the store is a directory."""


class NotAnEventStoreError(StoreError):
    """The file exists and is not an asyncbus log; it was left untouched."""


class SchemaTooNewError(StoreError):
    """The file was written by a newer asyncbus; it was left untouched."""

    def __init__(self, path: str, found: int, supported: int) -> None:
        self.path = path
        self.found = found
        self.supported = supported
        super().__init__(f"{path} has schema version {found}, this asyncbus reads up to {supported}; upgrade asyncbus")


class SchemaTooOldError(StoreError):
    """The file was made by an older asyncbus, and only who opens it for writing migrates it; it was left untouched."""

    def __init__(self, path: str, found: int, wanted: int) -> None:
        self.path = path
        self.found = found
        self.wanted = wanted
        super().__init__(
            f"{path} has schema version {found}, this asyncbus reads version {wanted}; open it for writing once, which"
            " migrates it, or read it with the asyncbus that writes it"
        )


class UnsupportedFilesystemError(StoreError):
    """The log lies on a network file system, where SQLite's locks do not keep other machines out."""

    def __init__(self, path: str, filesystem: str) -> None:
        self.path = path
        self.filesystem = filesystem
        super().__init__(
            f"{path} lies on a network file system ({filesystem}), where a log can be damaged; put it on a local disk,"
            " or open it with any_filesystem=True if no other machine ever opens it"
        )


class SequenceExhaustedError(StoreError):
    """The log has used the last sequence that fits 63 bits."""


class UnsupportedFeatureError(StoreError):
    """This kind of store cannot do what it was asked for; its `features` say what it can."""

    def __init__(self, feature: str, store: object) -> None:
        self.feature = feature
        self.store = type(store).__name__
        super().__init__(f"{self.store} has no {feature}: its features do not declare it; use a store that does")
