"""What the README shows runs as it stands."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
QUICKSTART, EXCERPT, CONSUMER, TYPED = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


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


def test_the_excerpt_about_late_comers_runs_inside_the_quickstart(tmp_path: Path) -> None:
    shown = EXCERPT.replace("...", "print('late', event.data); break")
    inner = "".join(f"        {line}\n" for line in shown.splitlines())
    code = QUICKSTART.replace("\nasyncio.run(main())", f"{inner}\nasyncio.run(main())")

    assert run(code, tmp_path).splitlines()[-1] == "late {'stage': 'licm', 'ms': 12}"


def test_the_excerpt_about_consumers_runs_inside_the_quickstart_and_goes_on_where_it_was(tmp_path: Path) -> None:
    shown = CONSUMER.replace("...", "print('handled', event.sequence)")
    shown += "await bus.wait_processed('projector', await bus.latest_sequence())\n"
    inner = "".join(f"        {line}\n" for line in shown.splitlines())
    code = QUICKSTART.replace("\nasyncio.run(main())", f"{inner}\nasyncio.run(main())")

    assert run(code, tmp_path).splitlines()[2:] == ["handled 1"]
    assert run(code, tmp_path).splitlines()[2:] == ["handled 2"]


def test_every_file_the_readme_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_excerpt_about_typed_events_runs_inside_the_quickstart(tmp_path: Path) -> None:
    shown = (
        f"from dataclasses import dataclass\n{TYPED}print([event.data for event in await bus.query(StageCompleted)])\n"
    )
    inner = "".join(f"        {line}\n" for line in shown.splitlines())
    code = QUICKSTART.replace("\nasyncio.run(main())", f"{inner}\nasyncio.run(main())")

    assert run(code, tmp_path).splitlines()[-1].endswith("StageCompleted(stage='licm', ms=12)]")
