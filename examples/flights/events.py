"""What happens to a flight, as typed events.

`FlightDeparted` is in its second version. The first one, of which the log is full up to its middle, said `scheduled` as
the clock does (515 is a quarter past five) and called its places `from` and `to`.
"""

from typing import Any

import msgspec

from asyncbus import event, upcast


class FlightEvent(msgspec.Struct, gc=False):
    """Whatever happens to a flight; subscribe to it, and get all of it.

    `carrier` and `flight` name the flight, `origin` and `destination` are airports, `hour` is the local one in which
    the event was scheduled, `delay` is in minutes, negative where it was early.
    """

    carrier: str
    flight: int
    origin: str
    destination: str
    hour: int


@event("flight.departed", version=2)
class FlightDeparted(FlightEvent):
    delay: int


@event("flight.arrived")
class FlightArrived(FlightEvent):
    delay: int | None  # of a flight that was diverted on its way, the table has none


@event("flight.cancelled")
class FlightCancelled(FlightEvent):
    """It was scheduled for this hour, and never departed."""


@upcast("flight.departed", from_version=1)
def name_places_and_hour(data: dict[str, Any]) -> dict[str, Any]:
    """From the first version to the second."""
    return {
        "carrier": data["carrier"],
        "flight": data["flight"],
        "origin": data["from"],
        "destination": data["to"],
        "hour": data["scheduled"] // 100,
        "delay": data["delay"],
    }
