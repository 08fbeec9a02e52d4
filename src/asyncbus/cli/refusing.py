"""Why a command does not do what it was asked for, where no error of the library says it."""

from __future__ import annotations


class RefusedError(Exception):
    """The command ends with `status` and this message."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
