"""What the README shows runs as it stands."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
(QUICKSTART,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],  # not -X dev: on a busy machine asyncio complains of slow steps
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_the_quickstart_runs_as_pasted_and_remembers(tmp_path: Path) -> None:
    first = run(QUICKSTART, tmp_path)
    second = run(QUICKSTART, tmp_path)

    assert first.splitlines() == ["1 optimization.stage_completed {'stage': 'licm', 'ms': 12}", "[12]"]
    assert second.splitlines() == ["2 optimization.stage_completed {'stage': 'licm', 'ms': 12}", "[12, 12]"]


def test_the_quickstarts_file_is_read_with_plain_sqlite(tmp_path: Path) -> None:
    run(QUICKSTART, tmp_path)
    (query,) = re.findall(r'sqlite3 events\.db "(.*)"', README)

    connection = sqlite3.connect(tmp_path / "events.db")
    rows = connection.execute(query).fetchall()
    connection.close()

    assert rows == [(1, "optimization.stage_completed", '{"stage":"licm","ms":12}')]


def test_a_late_comer_and_a_second_terminal_see_what_the_quickstart_stored(tmp_path: Path) -> None:
    (subscribing,) = re.findall(r"`(bus\.subscribe\(.*?\))`", README)
    run(QUICKSTART, tmp_path)
    late = f"async with {subscribing} as events:\n            print('late', (await anext(events)).data)"
    code = QUICKSTART.replace("await bus.publish", f"{late}\n        await bus.publish", 1)
    assert "late {'stage': 'licm', 'ms': 12}" in run(code, tmp_path).splitlines()

    (tail,) = re.findall(r"^    asyncbus (tail .*)$", README, re.MULTILINE)
    command = [sys.executable, "-m", "asyncbus.cli", *shlex.split(tail), "--no-follow"]
    shown = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert len(shown.splitlines()) == 2


def test_every_file_the_readme_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
