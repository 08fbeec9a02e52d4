"""What `import asyncbus` costs beside importing what it stands on."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Question, Setting, Target, single

OURS = "import asyncbus"
DEPENDENCIES = "import anyio, aiosqlite, msgspec"

_TIMED = "import time; start = time.perf_counter(); {}; print((time.perf_counter() - start) * 1e3)"


def question(setting: Setting) -> Question:
    times = setting.pick(full=11, quick=5, tiny=1)

    return Question(
        title="`import asyncbus`",
        contestants=(
            single(OURS, "ms", lambda: imported(OURS, times, setting.directory)),
            single(DEPENDENCIES, "ms", lambda: imported(DEPENDENCIES, times, setting.directory), "limit"),
        ),
        targets=(Target("at most 1.3 times importing its three dependencies", OURS, DEPENDENCIES, at_most=1.3),),
        notes=f"A reading is the median of {times} fresh interpreters, the modules compiled and in the page cache.",
    )


def imported(statement: str, times: int, compiled: Path) -> float:
    """Milliseconds that the statement takes in a fresh interpreter, the median of so many.

    Args:
        statement: the import.
        times: how many interpreters.
        compiled: where the modules are compiled to, by the first of them, whatever the environment says.
    """
    command = [sys.executable, "-c", _TIMED.format(statement)]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return statistics.median(
        float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
        for _ in range(times)
    )
