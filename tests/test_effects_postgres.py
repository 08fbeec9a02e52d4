"""Exactly-once effects in a real PostgreSQL."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from asyncbus import Event, EventBus, MemoryStore, Retry
from asyncbus.effects import Effects, PostgresEffects
from asyncbus.errors import EffectsError
from tests.behaviour.stage import until
from tests.effects import TABLES, Client, EffectsContract, HandlerError
from tests.postgres import CannotStartError, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[dict[str, Any]]:
    """How to connect; skip where there is none, but not in CI."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(running())
        except CannotStartError as obstacle:
            (pytest.fail if "CI" in os.environ else pytest.skip)(str(obstacle))
        yield {"host": str(folder), "user": "tests", "database": "postgres"}


@pytest_asyncio.fixture
async def database(postgres: dict[str, Any]) -> dict[str, Any]:
    """An empty one, but for the tables."""
    connection = await asyncpg.connect(**postgres)
    for statement in ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public", *TABLES):
        await connection.execute(statement)
    await connection.close()
    return postgres


class PostgresClient(Client):
    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.effects = PostgresEffects(connection)

    async def execute(self, statement: str) -> None:
        await self.connection.execute(statement)

    async def numbers(self) -> list[int]:
        rows = await self.connection.fetch("SELECT number FROM numbers ORDER BY number")
        return [row["number"] for row in rows]

    @property
    def is_in_transaction(self) -> bool:
        # What asyncpg keeps of a transaction would make the next one a savepoint.
        return bool(self.connection.is_in_transaction() or self.connection._top_xact is not None)

    def more_effects(self) -> Effects:
        return PostgresEffects(self.connection)

    async def close(self) -> None:
        await self.connection.close()


@pytest.mark.asyncio
class TestPostgresEffects(EffectsContract):
    @pytest.fixture(autouse=True)
    def _database(self, database: dict[str, Any]) -> None:
        self.database = database

    async def connect(self) -> PostgresClient:
        return PostgresClient(await asyncpg.connect(**self.database))


class PooledClient(PostgresClient):
    pool: Any

    async def close(self) -> None:
        await self.pool.release(self.connection)
        await self.pool.close()


class TestOfAPool(TestPostgresEffects):
    async def connect(self) -> PostgresClient:
        pool = await asyncpg.create_pool(**self.database, min_size=1, max_size=1)
        client = PooledClient(await pool.acquire())
        client.pool = pool
        return client


class TestSerializable(TestPostgresEffects):
    async def connect(self) -> PostgresClient:
        settings = {"default_transaction_isolation": "serializable"}
        return PostgresClient(await asyncpg.connect(**self.database, server_settings=settings))


@pytest_asyncio.fixture
async def client(database: dict[str, Any]) -> AsyncIterator[PostgresClient]:
    client = PostgresClient(await asyncpg.connect(**database))
    await client.effects.load("projector")
    yield client
    await client.close()


@pytest.mark.asyncio
async def test_transactions_of_asyncpg_are_the_handlers_to_use(client: PostgresClient) -> None:
    async with client.effects.transaction("projector", "one"):
        async with client.connection.transaction():
            await client.write(1)
        with pytest.raises(asyncpg.UniqueViolationError):
            async with client.connection.transaction():
                await client.write(1)
        await client.write(2)

    assert (await client.numbers(), await client.effects.load("projector")) == ([1, 2], "one")


@pytest.mark.asyncio
async def test_an_error_that_the_handler_swallows_is_raised_for_nothing_can_be_committed_any_more(
    client: PostgresClient,
) -> None:
    async def handle() -> None:
        async with client.effects.transaction("projector", "one"):
            await client.write(1)
            with suppress(asyncpg.UniqueViolationError):
                await client.write(1)

    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await handle()

    assert not client.is_in_transaction
    assert (await client.numbers(), await client.effects.load("projector")) == ([], None)


