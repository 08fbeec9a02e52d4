"""What tests of others need: for applications `Collector`, `FakeClock` and `FaultyStore`, for stores `StoreContract`.

With pytest, `Collector` and `FakeClock` come as the fixtures `collector` and `fake_clock`, beside `bus` and `make_bus`.

`FaultyStore` wraps any store and fails, is slow, hangs or tears a batch as a test orders it; its documentation shows
one. `StoreContract` is the promises of an `EventStore` as tests.

One class, in a file that pytest collects, is a complete test of a store (here with pytest-asyncio in strict mode)::

    import pytest
    from asyncbus import EventStore
    from asyncbus.testing import StoreContract

    @pytest.mark.asyncio
    class TestMyStore(StoreContract):
        @pytest.fixture(autouse=True)
        def folder(self, tmp_path):
            self.tmp_path = tmp_path

        def make_store(self, log: str) -> EventStore:
            return MyStore(self.tmp_path / log)

What is tested follows from what `store.features` declares; a test of a promise that a store does not make is skipped
and says so. The suite needs no pytest, only something that runs `async` methods named `test_…` on a fresh instance.
"""

from asyncbus.testing.clock import FakeClock
from asyncbus.testing.collector import Collector
from asyncbus.testing.contract import StoreContract
from asyncbus.testing.faulty import FaultyStore, Held
from asyncbus.testing.records import content, record

__all__ = ["Collector", "FakeClock", "FaultyStore", "Held", "StoreContract", "content", "record"]
