"""`python -m asyncbus.verify PATH` checks a log in a SQLite file.

Exit status 0: sound; 1: one line for each finding; 2: it cannot be opened.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from asyncbus.errors import AsyncBusError
from asyncbus.store.inspection import in_one_line
from asyncbus.store.verification import look_through


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the log that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m asyncbus.verify",
        description="Check a log: checksums, missing events, indexes, its end. It may be in use, and is not changed.",
        epilog="Exit status: 0 sound, 1 something was found (a line each), 2 it cannot be opened.",
    )
    parser.add_argument("path", help="the SQLite file of the log")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may have what the terminal cannot show
    try:
        found = look_through(parser.parse_args(arguments).path, is_alone=True)
    except AsyncBusError as error:
        _say(in_one_line(str(error)), sys.stderr)
        return 2
    failure = _say(str(found), sys.stdout)
    if failure is not None:
        _say(f"what was found cannot be written: {failure}", sys.stderr)
        return 2
    return 0 if found.sound else 1


def _say(text: str, stream: TextIO) -> OSError | None:
    """Print; return what kept it from being written."""
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        # What is left in the buffer would fail again as Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


if __name__ == "__main__":
    sys.exit(main())