@pytest.mark.asyncio
async def test_a_statement_that_was_sent_is_cancelled_in_the_server_and_rolled_back(
    client: PostgresClient, database: dict[str, Any]
) -> None:
    handling = asyncio.create_task(client.handle("one", 1, "SELECT pg_sleep(3600)"))
    other = await asyncpg.connect(**database)
    while not await other.fetchval("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
        pass
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
    await other.close()

    assert not client.is_in_transaction
    assert (await client.numbers(), await client.effects.load("projector")) == ([], None)


@pytest.mark.parametrize("loading", [False, True])
@pytest.mark.asyncio
async def test_a_statement_that_the_handler_left_behind_keeps_nothing_open_for_good(
    client: PostgresClient, database: dict[str, Any], loading: bool
) -> None:
    other = await asyncpg.connect(**database)
    await other.execute("SELECT pg_advisory_lock(7)")

    async def handle() -> None:
        async with client.effects.transaction("projector", "one"):
            await client.write(1)
            left.append(asyncio.create_task(client.execute("SELECT pg_advisory_lock(7)")))
            await asyncio.sleep(0)
            await client.write(2)

    left: list[asyncio.Task[None]] = []
    with pytest.raises(asyncpg.InterfaceError, match="another operation is in progress") as raised:
        await handle()
    assert [note for note in raised.value.__notes__ if note.startswith("rolling back: ")]

    await other.close()  # which gives the lock back
    await asyncio.wait(left)
    if loading:
        assert await client.effects.load("projector") is None
    await client.handle("two", 2)
    assert (await client.numbers(), await client.effects.load("projector")) == ([2], "two")


@pytest.mark.asyncio
async def test_a_serialization_failure_is_raised_and_a_second_attempt_succeeds(
    client: PostgresClient, database: dict[str, Any]
) -> None:
    other = await asyncpg.connect(**database)
    await client.write(1)

    async def handle(*, disturbed: bool) -> None:
        async with client.effects.transaction("projector", "one"):
            await client.connection.fetch("SELECT * FROM numbers")
            if disturbed:
                await other.execute("UPDATE numbers SET number = 2")
            await client.execute("UPDATE numbers SET number = number + 10")

    await client.execute("SET default_transaction_isolation = 'repeatable read'")
    with pytest.raises(asyncpg.SerializationError):
        await handle(disturbed=True)
    await handle(disturbed=False)
    await other.close()

    assert (await client.numbers(), await client.effects.load("projector")) == ([12], "one")


@pytest.mark.asyncio
async def test_a_holder_that_has_not_committed_is_waited_for_but_not_by_who_is_cancelled(
    client: PostgresClient, database: dict[str, Any]
) -> None:
    other = PostgresClient(await asyncpg.connect(**database))
    await other.effects.load("projector")
    async with other.effects.transaction("projector", "other"):
        waiting = asyncio.create_task(client.handle("one", 1))
        while not await other.connection.fetchval("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            await other.execute("SELECT pg_stat_clear_snapshot()")  # else it stays as it was in this transaction
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not client.is_in_transaction
    await other.close()

    assert await client.effects.load("projector") == "other"


@pytest.mark.asyncio
async def test_a_server_that_ends_the_connection_is_told_by_the_handlers_own_error(
    client: PostgresClient, database: dict[str, Any]
) -> None:
    other = await asyncpg.connect(**database)
    ending = f"SELECT pg_terminate_backend({client.connection.get_server_pid()})"
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await client.handle("one", 1, ending, 2)

    assert await other.fetch("SELECT * FROM numbers") == []
    await other.close()


@pytest.mark.asyncio
async def test_consumers_that_start_at_once_create_one_table(database: dict[str, Any]) -> None:
    clients = [PostgresClient(await asyncpg.connect(**database)) for _ in range(8)]

    assert await asyncio.gather(*(client.effects.load("projector") for client in clients)) == [None] * 8

    for client in clients:
        await client.close()


@pytest.mark.asyncio
async def test_a_table_that_an_administrator_has_made_needs_no_right_to_make_one(database: dict[str, Any]) -> None:
    connection = await asyncpg.connect(**database)
    await PostgresEffects(connection).load("projector")
    await connection.execute("DROP ROLE IF EXISTS projector")
    await connection.execute("CREATE ROLE projector; GRANT ALL ON asyncbus_checkpoints TO projector")
    await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO projector")
    await connection.execute("SET ROLE projector")

    effects = PostgresEffects(connection)
    assert await effects.load("projector") is None
    async with effects.transaction("projector", "one"):
        pass
    assert await effects.load("projector") == "one"
    await connection.close()


@pytest.mark.asyncio
async def test_a_consumer_has_each_effect_once_through_failures_dead_letters_and_a_restart(
    client: PostgresClient,
) -> None:
    """The numbers are unique, so a second time would be an error, too."""
    store, failed = MemoryStore(), set[int]()
    broken = {4, 8}

    async def project(event: Event) -> None:
        await client.write(event.sequence)
        if event.sequence in broken or (event.sequence % 3 == 0 and event.sequence not in failed):
            failed.add(event.sequence)
            raise HandlerError

    for _ in range(2):
        async with EventBus(store) as bus:
            retry = Retry(attempts=2, backoff=0)
            bus.consume("projector", "a", project, effects=client.effects, retry=retry, concurrency=3)
            await bus.publish_many([("a", None)] * 5)
            await bus.wait_processed("projector", await bus.latest_sequence())
            assert [letter.event.sequence for letter in await bus.dead_letters()] == [
                sequence for sequence in sorted(broken) if sequence <= await bus.latest_sequence()
            ]
    async with EventBus(store) as bus:
        bus.consume("projector", "a", project, effects=client.effects)
        broken.clear()
        assert (await bus.retry_dead_letters("projector")).done == 2
        assert (await bus.retry_dead_letters("projector")).done == 0

    assert await client.numbers() == list(range(1, 11))


@pytest.mark.asyncio
async def test_a_consumer_whose_connection_the_server_has_ended_parks_nothing_and_says_what_to_do(
    client: PostgresClient, database: dict[str, Any]
) -> None:
    handled: list[int] = []

    async def project(event: Event) -> None:
        handled.append(event.sequence)

    other = PostgresClient(await asyncpg.connect(**database))
    async with EventBus(MemoryStore()) as bus:
        consumer = bus.consume("projector", "a", project, effects=client.effects, retry=Retry(attempts=2, backoff=0))
        await bus.publish("a")
        await bus.wait_processed("projector", 1)
        await other.execute(f"SELECT pg_terminate_backend({client.connection.get_server_pid()})")
        await bus.publish_many([("a", None)] * 5)
        with pytest.raises(EffectsError, match="consume it again with one that is open"):
            await bus.wait_processed("projector", 6)
        assert (consumer.statistics().dead_letters, consumer.statistics().failed) == (0, 0)
        bus.consume("projector", "a", project, effects=other.effects)
        await bus.wait_processed("projector", 6)
    assert handled == [1, 2, 3, 4, 5, 6]
    await other.close()


@pytest.mark.asyncio
async def test_a_state_that_somebody_else_has_locked_is_waited_for(
    client: PostgresClient, database: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    other = await asyncpg.connect(**database)
    await client.execute("SET lock_timeout = '10ms'")
    async with EventBus(MemoryStore()) as bus:
        consumer = bus.consume(
            "projector",
            "a",
            lambda event: client.write(event.sequence),
            effects=client.effects,
            retry=Retry(attempts=1),
        )
        await bus.publish("a")
        await bus.wait_processed("projector", 1)
        async with other.transaction():
            await other.execute("SELECT * FROM asyncbus_checkpoints FOR UPDATE")
            await bus.publish("a")
            await until(lambda: "waits until the database of its effects is free" in caplog.text)
        await bus.wait_processed("projector", 2)
        assert (consumer.statistics().dead_letters, consumer.statistics().failed) == (0, 0)
    assert await client.numbers() == [1, 2]
    await other.close()


def test_who_has_no_asyncpg_can_import_it(tmp_path: Path) -> None:
    program = "import sys, asyncbus.effects; sys.exit('asyncpg' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
