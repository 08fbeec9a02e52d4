"""The tables of the documents, made from the results and never written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks import charts, comparison
from benchmarks.chart import path_of
from benchmarks.results import Result
from benchmarks.verdicts import Verdict
from benchmarks.wording import measured, met, ratio

README = Path(__file__).resolve().parent / "README.md"
FRONT_PAGE = README.parents[1] / "README.md"
COMPARISON = README.parents[1] / "docs" / "comparison.md"
PERFORMANCE = README.parents[1] / "docs" / "explanation" / "performance.md"

_EXPLAINED = ("choices", "event_cost")
"""The questions whose figures the page on performance shows."""

BEGIN = "<!-- figures: made by `python -m benchmarks --readme` -->"
END = "<!-- end of the figures -->"


def renew(results: Sequence[Result]) -> None:
    """Write the figures of all results into the documents."""
    for document, lines in documents(results).items():
        document.write_text(renewed(document.read_text("utf-8"), lines), "utf-8")


def documents(results: Sequence[Result]) -> dict[Path, list[str]]:
    """The documents that show figures, each with the lines between its marks."""
    return {
        README: list(tables(results)),
        FRONT_PAGE: list(comparison.lines(results)),
        COMPARISON: list(comparison.lines(results)),
        PERFORMANCE: [line for result in results if result.question in _EXPLAINED for line in (*_figures(result), "")]
        or ["Not taken yet."],
    }


def renewed(text: str, lines: Iterable[str]) -> str:
    """A document's text with the lines between its two marks replaced.

    Raises:
        ValueError: a mark is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected the marks {BEGIN!r} and {END!r}, found {[mark for mark in (begin, end) if mark]}")
    return "\n".join([before + BEGIN, "", *lines, "", END + after])


def tables(results: Sequence[Result]) -> Iterator[str]:
    """The summary, the machines, the charts, then each question with all its figures, as lines of Markdown."""
    verdicts = [verdict for result in results for verdict in result.verdicts if verdict.met is not None]
    yield f"{sum(bool(verdict.met) for verdict in verdicts)} of {len(verdicts)} targets met."
    yield ""
    yield from _table(
        ("question", "target", "measured", "ratio (paired rounds)", "met", "run it again"),
        [row for result in results for row in _summary(result)],
    )
    yield ""
    yield from _machines(results)
    for chart in charts.shown(results):
        yield ""
        yield f"![{chart.title}](../docs/assets/{path_of(chart).name})"
    for result in results:
        yield from _details(result)


def _summary(result: Result) -> Iterator[tuple[str, ...]]:
    question, command = result.title, f"`python -m benchmarks {result.question}`"
    for verdict in result.verdicts:
        if verdict.met is not None:
            figure = measured(result.figures[verdict.figure])
            yield question, verdict.text, figure, ratio(verdict), met(verdict), command
            question, command = "", ""


def _details(result: Result) -> Iterator[str]:
    yield ""
    yield f"### {result.question}"
    yield ""
    yield f"{result.title[0].upper()}{result.title[1:]}."
    yield ""
    if result.trouble is not None:
        yield f"**No answer:** {_one_line(result.trouble)}"
        yield ""
    yield from _figures(result)
    yield ""
    for verdict in result.verdicts:
        yield f"- {_judged(verdict)}"
    for note in result.notes.splitlines():
        yield f"- {note}"


def _figures(result: Result) -> Iterator[str]:
    yield from _table(
        ("figure", "", "measured"), [(name, figure.role, measured(figure)) for name, figure in result.figures.items()]
    )


def _judged(verdict: Verdict) -> str:
    against = f"{verdict.figure} / {verdict.against}" if verdict.against else verdict.figure
    found = ratio(verdict)
    verdict_in_words = f": **{met(verdict)}**" if verdict.met is not None else ""
    return f"{verdict.text}: {against}{' = ' + _one_line(found) if found else ''}{verdict_in_words}"


def _machines(results: Sequence[Result]) -> Iterator[str]:
    """Each machine once, with the questions answered there where there are several."""
    places: dict[str, list[Result]] = {}
    for result in results:
        machine = result.machine
        place = (
            f"{machine.cores} cores of {machine.processor}, {machine.memory_gib:g} GiB, {machine.system}, "
            f"{machine.file_system}, {machine.python}, SQLite {machine.sqlite}, "
            + ", ".join(f"{name} {version}" for name, version in machine.packages.items())
        )
        places.setdefault(place, []).append(result)
    for place, answered in places.items():
        days = sorted({f"{result.taken:%Y-%m-%d}" for result in answered})
        load = max(result.machine.load for result in answered)
        what = "" if len(places) == 1 else f" ({', '.join(result.question for result in answered)})"
        yield f"Taken on {' and '.join(days)}: {place}; load before a question at most {load:g}.{what}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_one_line(cell).replace('|', chr(92) + '|') for cell in row)} |"


def _one_line(text: str) -> str:
    return " ".join(text.split())
