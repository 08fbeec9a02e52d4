"""The command line, `asyncbus`: looks into a log, changes what may be changed from outside, keeps it."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status, which `asyncbus --help` explains.

    Args:
        arguments: of the command line; None: those of this process.
    """
    try:
        try:
            from asyncbus.cli.app import run  # noqa: PLC0415  # what it needs is an extra, and may be missing
        except ModuleNotFoundError as error:
            print(f"asyncbus: {error.name} is missing; install asyncbus[cli]", file=sys.stderr)
            return 2
        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # also while all that is imported
        return 130
