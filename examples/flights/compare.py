"""What pandas makes of the table, without any event, beside what was projected: equal to the last digit, or not."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd

FIGURES = ("departed", "late_out", "arrived", "late_in", "cancelled")

Place = tuple[str, str, int]
"""Airport, carrier, hour."""

Delays = dict[Place, tuple[int, ...]]
"""What is known of each place: the `FIGURES`."""


def computed(table: pd.DataFrame) -> Delays:
    """From the columns of the table as they are."""
    out = table.groupby(["origin", "carrier", "hour"])
    into = table.assign(hour=table["sched_arr_time"] // 100).groupby(["dest", "carrier", "hour"])
    columns = {
        "departed": out["dep_delay"].count(),
        "late_out": out["dep_delay"].sum(),
        "cancelled": out["dep_time"].apply(lambda times: times.isna().sum()),
        "arrived": into["arr_delay"].count(),
        "late_in": into["arr_delay"].sum(),
    }
    found = pd.concat([column.rename_axis(["airport", "carrier", "hour"]) for column in columns.values()], axis=1)
    found.columns = pd.Index(columns)
    figures = found.fillna(0).astype(int)[[*FIGURES]]
    figures = figures[(figures != 0).any(axis=1)]
    return {place: tuple(row) for place, row in zip(figures.index, figures.to_numpy().tolist(), strict=True)}


def projected(delays: Path) -> Delays:
    """From the small database."""
    with closing(sqlite3.connect(delays)) as database:
        rows = database.execute(f"SELECT airport, carrier, hour, {', '.join(FIGURES)} FROM delays")  # noqa: S608  # our own
        return {(airport, carrier, hour): tuple(figures) for airport, carrier, hour, *figures in rows}


def differences(expected: Delays, found: Delays) -> list[str]:
    """A line for each place where they are not the same."""
    return [
        f"{' '.join(map(str, place))}: pandas has {expected.get(place)}, the projection {found.get(place)}"
        for place in sorted(expected.keys() | found.keys())
        if expected.get(place) != found.get(place)
    ]
