"""Figures and verdicts in words, the same on the terminal and in the README."""

from __future__ import annotations

import math

from benchmarks.results import Result
from benchmarks.verdicts import Figure, Verdict

_DIGITS = 3


def number(value: float) -> str:
    """Three significant digits, with separators: 201,000 · 12.3 · 0.0456."""
    if not value:
        return "0"
    places = _DIGITS - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):,.{max(places, 0)}f}"


def measured(figure: Figure) -> str:
    """The median with the lowest and highest reading, or why there is none."""
    if figure.spread is None or figure.trouble is not None:
        return figure.trouble or "nothing was measured"
    spread = figure.spread
    return f"{number(spread.median)} {figure.unit} ({number(spread.low)} to {number(spread.high)})"


def ratio(verdict: Verdict) -> str:
    """The ratio of the medians, and that of paired rounds; or why there is none."""
    if verdict.why is not None:
        return verdict.why
    if verdict.ratio is None or verdict.paired is None:
        return ""
    return f"{number(verdict.ratio)} ({number(verdict.paired.low)} to {number(verdict.paired.high)})"


def met(verdict: Verdict) -> str:
    """Yes, no, or nothing where nothing was asked."""
    return {True: "met", False: "MISSED", None: ""}[verdict.met]


def in_lines(result: Result) -> list[str]:
    """A result for the terminal: every figure, then every verdict."""
    width = max(len(name) for name in result.figures)
    lines = [f"{result.question}: {result.title}  [{result.size}, {result.repeats} rounds, {result.seconds:g} s]"]
    if result.trouble is not None:
        lines.append(f"  NO ANSWER: {result.trouble}")
    lines += [f"  {name:{width}}  {measured(figure)}" for name, figure in result.figures.items()]
    for verdict in result.verdicts:
        found = ratio(verdict) or measured(result.figures[verdict.figure])
        lines.append(f"  {met(verdict) or '-':6}  {verdict.text}: {found}")
    return lines
