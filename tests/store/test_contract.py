"""Every store passes the same contract suite."""

from pathlib import Path
from typing import Literal

import pytest

from asyncbus import EventStore, MemoryStore, SQLiteStore
from asyncbus.testing import StoreContract


@pytest.mark.asyncio
class TestMemoryStore(StoreContract):
    @pytest.fixture(autouse=True)
    def logs(self) -> None:
        self.stores: dict[str, EventStore] = {}

    def make_store(self, log: str) -> EventStore:
        return self.stores.setdefault(log, MemoryStore())


@pytest.mark.asyncio
class TestBoundedMemoryStoreBelowItsBound(TestMemoryStore):
    def make_store(self, log: str) -> EventStore:
        return self.stores.setdefault(log, MemoryStore(max_events=20_000))


@pytest.mark.asyncio
class TestSQLiteStore(StoreContract):
    synchronous: Literal["full", "normal"] = "full"

    @pytest.fixture(autouse=True)
    def logs(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_store(self, log: str) -> EventStore:
        return SQLiteStore(self.folder / f"{log}.db", synchronous=self.synchronous)

    def make_reader(self, log: str) -> EventStore:
        return SQLiteStore(self.folder / f"{log}.db", read_only=True)


@pytest.mark.asyncio
class TestSQLiteStoreNormal(TestSQLiteStore):
    synchronous = "normal"


@pytest.mark.asyncio(loop_factories=["uvloop"])
class TestSQLiteStoreUnderUvloop(TestSQLiteStore):
    pass
