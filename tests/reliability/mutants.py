"""`python -m tests.reliability.mutants [NAME …]`: break the library on purpose, and see that the tests notice.

Each mutant is made in a copy of the sources. It is killed when one of its tests fails; a test that cannot be collected,
or hangs, kills nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec

from tests.reliability.fault_table import TESTS, link

REPOSITORY = Path(__file__).parents[2]
SOURCES = REPOSITORY / "src"
MUTANTS = Path(__file__).with_name("mutants.toml")
JOBS = 2
PATIENCE = 100
"""Seconds that the tests of one mutant may take."""

Verdict = Literal["killed", "SURVIVED", "hangs", "its tests cannot be run"]


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change to the library after which a promise is broken; `mutants.toml` explains the fields."""

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def mutants() -> list[Mutant]:
    return msgspec.convert(tomllib.loads(MUTANTS.read_text("utf-8"))["mutant"], list[Mutant])


class StaleMutantError(Exception):
    """What a mutant wants to change does not stand exactly once in its file."""

    def __init__(self, mutant: Mutant, places: int) -> None:
        super().__init__(f"{mutant.name}: its old text stands {places} times in {mutant.file}; mend mutants.toml")


def check(mutant: Mutant, sources: Path = SOURCES) -> None:
    """Raise `StaleMutantError` unless there is one place for the change."""
    places = (sources / "asyncbus" / mutant.file).read_text("utf-8").count(mutant.old)
    if places != 1:
        raise StaleMutantError(mutant, places)


def verdict(mutant: Mutant) -> Verdict:
    """What the tests say to a copy of the library with this change."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        sources = Path(folder, "src")
        shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__"))
        check(mutant, sources)
        path = sources / "asyncbus" / mutant.file
        path.write_text(path.read_text("utf-8").replace(mutant.old, mutant.new), "utf-8")
        return _outcome(mutant.tests, sources)


def healthy(mutants: Iterable[Mutant]) -> Verdict:
    """What the same tests say to the library as it is: only where they pass does a failure mean anything."""
    tests = dict.fromkeys(test for mutant in mutants for test in mutant.tests)
    return _outcome(tuple(tests), SOURCES)


def _outcome(tests: Sequence[str], sources: Path) -> Verdict:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(sources), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
    try:
        status = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return "hangs"
    return {0: "SURVIVED", 1: "killed"}.get(status, "its tests cannot be run")  # type: ignore[return-value]  # of these


def table(*, beside: Path) -> str:
    """The mutants in Markdown, for a page in the folder `beside`."""
    lines = ["| the break | the promise | the tests that see it |", "|---|---|---|"]
    for mutant in mutants():
        links = ", ".join(_link(test, beside) for test in mutant.tests)
        lines.append(f"| {mutant.name} | {mutant.promise} | {links} |")
    return "\n".join(lines)


def _link(test: str, beside: Path) -> str:
    path, _, name = test.partition("::")
    return link(TESTS / path, name or Path(path).stem, beside=beside)


def main(names: Sequence[str]) -> int:
    """Make the mutants of these names, or all; 1: one survived; 2: there is none of that name."""
    made = [mutant for mutant in mutants() if not names or mutant.name in names]
    unknown = set(names).difference(mutant.name for mutant in made)
    if unknown:
        print(f"no mutant is called {', '.join(sorted(unknown))}; mutants.toml has them", file=sys.stderr)
        return 2
    began = time.monotonic()
    for mutant in made:
        check(mutant)
    killed = 0
    with ThreadPoolExecutor(JOBS) as pool:
        unchanged = pool.submit(healthy, made)
        for mutant, found in zip(made, pool.map(verdict, made), strict=True):
            print(f"{found:9} {mutant.name}", flush=True)
            killed += found == "killed"
    print(f"{killed} of {len(made)} mutants killed in {time.monotonic() - began:.0f} s")
    if unchanged.result() != "SURVIVED":
        print("but their tests do not pass on the library as it is either")
        return 1
    return int(killed < len(made))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
