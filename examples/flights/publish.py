"""Publishes the table as events in the order of time: the first half as last year's program did, in its shape."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, cast

import pandas as pd

from asyncbus import EventBus, NewEvent
from examples.flights.events import FlightArrived, FlightCancelled, FlightDeparted
from examples.flights.progress import Advance

BATCH = 2000


async def publish(bus: EventBus, happened: Sequence[NewEvent], advance: Advance) -> None:
    """Publish all that happened."""
    for place in range(0, len(happened), BATCH):
        events = happened[place : place + BATCH]
        await bus.publish_many([as_last_year(event) for event in events] if place * 2 < len(happened) else events)
        advance(place + len(events))


def happenings(table: pd.DataFrame) -> Sequence[NewEvent]:
    """All that happened, in the order of time; of one moment, in the order of the table."""
    return sorted((event for flight in table.itertuples() for event in _of_flight(flight)), key=_moment)


def _moment(event: NewEvent) -> datetime:
    return cast("datetime", event.time)  # each has one


def _of_flight(flight: Any) -> Iterator[NewEvent]:
    names = (flight.carrier, flight.flight, flight.origin, flight.dest)
    key = None if pd.isna(flight.tailnum) else flight.tailnum  # of some flights nobody wrote down which plane it was
    if pd.isna(flight.departure):
        yield NewEvent(FlightCancelled(*names, flight.hour), key=key, time=flight.scheduled.to_pydatetime())
        return
    departed = FlightDeparted(*names, flight.hour, int(flight.dep_delay))
    yield NewEvent(departed, key=key, time=flight.departure.to_pydatetime())
    if not pd.isna(flight.arrival):
        delay = None if pd.isna(flight.arr_delay) else int(flight.arr_delay)
        arrived = FlightArrived(*names, flight.sched_arr_time // 100, delay)
        yield NewEvent(arrived, key=key, time=flight.arrival.to_pydatetime())


def as_last_year(event: NewEvent) -> NewEvent:
    """The same event in the shape that a departure had then."""
    departed = event.type
    if not isinstance(departed, FlightDeparted):
        return event
    data = {
        "carrier": departed.carrier,
        "flight": departed.flight,
        "from": departed.origin,
        "to": departed.destination,
        "scheduled": departed.hour * 100,
        "delay": departed.delay,
    }
    return NewEvent("flight.departed", data, version=1, key=event.key, time=event.time)
