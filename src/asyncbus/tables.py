"""Events as a table of pandas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from asyncbus.events import Event, json_decode, stored

_ATTRIBUTES: Final = (
    *("sequence", "time", "recorded_at", "type", "id", "key", "metadata"),
    *("version", "causation_id", "correlation_id"),
)


def to_pandas(events: Iterable[Event]) -> Any:
    """What a query has found as a table of pandas: a row for each event, with the sequence as the index.

    The members of data that are JSON objects become columns of their own, `data.va` and so on; other data stand in the
    column `data`. Data are as they are stored, not instances of classes.

    Args:
        events: as `EventBus.query` gives them, say.

    Returns:
        A `pandas.DataFrame`.

    Raises:
        ImportError: pandas is not installed; `asyncbus[notebook]` has it.
    """
    import pandas as pd  # noqa: PLC0415  # only who asks for it needs it

    rows = [{name: getattr(event, name) for name in _ATTRIBUTES} | _members(event) for event in events]
    columns = list(dict.fromkeys([*_ATTRIBUTES, *(name for row in rows for name in row)]))
    return pd.DataFrame(rows, columns=columns).set_index("sequence")


def _members(event: Event) -> dict[str, Any]:
    data = stored(event).data
    plain = data if isinstance(data, bytes) else json_decode(data)
    if not isinstance(plain, dict):
        return {"data": plain}
    return {f"data.{name}": value for name, value in plain.items()}
