"""In which order the events of a consumer may be handed out."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final, Literal, TypeAlias

from msgspec import Struct, field

from asyncbus.events import Record
from asyncbus.ledger import Held

Order: TypeAlias = Literal["none", "key", "strict"]
"""Who waits while an event is handled, or waits for its retry: nobody, those of its key, or all that come later."""

_ALL: Final = True


class _Lane(Struct, eq=False):
    """What waits behind the event that leads, which is in flight or waits for its retry."""

    behind: deque[Held] = field(default_factory=deque)
    is_stopped: bool = False


class Lanes:
    """Lets events pass, one of each lane at a time: an event without a lane passes at once.

    Args:
        order: what makes a lane.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._lanes: dict[object, _Lane] = {}

    def of(self, record: Record) -> object:
        """The lane of an event; None: it may overtake and be overtaken."""
        if self._order == "key":
            return record.key
        return _ALL if self._order == "strict" else None

    def enter(self, held: Held) -> bool:
        """An event comes: whether it may be handed out now; if not, it is kept until `leave` gives it back."""
        if held.lane is None or held.leads:
            return True
        lane = self._lanes.get(held.lane)
        if lane is None:
            self._lanes[held.lane] = _Lane()
            held.leads = True
            return True
        lane.behind.append(held)
        return False

    def is_stopped(self, held: Held) -> bool:
        """Whether what leads its lane waits for a retry."""
        lane = self._lanes.get(held.lane)
        return lane is not None and lane.is_stopped

    def stop(self, held: Held) -> Collection[Held]:
        """It waits for its retry, and its lane with it; what waits behind it."""
        if held.lane is not None:
            self._lanes[held.lane].is_stopped = True
        return self.behind(held)

    def behind(self, held: Held) -> Collection[Held]:
        """What waits behind the one that leads, in order."""
        return () if held.lane is None else self._lanes[held.lane].behind

    def go_on(self, held: Held) -> None:
        """Its retry is due."""
        if held.lane is not None:
            self._lanes[held.lane].is_stopped = False

    def leave(self, held: Held) -> Held | None:
        """It is done; the next of its lane, which leads from now on."""
        if not held.leads:
            return None
        held.leads = False
        lane = self._lanes[held.lane]
        lane.is_stopped = False
        if not lane.behind:
            del self._lanes[held.lane]
            return None
        following = lane.behind.popleft()
        following.leads = True
        return following
