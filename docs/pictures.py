"""Draws the picture of the terminal in the guides: `python docs/pictures.py`."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

import asyncbus
from asyncbus.testing import FakeClock

PICTURE = Path(__file__).parent / "assets" / "terminal.svg"
COMMANDS = (
    ("types", "events.db"),
    ("query", "events.db", "tlb.*", "--where", "data.va > 40960", "--newest-first", "--limit", "4"),
    ("tail", "events.db", "--no-follow", "-n", "6"),
)
COLUMNS = 92


async def fill(path: Path) -> None:
    """A log in which time stands where the picture wants it."""
    clock = FakeClock()
    async with asyncbus.EventBus(asyncbus.SQLiteStore(path), clock=clock) as bus:
        for number in range(16):
            clock.advance(0.125)
            type = ("tlb.miss", "tlb.hit", "page_table.page_fault", "tlb.hit")[number % 4]
            await bus.publish(type, {"va": 4096 * number, "vcpu": number % 2}, key=f"vm-{number % 3}")


def main() -> None:
    """Run the commands, and keep what they print as it looks."""
    shown = Console(record=True, width=COLUMNS, file=io.StringIO())
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(fill(Path(folder, "events.db")))
        for command in COMMANDS:
            words = " ".join(f"'{word}'" if re.search(r"[*> ]", word) else word for word in command)
            shown.print(Text.assemble(("$ ", "bold green"), (f"asyncbus {words}", "bold")), soft_wrap=True)
            run = subprocess.run(
                [sys.executable, "-m", "asyncbus.cli", *command],
                cwd=folder,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "COLUMNS": str(COLUMNS)},
            )
            shown.print(Text.from_ansi(run.stdout.rstrip("\n")))
            shown.print()
    svg = shown.export_svg(title="asyncbus")
    # Nothing is fetched from elsewhere: the reader's own fixed-width font will do.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code", "ui-monospace, monospace")
    PICTURE.write_text(re.sub(r"terminal-\d+", "terminal", svg))


if __name__ == "__main__":
    main()
