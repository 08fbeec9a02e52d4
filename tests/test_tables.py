"""What a notebook shows, and what pandas gets."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import asyncbus
from asyncbus import EventBus, NewEvent, to_pandas

GUIDES = Path(__file__).parents[1] / "docs" / "guides"
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


class Cells(HTMLParser):
    """The rows of a table, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


@pytest.mark.asyncio
async def test_an_event_is_a_table_of_what_it_has(bus: EventBus) -> None:
    await bus.publish_many(
        [
            NewEvent("a", {"va": 1, "text": "<b>&"}, key="<i>", time=MOMENT),
            NewEvent("b", b"bytes", metadata={"by": "me"}),
            NewEvent("c", "x" * 500),
        ]
    )
    first, second, third = [Cells(event._repr_html_()) for event in await bus.query(start=2)]

    assert first.tags == {"table", "tr", "td"}, "what stands in an event is text, and no markup"
    told = dict(first.rows)
    assert list(told) == ["sequence", "time", "recorded_at", "type", "key", "data"]
    assert told["time"] == "2026-01-02 03:04:05.678+00:00"
    assert (told["key"], told["data"]) == ("<i>", '{"va":1,"text":"<b>&"}')
    assert ["metadata", "{'by': 'me'}"] in second.rows
    assert ["data", "b'bytes'"] in second.rows
    assert len(dict(third.rows)["data"]) == 201


@pytest.mark.asyncio
async def test_a_bus_and_its_statistics_are_tables() -> None:
    async with EventBus() as bus:
        bus.subscribe("a.*", lambda event: None)
        bus.consume("projector", "b", lambda event: None)
        await bus.publish("a.b")
        shown = Cells(bus._repr_html_())
        assert ["stored", "1"] in shown.rows
        assert any("a.*" in row for row in shown.rows)
        assert any("projector" in row for row in shown.rows)
        assert "EventBus ok" in bus._repr_html_()
    assert "EventBus closed" in bus._repr_html_()


@pytest.mark.asyncio
async def test_pandas_gets_a_row_for_each_event_and_a_column_for_each_member(bus: EventBus) -> None:
    await bus.publish("a", {"va": 1, "kind": "read"}, key="k", time=MOMENT)
    await bus.publish("a", {"va": 2.5})
    await bus.publish("b", [1, 2])
    table: pd.DataFrame = to_pandas(await bus.query("*", start=2))

    assert list(table.index) == [2, 3, 4]
    assert list(table["data.va"].dropna()) == [1, 2.5]
    assert table.loc[2, "data.kind"] == "read"
    assert table.loc[4, "data"] == [1, 2]
    assert table.loc[2, "time"] == MOMENT
    assert table["time"].dt.tz is not None
    assert to_pandas(await bus.query("nothing")).empty


@pytest.mark.asyncio
async def test_a_bus_is_opened_and_closed_by_different_tasks(tmp_path: Path) -> None:
    bus = asyncbus.connect(tmp_path / "events.db")
    assert await asyncio.create_task(bus.open()) is bus
    assert await asyncio.create_task(bus.publish("a")) == asyncbus.Receipt(1)
    await asyncio.create_task(bus.close())
    assert bus.health().status == "closed"


# In a process of its own: it leaves a loop behind.
EXECUTE = """
import json, sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
assert all(not cell.get("outputs") for cell in notebook.cells), "what it shows is not kept"
NotebookClient(notebook, timeout=60).execute()
print(json.dumps([cell.get("outputs") for cell in notebook.cells]))
"""


def test_the_notebook_of_the_guides_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", EXECUTE, str(GUIDES / "notebook.ipynb")]
    run = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True)
    shown = run.stdout.splitlines()[-1]
    assert shown.count("text/html") >= 5
    assert "EventBus ok" in shown
    assert "EventBus closed" in shown
