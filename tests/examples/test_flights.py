"""The flights: what the table says, and each figure through a kill and a change of shape, to the last digit."""

import io
import signal
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

import asyncbus
from examples.flights import __main__ as demo
from examples.flights.compare import computed, differences, projected
from examples.flights.events import FlightArrived, FlightCancelled, FlightDeparted, FlightEvent
from examples.flights.picture import draw
from examples.flights.project import added
from examples.flights.publish import as_last_year, happenings, publish
from examples.flights.table import read
from examples.flights.watch import watch

NEW_YORK = ZoneInfo("America/New_York")
FLIGHTS = 2000


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return read(FLIGHTS)


@pytest.fixture(scope="module", autouse=True)
def fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What draws keeps the files of its fonts open."""
    draw({}, tmp_path_factory.mktemp("fonts") / "nothing.svg")


@pytest.fixture(scope="module")
def whole() -> pd.DataFrame:
    return read()


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_is_whole(whole: pd.DataFrame) -> None:
    assert len(whole) == 336_776
    assert whole["departure"].isna().sum() == 8255
    assert whole["arrival"].isna().sum() == 8713


def test_no_flight_arrives_before_it_can(whole: pd.DataFrame) -> None:
    """What is worked out from local clocks agrees with the time in the air, which the table has by itself."""
    minutes = (whole["arrival"] - whole["departure"]).dt.total_seconds() / 60
    on_the_ground = (minutes - whole["air_time"]).dropna()

    assert len(on_the_ground) == 327_346
    assert on_the_ground.between(0, 240).all()


def test_what_happens_over_midnight_happens_on_the_next_day(whole: pd.DataFrame) -> None:
    at_midnight = whole[whole["dep_time"] == 2400]["departure"].dt.tz_convert(NEW_YORK)
    assert len(at_midnight) == 29
    assert ((at_midnight.dt.hour == 0) & (at_midnight.dt.minute == 0)).all()
    late = whole[whole["arr_time"] == 2400]
    assert (late["arrival"] > late["departure"]).all()


def test_a_departure_is_when_the_clock_says_so(whole: pd.DataFrame) -> None:
    departed = whole[whole["dep_time"].notna()]
    local = departed["departure"].dt.tz_convert(NEW_YORK)
    clock = local.dt.hour * 100 + local.dt.minute
    assert (clock == departed["dep_time"] % 2400).all()


# --- the events ------------------------------------------------------------------------------------------------------


def test_everything_happens_once_in_the_order_of_time(table: pd.DataFrame) -> None:
    happened = happenings(table)
    moments = [event.time for event in happened]
    kinds = [type(event.type) for event in happened]

    assert moments == sorted(moments, key=lambda moment: moment or datetime.min.replace(tzinfo=NEW_YORK))
    assert kinds.count(FlightDeparted) == table["departure"].notna().sum()
    assert kinds.count(FlightArrived) == table["arrival"].notna().sum()
    assert kinds.count(FlightCancelled) == table["departure"].isna().sum()
    assert sum(event.key is None for event in happened) == table["tailnum"].isna().sum()


@pytest.mark.asyncio
async def test_the_first_half_is_in_the_first_version_and_all_of_it_is_read_in_the_second(table: pd.DataFrame) -> None:
    happened = happenings(table)
    async with asyncbus.connect() as bus:
        await publish(bus, happened, lambda done: None)
        found = await bus.query(FlightEvent, limit=None)

    assert [event.data for event in found] == [event.type for event in happened]
    assert [event.time for event in found] == [event.time for event in happened]
    versions = [event.version for event in found if event.type == "flight.departed"]
    assert versions == sorted(versions, key=lambda version: version or 0)
    assert {1, 2} == set(versions)
    plain = as_last_year(happened[0])
    assert plain.version == 1
    assert set(plain.data) == {"carrier", "flight", "from", "to", "scheduled", "delay"}


def test_an_arrival_whose_delay_nobody_knows_adds_nothing() -> None:
    assert added(FlightArrived("UA", 1, "EWR", "IAH", 9, None)) is None
    assert added(FlightArrived("UA", 1, "EWR", "IAH", 9, -5)) == ("IAH", "UA", 9, 0, 0, 1, -5, 0)


# --- the whole of it -------------------------------------------------------------------------------------------------


@pytest.mark.fault(62)
def test_killed_half_way_and_run_again_every_figure_is_that_of_pandas(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "flights.svg"
    arguments = ["--flights", str(FLIGHTS), "--folder", str(tmp_path), "--picture", str(picture), "--speed", "1e7"]

    assert demo.main(arguments) == 0

    told = capfd.readouterr()
    assert told.err == ""
    assert f"{FLIGHTS:,} flights are " in told.out
    assert f"killed itself half-way ({signal.SIGKILL.name})" in told.out
    assert "every figure equal to what pandas computes" in told.out
    assert picture.read_text("utf-8").startswith("<?xml")
    assert projected(tmp_path / "delays.db") == computed(read(FLIGHTS))


def test_a_single_minute_too_much_is_found_and_the_exit_status_is_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = demo._projected_through_a_kill

    def falsified(log: Path, delays: Path, events: int) -> signal.Signals:
        killed = project(log, delays, events)
        with closing(sqlite3.connect(delays)) as database, database:
            database.execute(
                "UPDATE delays SET late_out = late_out + 1 WHERE (airport, carrier, hour) = ('JFK', 'B6', 8)"
            )
        return killed

    monkeypatch.setattr(demo, "_projected_through_a_kill", falsified)
    arguments = ["--flights", "600", "--folder", str(tmp_path), "--picture", str(tmp_path / "p.svg"), "--speed", "1e7"]

    assert demo.main(arguments) == 1

    assert "FAILED  1 places differ" in capsys.readouterr().out


def test_a_place_that_only_one_of_them_has_is_a_difference() -> None:
    assert differences({("JFK", "B6", 8): (1, 2, 0, 0, 0)}, {}) == [
        "JFK B6 8: pandas has (1, 2, 0, 0, 0), the projection None"
    ]


@pytest.mark.parametrize("arguments", [["--flights", "0"], ["--speed", "0"], ["--day", "tomorrow"], ["--folder", "?"]])
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        demo.main(arguments)
    assert refused.value.code == 2


# --- the day again ---------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_day_is_replayed_on_a_terminal_as_a_picture_and_elsewhere_as_lines(table: pd.DataFrame) -> None:
    day = datetime(2013, 1, 1, tzinfo=NEW_YORK)
    out = table["departure"].between(day, day + timedelta(days=1), inclusive="left").sum()
    async with asyncbus.connect() as bus:
        await publish(bus, happenings(table), lambda done: None)
        lines = io.StringIO()
        board = await watch(bus, day, 1e7, lines)
        screen = _Terminal()
        again = await watch(bus, day, 1e7, screen)
        nothing = await watch(bus, day + timedelta(days=400), 1e7, io.StringIO())

    assert board.departed.total() == again.departed.total() == out
    assert len(lines.getvalue().splitlines()) == len({line[:15] for line in lines.getvalue().splitlines()})
    assert "2013-01-01 08:" in lines.getvalue()
    assert "minutes late" in screen.getvalue()
    assert nothing.departed.total() == 0


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
