"""What all ready-made `Effects` promise, as one class of tests; each database says how it is asked."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import count, product
from typing import Any

import pytest
from anyio import CancelScope

from asyncbus.effects import Effects
from asyncbus.errors import EffectsError
from tests.fakes import until


class HandlerError(Exception):
    """What a handler raises."""


class Client(ABC):
    """A connection to the database of a test, and effects on it."""

    effects: Effects

    @abstractmethod
    async def execute(self, statement: str) -> None: ...

    @abstractmethod
    async def numbers(self) -> list[int]:
        """What the handlers have written, as far as this connection sees it."""

    @property
    @abstractmethod
    def is_in_transaction(self) -> bool: ...

    @abstractmethod
    def more_effects(self) -> Effects:
        """Others on the same connection."""

    @abstractmethod
    async def close(self) -> None: ...

    async def write(self, number: int) -> None:
        await self.execute(f"INSERT INTO numbers VALUES ({number})")

    async def handle(self, state: str, *work: int | str | BaseException) -> None:
        """One transaction of the projector: numbers to write, statements, "close", and what is raised at last."""
        async with self.effects.transaction("projector", state):
            for part in work:
                match part:
                    case int(number):
                        await self.write(number)
                    case "close":
                        await self.close()
                    case str(statement):
                        await self.execute(statement)
                    case BaseException():
                        raise part


TABLES = (
    "CREATE TABLE numbers (number INTEGER PRIMARY KEY)",
    "CREATE TABLE others (number INTEGER REFERENCES numbers (number) DEFERRABLE INITIALLY DEFERRED)",
)
CANNOT_BE_COMMITTED = "INSERT INTO others VALUES (999)"
ENDED = "had the transaction ended inside its handler"
OPEN = "cannot begin a transaction, for one is open"


class CancelledAt:
    """Await it to run a coroutine and to cancel its task when it waits for the nth time, for each n of the range."""

    def __init__(self, work: Coroutine[Any, Any, None], suspensions: range) -> None:
        self._work = work
        self._suspensions = suspensions

    def __await__(self) -> Generator[Any, None, None]:
        error: BaseException | None = None
        for number in count():
            try:
                waiting_for = self._work.send(None) if error is None else self._work.throw(error)
            except StopIteration:
                return
            if number in self._suspensions:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            error = None
            try:
                yield waiting_for
            except BaseException as raised:  # noqa: BLE001  # it is the work's
                error = raised


async def cancelled_at(work: Coroutine[Any, Any, None], suspensions: range) -> None:
    await CancelledAt(work, suspensions)


class EffectsContract(ABC):
    ends: tuple[str, ...] = ("COMMIT", "ROLLBACK")
    """Statements with which a handler can end the transaction."""

    waits = 4
    """How often it waits, at least, until the commit of one effect has begun."""

    @abstractmethod
    async def connect(self) -> Client:
        """Another connection to the same database, which has the two `TABLES`."""

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        client = await self.connect()
        try:
            yield client
        finally:
            await client.close()

    async def committed(self) -> tuple[list[int], str | None]:
        """What others see: the numbers, and the state of the projector."""
        async with self.client() as other:
            return await other.numbers(), await other.effects.load("projector")

    # --------------------------------------------------------------------------------------------- commit, roll back

    async def test_a_fresh_database_knows_nothing(self) -> None:
        async with self.client() as client:
            assert await client.effects.load("projector") is None
            assert await client.effects.load("projector") is None
            assert not client.is_in_transaction

    async def test_effect_and_state_are_committed_together_when_the_block_ends(self) -> None:
        async with self.client() as client:
            await client.effects.load("projector")
            async with client.effects.transaction("projector", "one"):
                await client.write(1)
                assert await self.committed() == ([], None)

            assert await self.committed() == ([1], "one")
            await client.handle("two", 2)

        assert await self.committed() == ([1, 2], "two")

    async def test_what_was_committed_is_loaded_after_a_restart_and_replaced(self) -> None:
        for number, before in enumerate([None, "0", "1"]):
            async with self.client() as client:
                assert await client.effects.load("projector") == before
                await client.handle(str(number), number)

        assert await self.committed() == ([0, 1, 2], "2")

    @pytest.mark.parametrize("state", ["", "{}", '{"checkpoint":7}', "'; DROP TABLE numbers; --", "ä\n\\😀" * 10_000])
    async def test_a_state_comes_back_as_it_was(self, state: str) -> None:
        async with self.client() as client:
            await client.effects.load("projector")
            await client.handle(state)

        assert await self.committed() == ([], state)

    async def test_what_the_block_raises_rolls_back_and_goes_on_unchanged(self) -> None:
        error = HandlerError("no")
        async with self.client() as client:
            await client.effects.load("projector")
            with pytest.raises(HandlerError) as raised:
                await client.handle("one", 1, error)

            assert raised.value is error
            assert not hasattr(error, "__notes__")
            assert error.__cause__ is error.__context__ is None
            assert not client.is_in_transaction
            assert await self.committed() == ([], None)

            await client.handle("two", 2)

        assert await self.committed() == ([2], "two")

    async def test_what_cannot_be_committed_is_rolled_back_and_raised(self) -> None:
        async with self.client() as client:
            await client.effects.load("projector")
            with pytest.raises(Exception, match=r"(?i)foreign key") as raised:
                await client.handle("one", CANNOT_BE_COMMITTED)
            assert not hasattr(raised.value, "__notes__")

            assert not client.is_in_transaction
            await client.handle("two", 2)

        assert await self.committed() == ([2], "two")

    async def test_a_connection_that_is_lost_is_a_note_of_what_the_block_raised(self) -> None:
        client = await self.connect()
        await client.effects.load("projector")
        error = HandlerError("no")
        with pytest.raises(HandlerError) as raised:
            await client.handle("one", 1, "close", error)

        assert raised.value is error
        assert [note for note in error.__notes__ if note.startswith("rolling back: ")]
        assert await self.committed() == ([], None)

    # ----------------------------------------------------------------------------------------------------- cancelled

    @pytest.mark.parametrize("again", [0, 1, 1_000], ids=["once", "twice", "all the time"])
    async def test_wherever_it_is_cancelled_both_are_there_or_neither(self, again: int) -> None:
        outcomes = []
        async with self.client() as client:
            await client.effects.load("projector")
            for number in count():
                was_cancelled = False
                try:
                    work = client.handle(str(number), number)
                    await asyncio.create_task(cancelled_at(work, range(number, number + again + 1)))
                except asyncio.CancelledError:
                    was_cancelled = True

                assert not client.is_in_transaction
                numbers, state = await self.committed()
                assert (number in numbers) is (state == str(number))
                outcomes.append((was_cancelled, number in numbers))
                await client.effects.load("projector")
                if not was_cancelled:
                    break

        # Nothing, until it is cancelled in its commit, which is not undone; and at last it is not cancelled at all.
        committed = outcomes.index((True, True))
        assert outcomes[:committed] == [(True, False)] * committed
        assert committed >= self.waits
        assert outcomes[-1] == (False, True)

    async def test_a_statement_that_is_cancelled_is_rolled_back_when_the_block_is_left(self) -> None:
        async with self.client() as client:
            await client.effects.load("projector")
            with CancelScope() as scope:
                async with client.effects.transaction("projector", "one"):
                    await client.write(1)
                    scope.cancel()
                    await client.write(2)

            assert scope.cancelled_caught
            assert not client.is_in_transaction
            assert await self.committed() == ([], None)

    async def test_a_commit_that_has_begun_is_not_cancelled_with_its_scope(self) -> None:
        async with self.client() as client:
            await client.effects.load("projector")
            with CancelScope() as scope:
                async with client.effects.transaction("projector", "one"):
                    await client.write(1)
                    scope.cancel()

            assert not scope.cancelled_caught

        assert await self.committed() == ([1], "one")

    async def test_who_waits_for_the_connection_can_be_cancelled(self) -> None:
        async with self.client() as client:
            await client.effects.load("projector")
            async with client.effects.transaction("projector", "one"):
                waiting = asyncio.create_task(client.more_effects().load("auditor"))
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await client.write(1)

        assert await self.committed() == ([1], "one")

    # ---------------------------------------------------------------------------------------- ended inside the block

    async def test_a_block_that_ends_the_transaction_by_itself_is_an_error(self) -> None:
        for number, ways in enumerate(product(self.ends, ["SELECT 1", "BEGIN"])):
            async with self.client() as client:
                await client.effects.load("projector")
                with pytest.raises(EffectsError, match=ENDED) as ended:
                    await client.handle(str(number), *ways, -number - 1)

                assert ended.value.name == "projector"
                assert not client.is_in_transaction, ways
                await client.effects.load("projector")
                await client.handle(f"again {number}", number)

    async def test_a_block_that_commits_by_itself_and_raises_is_an_error(self) -> None:
        async with self.client() as client:
            await client.effects.load("projector")
            with pytest.raises(EffectsError, match=ENDED) as ended:
                await client.handle("one", 1, "COMMIT", HandlerError())

            assert isinstance(ended.value.__context__, HandlerError)
            assert not client.is_in_transaction

        assert await self.committed() == ([1], "one")

    async def test_a_block_that_commits_by_itself_and_is_cancelled_is_cancelled(self) -> None:
        async with self.client() as client:
            await client.effects.load("projector")
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await client.handle("one", "COMMIT", asyncio.CancelledError())

            assert any(ENDED in note for note in cancelled.value.__notes__)
            assert not client.is_in_transaction

    async def test_a_block_that_rolls_back_and_raises_has_had_no_effect(self) -> None:
        async with self.client() as client:
            await client.effects.load("projector")
            with pytest.raises(HandlerError):
                await client.handle("one", 1, "ROLLBACK", HandlerError())

            assert not client.is_in_transaction
            assert await self.committed() == ([], None)

    async def test_a_state_that_changes_nothing_is_no_sign_of_a_commit(self) -> None:
        async with self.client() as client:
            await client.effects.load("projector")
            await client.handle("one", 1)
            with pytest.raises(HandlerError):
                await client.handle("one", 2, HandlerError())

        assert await self.committed() == ([1], "one")

    # ------------------------------------------------------------------------------------- others on the same things

    @pytest.mark.parametrize("failing", [False, True], ids=["after a commit", "after a failure"])
    async def test_a_transaction_that_is_open_already_is_an_error_and_is_not_harmed(self, failing: bool) -> None:
        async with self.client() as client:
            await client.effects.load("projector")
            with suppress(HandlerError):
                await client.handle("zero", *([HandlerError()] if failing else []))
            await client.execute("BEGIN")
            await client.write(1)

            with pytest.raises(EffectsError, match=OPEN):
                await client.effects.load("projector")
            with pytest.raises(EffectsError, match=OPEN):
                await client.handle("one", 3)

            assert client.is_in_transaction
            await client.execute("COMMIT")
            await client.handle("two", 2)

        assert await self.committed() == ([1, 2], "two")

    async def test_two_consumers_take_turns_on_one_connection(self) -> None:
        async def handle(effects: Effects, consumer: str, numbers: range) -> None:
            await effects.load(consumer)
            for number in numbers:
                async with effects.transaction(consumer, str(number)):
                    await client.write(number)
                    written.append(number)

        written: list[int] = []
        async with self.client() as client, asyncio.TaskGroup() as group:
            group.create_task(handle(client.effects, "projector", range(10)))
            group.create_task(handle(client.more_effects(), "auditor", range(100, 110)))

        assert sorted(written) != written, "they have not taken turns"
        async with self.client() as other:
            assert await other.numbers() == sorted(written)
            assert [await other.effects.load(name) for name in ("projector", "auditor")] == ["9", "109"]

    async def test_one_failing_consumer_does_not_hold_up_another(self) -> None:
        async with self.client() as client:
            auditing = client.more_effects()
            for effects, consumer in ((client.effects, "projector"), (auditing, "auditor")):
                await effects.load(consumer)
            failing = asyncio.create_task(client.handle("one", 1, HandlerError()))
            async with auditing.transaction("auditor", "one"):
                await client.write(2)
            with pytest.raises(HandlerError):
                await failing

        assert await self.committed() == ([2], None)

    @pytest.mark.fault(68)
    async def test_a_second_holder_of_the_name_stops_the_first(self) -> None:
        async with self.client() as stale, self.client() as present:
            for client in (stale, present):
                assert await client.effects.load("projector") is None
            await present.handle("present", 1)

            with pytest.raises(EffectsError, match="another process or bus uses its name"):
                await stale.handle("stale", 2)

            assert not stale.is_in_transaction
            assert await self.committed() == ([1], "present")
            assert await stale.effects.load("projector") == "present"
            await stale.handle("in turn", 3)

        assert await self.committed() == ([1, 3], "in turn")

    async def test_they_are_effects(self) -> None:
        async with self.client() as client:
            assert isinstance(client.effects, Effects)
            assert isinstance(client.effects.transaction("projector", ""), AbstractAsyncContextManager)

    async def test_many_events_have_their_effects_one_after_the_other(self) -> None:
        handled = 0

        async def handle() -> None:
            nonlocal handled
            await client.effects.load("projector")
            for number in range(50):
                await client.handle(str(number), number)
                handled += 1

        async with self.client() as client:
            handling = asyncio.create_task(handle())
            await until(lambda: handled > 10)
            handling.cancel()
            await asyncio.wait([handling])

        numbers, state = await self.committed()
        assert numbers == list(range(len(numbers)))
        assert state == str(numbers[-1])
