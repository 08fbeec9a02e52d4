"""`python -m asyncbus.verify PATH` checks a log in a SQLite file.

Exit status 0: sound; 1: one line for each finding; 2: it cannot be opened.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from asyncbus.errors import AsyncBusError
from asyncbus.verify import verify


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the log that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m asyncbus.verify",
        description="Check a log: checksums, missing events, indexes, its end. It may be in use, and is not changed.",
        epilog="Exit status: 0 sound, 1 something was found (a line each), 2 it cannot be opened.",
    )
    parser.add_argument("path", help="the SQLite file of the log")
    try:
        found = verify(parser.parse_args(arguments).path)
    except AsyncBusError as error:
        print(error, file=sys.stderr)  # noqa: T201  # a command line talks
        return 2
    print(found)  # noqa: T201  # as above
    return 0 if found.sound else 1


if __name__ == "__main__":
    sys.exit(main())
