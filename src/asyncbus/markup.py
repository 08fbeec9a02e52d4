"""Tables of HTML, as notebooks show them; whatever stands in them is text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Final

_LONGEST: Final = 200
"""Characters of a cell that are shown."""


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with a line of headings, where there are columns."""
    head = f"<tr>{''.join(f'<th>{escape(column)}</th>' for column in columns)}</tr>" if columns else ""
    lines = (f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table>{head}{''.join(lines)}</table>"


def figures(named: Mapping[str, object]) -> str:
    """Names and what they stand for, a line each; what is None or empty is left out."""
    return table((), [(name, value) for name, value in named.items() if value is not None and value != ()])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return escape(value.isoformat(sep=" ", timespec="milliseconds"))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(value)
    return escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
