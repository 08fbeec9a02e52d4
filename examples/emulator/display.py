"""What the user sees: a live picture where there is a terminal, plain lines where there is none."""

from collections import deque
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

PHASE_STYLES = {"live": "green", "catching_up": "yellow", "done": "dim", "not yet": "dim"}


@dataclass(frozen=True)
class SubscriberLine:
    """One subscriber at one moment."""

    name: str
    pattern: str
    phase: str
    backlog: int
    delivered: int


@dataclass(frozen=True)
class Frame:
    """The whole at one moment; `waiting`: events in the bus's inbox."""

    elapsed: float
    blocks: int
    expected_blocks: int
    stored: int
    waiting: int
    subscribers: list[SubscriberLine]


@dataclass(frozen=True)
class Table:
    """Rows of text under a title; the first `names` columns read from the left, the others are figures."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    names: int = 1


@dataclass(frozen=True)
class Check:
    """One promise, with what was found, and whether it held."""

    promise: str
    holds: bool


class Display(AbstractContextManager["Display"], Protocol):
    """Entered while frames are shown; the rest may come before, meanwhile and afterwards."""

    def show(self, frame: Frame) -> None: ...
    def say(self, text: str) -> None: ...
    def table(self, table: Table) -> None: ...
    def check(self, check: Check) -> None: ...


def display_for(stream: TextIO) -> Display:
    """The live display where `stream` is a terminal that can move its cursor, else the plain one."""
    console = Console(file=stream, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveDisplay(console)
    return PlainDisplay(stream)


class Pace:
    """Events a second over the last frames: stored, and delivered to all subscribers together."""

    def __init__(self, frames: int = 10) -> None:
        self._seen: deque[tuple[float, int, int]] = deque([(0.0, 0, 0)], maxlen=frames)

    def after(self, frame: Frame) -> str:
        delivered = sum(line.delivered for line in frame.subscribers)
        self._seen.append((frame.elapsed, frame.stored, delivered))
        then, stored_then, delivered_then = self._seen[0]
        seconds = max(frame.elapsed - then, 1e-9)
        return (
            f"{(frame.stored - stored_then) / seconds:,.0f} events/s stored,"
            f" {(delivered - delivered_then) / seconds:,.0f} delivered"
        )


class LiveDisplay(Display):
    """Redraws bars and a table in place; needs no thread of its own, `show` draws."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._pace = Pace()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, frame: Frame) -> None:
        self._live.update(Group(self._bars(frame), self._team(frame)), refresh=True)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def table(self, table: Table) -> None:
        drawn = RichTable(title=table.title, title_justify="left", title_style="bold")
        for number, column in enumerate(table.columns):
            is_name = number < table.names
            drawn.add_column(column, justify="left" if is_name else "right", no_wrap=is_name)
        for row in table.rows:
            drawn.add_row(*row)
        self._console.print("", drawn)

    def check(self, check: Check) -> None:
        mark = Text("✔ ", "green") if check.holds else Text("✘ ", "bold red")
        self._console.print(mark.append(check.promise, "" if check.holds else "bold red"))

    def _bars(self, frame: Frame) -> RenderableType:
        bars = RichTable.grid(padding=(0, 1))
        bars.add_row(
            "emulator",
            ProgressBar(frame.expected_blocks, frame.blocks, width=40),
            f"{frame.blocks:,} of {frame.expected_blocks:,} blocks",
        )
        for line in frame.subscribers:
            if line.pattern == "*":
                bars.add_row(line.name, ProgressBar(max(1, frame.stored), line.delivered, width=40), _behind(line))
        return Group(bars, f"{self._pace.after(frame)}; {frame.waiting:,} in the inbox; {frame.elapsed:.1f} s")

    def _team(self, frame: Frame) -> RenderableType:
        team = RichTable("subscriber", "pattern", "phase")
        for column in ("delivered", "backlog"):
            team.add_column(column, justify="right", min_width=9)
        for line in frame.subscribers:
            phase = Text(line.phase, PHASE_STYLES.get(line.phase, ""))
            team.add_row(line.name, line.pattern, phase, f"{line.delivered:,}", f"{line.backlog:,}")
        return team


class PlainDisplay(Display):
    """One line a second, so that a log file stays readable."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pace = Pace()
        self._next = 0.0

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, frame: Frame) -> None:
        pace = self._pace.after(frame)
        if frame.elapsed < self._next:
            return
        self._next = frame.elapsed + 1
        share = frame.blocks / frame.expected_blocks
        team = ", ".join(f"{line.name} {line.phase} ({_behind(line)})" for line in frame.subscribers)
        self.say(f"{frame.elapsed:5.1f} s  {share:4.0%}  {pace}; {team}")

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def table(self, table: Table) -> None:
        rows = [table.columns, *table.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        self.say(f"\n{table.title}")
        for first, *others in rows:
            cells = [
                first.ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)),
            ]
            self.say("  " + "  ".join(cells).rstrip())

    def check(self, check: Check) -> None:
        self.say(f"{'ok    ' if check.holds else 'FAILED'}  {check.promise}")


def _behind(line: SubscriberLine) -> str:
    return f"{line.backlog:,} behind"
