"""The contract of an `EventStore`, as one class of tests."""

from __future__ import annotations

from asyncbus.testing.appending import Appending
from asyncbus.testing.consuming import Consuming
from asyncbus.testing.identity import Identity
from asyncbus.testing.lifetime import Lifetime
from asyncbus.testing.naming import Naming
from asyncbus.testing.parking import Parking
from asyncbus.testing.querying import Querying
from asyncbus.testing.reading import Reading


class StoreContract(Appending, Identity, Naming, Reading, Querying, Consuming, Parking, Lifetime):
    """What the bus relies on, of any store.

    Subclass it, write `make_store` (and `make_reader` if there is a read-only kind), and let a test runner that awaits
    `async` methods run the `test_…` methods, each on a fresh instance. `asyncbus.testing` shows a whole file.
    """
