"""What the guides show runs as it stands."""

from __future__ import annotations

import ast
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from textwrap import indent

import pytest

GUIDES = Path(__file__).parent.parent / "docs" / "guides"
CONSUMERS = (GUIDES / "consumers.md").read_text("utf-8")
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)
FIRST, *EXCERPTS, LAST = SNIPPET.findall(CONSUMERS)

# All excerpts run on one bus, each until its consumers have nothing more to do.
PROGRAM = """
import asyncio
from contextlib import suppress
import aiosqlite
import asyncbus

async def main():
    async with asyncbus.connect("events.db") as bus:
        for stage, ms in (("licm", 12), ("gvn", 100), ("sroa", 900)):
            await bus.publish("optimization.stage_completed", {"stage": stage, "ms": ms})

        async def all_is_handled():
            for consumer in await bus.consumers():
                with suppress(asyncbus.UnknownConsumerError):  # it is not active
                    await bus.wait_processed(consumer.name, await bus.latest_sequence(), timeout=20)

EXCERPTS
asyncio.run(main())
"""


def run(code: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def test_the_first_program_goes_on_where_it_was(tmp_path: Path) -> None:
    assert run(FIRST, tmp_path) == ["1 licm"]
    assert run(FIRST, tmp_path) == ["2 licm"]


def test_the_excerpts_run_one_after_the_other(tmp_path: Path) -> None:
    shown = "".join(indent(f"{excerpt}\nawait all_is_handled()\n", " " * 8) for excerpt in EXCERPTS)

    said = run(PROGRAM.replace("EXCERPTS", shown), tmp_path)

    assert said[:3] == [
        "3 1 no stage takes so long",
        "2 3 ConnectionError: the database is away",
        "0 done, 2 failed again",
    ]
    assert [line.split()[:3] for line in said[3:]] == [
        ["auditor", "3", "0"],
        ["indexer", "3", "0"],
        ["profiler", "3", "0"],
        ["projector", "3", "0"],
    ]


def test_the_last_program_drains_when_it_is_told_to_end(tmp_path: Path) -> None:
    run(FIRST, tmp_path)
    tell = LAST.replace(
        "        await stopping.wait()",
        '        await bus.wait_processed("worker", 1, timeout=20)\n'
        "        signal.raise_signal(signal.SIGTERM)\n"
        "        await stopping.wait()",
    )

    said = run(tell, tmp_path)

    assert said[0].startswith("Event(")
    assert said[-1] == "given back: {}"


def test_the_effects_of_the_other_guide_happen_once(tmp_path: Path) -> None:
    shown = SNIPPET.search((GUIDES / "exactly-once.md").read_text("utf-8"))
    assert shown is not None
    more = """
    receipt = await bus.publish("optimization.stage_completed", {"stage": "licm", "ms": 12})
    await bus.wait_processed("projector", receipt.sequence, timeout=20)
"""
    code = f"import asyncio\nasync def main():\n{indent(shown[1] + more, ' ' * 4)}\nasyncio.run(main())"

    run(code, tmp_path)
    run(code, tmp_path)

    with closing(sqlite3.connect(tmp_path / "profile.db")) as connection:
        assert connection.execute("SELECT * FROM totals").fetchall() == [("licm", 24)]


def test_the_guide_of_typed_events_says_what_it_shows(tmp_path: Path) -> None:
    first, *excerpts = SNIPPET.findall((GUIDES / "typed-events.md").read_text("utf-8"))
    shown = "".join(indent(f"{excerpt}\n", " " * 8) for excerpt in excerpts)
    program = first.replace("\nasyncio.run(main())", f"{shown}\nasyncio.run(main())")

    licm = "StageCompleted(stage='licm', ms=12)"

    assert run(first, tmp_path) == ["1 licm 12"]
    assert run(program, tmp_path) == [
        "2 licm 12",
        "[main.<locals>.CacheHit(key=7), main.<locals>.CacheMiss(key=8)]",
        f"[{licm}, {licm}, main.<locals>.CacheMiss(key=8)]",
        f"[{licm}, {licm}, main.<locals>.CacheHit(key=7), main.<locals>.CacheMiss(key=8), {{'by': 'hand'}}]",
        "$.key",
        "[main.<locals>.Flushed(level='l1', va=4096, asid=0), main.<locals>.Flushed(level='l2', va=8192, asid=7)]",
        "[('order.placed', 'order-42'), ('order.billed', 'order-42')]",
        "0",
        "['optimization.cache_hit', 'optimization.cache_miss', 'optimization.stage_completed', 'tlb.flushed']",
    ]


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.md")), ids=lambda guide: guide.stem)
def test_every_snippet_is_python_and_every_link_leads_somewhere(guide: Path) -> None:
    text = guide.read_text("utf-8")
    for snippet in SNIPPET.findall(text):
        compile(snippet, guide.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (guide.parent / target).exists(), target
