"""A tour of a minute's reading: what a bus that remembers does, shown and not told."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from asyncbus.bus import EventBus
from asyncbus.cli import printing
from asyncbus.cli.refusing import RefusedError
from asyncbus.connect import connect
from asyncbus.store.verification import verify

_EVENTS: Final = 50_000
_FAST: Final = 1000

_DOOMED: Final = """
import asyncio, sys, asyncbus

async def main(path):
    async with asyncbus.connect(path) as bus:
        while True:
            receipt = await bus.publish("doomed.worked", {"by": "a process that is about to be killed"})
            print(receipt.sequence, flush=True)

asyncio.run(main(sys.argv[1]))
"""
"""Says of each event that it is stored, until it is killed."""


async def demo(log: Path | None = None, /) -> None:
    """Show in some seconds what a bus that remembers does: publish, come late, kill, look.

    Args:
        log: where to keep the log it makes, to look into it afterwards; else it is thrown away.
    """
    with tempfile.TemporaryDirectory(prefix="asyncbus-demo-") as folder:
        path = Path(folder, "demo.db") if log is None else log
        if path.exists():
            raise RefusedError(f"{path} is there already; give a new name", status=2)
        await _Tour(path, Console(highlight=False)).run()
    if log is not None:
        print(f"\nLook into it:  asyncbus tail {log} -n 20  ·  asyncbus query {log} 'demo.*' --where 'data.n > 49990'")


class _Tour:
    def __init__(self, path: Path, console: Console) -> None:
        self._path = path
        self._console = console

    async def run(self) -> None:
        """All steps, each checked."""
        await self._publish_while_one_comes_late()
        acknowledged = await self._kill()
        await self._look(acknowledged)

    async def _publish_while_one_comes_late(self) -> None:
        self._say("one task publishes, another comes late, reads what it missed, and goes on live")
        async with connect(self._path) as bus:
            began = time.perf_counter()
            late = asyncio.create_task(self._come_late(bus))
            for number in range(_EVENTS):
                await bus.publish("demo.ticked", {"n": number}, ack="accepted")
                if number % _FAST == 0:
                    await asyncio.sleep(0)
            await bus.flush()
            rate = _EVENTS / (time.perf_counter() - began)
            missed, sequences = await late
        self._check(len(sequences) == _EVENTS, f"{_EVENTS:,} events stored, each synced: {rate:,.0f} a second")
        self._check(
            sequences == list(range(1, _EVENTS + 1)),
            f"the late one had missed {missed:,}, and has read all of them, in order, each once",
        )

    async def _come_late(self, bus: EventBus) -> tuple[int, list[int]]:
        """How many it had missed, and the sequences of all it has read."""
        await bus.wait_for("demo.ticked", lambda event: event.data["n"] >= _EVENTS // 2)
        async with bus.subscribe("demo.*", start="earliest") as events:
            missed = events.backlog
            sequences = [(await anext(events)).sequence for _ in range(_EVENTS)]
        return missed, sequences

    async def _kill(self) -> int:
        self._say("another process publishes, and is killed (SIGKILL) in the middle of it")
        doomed = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _DOOMED, str(self._path)), stdout=asyncio.subprocess.PIPE
        )
        assert doomed.stdout is not None  # noqa: S101  # a pipe was asked for
        for _ in range(_FAST):
            await doomed.stdout.readline()
        doomed.kill()
        told = (await doomed.stdout.read()).splitlines()
        await doomed.wait()
        return _EVENTS + _FAST + len(told)

    async def _look(self, acknowledged: int) -> None:
        async with connect(self._path) as bus:
            stored = await bus.latest_sequence()
            self._check(
                stored >= acknowledged, f"{acknowledged - _EVENTS:,} of its events were acknowledged: all there"
            )
            found = await asyncio.to_thread(verify, self._path)
            self._check(found.sound, f"the log is sound: {found.events:,} events, none missing, every checksum right")
            self._say("the last of them, as `asyncbus tail` shows them")
            with printing.events("table") as show:
                show(await bus.query(start=stored - 4))

    def _say(self, what: str) -> None:
        self._console.print(f"[bold]▸ {what}[/]")

    def _check(self, is_so: bool, what: str) -> None:  # noqa: FBT001  # what it checks
        if not is_so:
            raise RefusedError(f"this should be so, and is not: {what}")
        self._console.print(f"  [green]✓[/] {what}")
