"""What `SQLiteStore` keeps for consumers, beyond the contract: in its file, when that is old, damaged or full."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from asyncbus import Pattern, SchemaTooOldError, SQLiteStore, StoreFailedError, StoreFullError
from asyncbus.store import connection, keeping, migrations, statements
from asyncbus.store.consumers import Change, ConsumerState, Forgotten, ParkedEvent, ParkedFilter, Released
from asyncbus.testing import content, record
from tests.store.files import make_log, opened, read_all, sequences, sql, verified
from tests.store.kept import ALL_LETTERS, EVENTS, numbers, parked, parked_log, state
from tests.store.test_statements import HOSTILE

FIRST_MIGRATION = migrations.migrations()[:1]
LATEST = migrations.migrations()[-1][0]


# --- logs of version 1 -----------------------------------------------------------------------------------------------


def make_old_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of three events, as it was made before there were consumers."""
    with monkeypatch.context() as then:
        then.setattr(migrations, "migrations", lambda: FIRST_MIGRATION)
        migrations.prepare(path, read_only=False)
    [(statement, bound)] = statements.inserts([record("a.b", place) for place in range(3)], 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement, bound)
    assert sql(path, "PRAGMA user_version") == [(1,)]


@pytest.mark.fault(48)
@pytest.mark.asyncio
async def test_a_log_from_before_consumers_keeps_its_events_and_can_keep_consumers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(make_old_log, path, monkeypatch)
    async with opened(path) as store:
        events, _ = await read_all(store)
        assert sequences(events) == [1, 2, 3]
        assert list(await store.consumers()) == []
        await store.commit([record("a.b")], [state(), parked(events[0])])
        assert list(await store.consumers()) == [state()]

    assert sql(path, "PRAGMA user_version") == [(LATEST,)]
    assert (await verified(path)).sound


@pytest.mark.fault(48)
@pytest.mark.asyncio
async def test_an_older_log_is_not_read_before_somebody_has_migrated_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(make_old_log, path, monkeypatch)
    with pytest.raises(SchemaTooOldError, match="open it for writing once"):
        async with opened(path, read_only=True):
            pass
    with pytest.raises(SchemaTooOldError):
        await verified(path)
    assert sql(path, "PRAGMA user_version") == [(1,)], "who only reads changes nothing"

    async with opened(path):
        pass

    async with opened(path, read_only=True) as reader:
        assert sequences((await read_all(reader))[0]) == [1, 2, 3]
    assert (await verified(path)).sound


# --- whole or not at all ---------------------------------------------------------------------------------------------


@pytest.mark.fault(28)
@pytest.mark.asyncio
@pytest.mark.parametrize("size", [0, 3, 5000])
async def test_a_commit_of_which_the_database_refuses_one_row_stores_nothing(path: Path, size: int) -> None:
    await make_log(path, 2)
    async with opened(path) as store:
        await store.commit([], [state()])
        refused = ParkedEvent(consumer="one", record=record("a"), attempts=None, failures=(), parked_at=7)  # type: ignore[arg-type]  # which no bus does
        with pytest.raises(StoreFailedError, match="NOT NULL"):
            await store.commit([record("a.b") for _ in range(size)], [state(epoch=2), state("new"), refused])
        with pytest.raises(StoreFailedError, match="failed before"):  # nobody knows how that could come about
            await store.commit([], [state()])
        assert list(await store.consumers()) == [state()]

    async with opened(path) as store:
        assert list(await store.consumers()) == [state()]
        assert (await store.commit([record("a.b")], [state()])).stale == frozenset()
        assert sequences((await read_all(store))[0]) == [1, 2, 3]


@pytest.mark.fault(37)
@pytest.mark.asyncio
@pytest.mark.parametrize("size", [0, 100])
async def test_a_commit_for_which_there_is_no_space_stores_nothing_and_heals(path: Path, size: int) -> None:
    await make_log(path, 2)
    large = state(epoch=3, last_error="x" * 100_000)
    async with opened(path) as store:
        await store.commit([], [state(epoch=2)])
        [(pages,)] = await store._appender.connection.rows("PRAGMA page_count")
        await store._appender.connection.rows(f"PRAGMA max_page_count = {pages}")
        for _ in range(2):
            with pytest.raises(StoreFullError):
                await store.commit([record("a.b", "x" * 1000) for _ in range(size)], [large, parked(record("a"))])
            assert list(await store.consumers()) == [state(epoch=2)]
            assert await store.latest_sequence() == 2
        await store._appender.connection.rows("PRAGMA max_page_count = 100000")

        appended = await store.commit([record("a.b")], [state(epoch=2), state("new")])

        assert (appended.first, appended.stale) == (3, frozenset()), "the epoch that was not stored counts for nothing"
        assert list(await store.consumers()) == [state("new"), state(epoch=2)]


@pytest.mark.fault(31)
@pytest.mark.asyncio
async def test_what_cannot_even_be_bound_stores_nothing_and_leaves_no_transaction(path: Path) -> None:
    async with opened(path) as store:
        with pytest.raises(OverflowError):
            await store.commit([record("a.b")], [state(checkpoint=2**63)])

        assert not store._appender.connection.in_transaction
        assert (await store.commit([record("a.b")], [state()])).first == 1
        assert store.statistics()["rolled_back"] == 0


@pytest.mark.asyncio
async def test_the_watermark_is_about_events(path: Path) -> None:
    watermark = Path(f"{path}-watermark")
    async with opened(path) as store:
        await store.commit([record("a.b")], [state()])
        written = watermark.read_bytes()
        watermark.write_bytes(b"")
        await store.commit([], [state(epoch=2)])
        assert watermark.read_bytes() == b""
        await store.commit([record("a.b")], [state(epoch=2)])
        assert len(watermark.read_bytes()) == len(written) > 0


@pytest.mark.asyncio
async def test_commits_without_events_move_the_write_ahead_log_as_well(path: Path) -> None:
    async with opened(path, synchronous="normal") as store:
        for _ in range(100):
            await store.commit([], [state(f"{place}", last_error="x" * 10_000) for place in range(40)])
        assert store.statistics()["wal_checkpoints"] > 0


# --- statements ------------------------------------------------------------------------------------------------------


def changes_of(size: int) -> list[Change]:
    """So many consumers, each with a state and a dead letter, one after the other."""
    return [
        change
        for number in range(size)
        for change in (state(f"{number}"), parked(record("a"), f"{number}"), state(f"{number}", epoch=2))
    ]


def test_many_changes_are_few_statements() -> None:
    assert [len(keeping.changing(changes_of(size))) for size in (1, 10, 250)] == [2, 2, 2]
    assert len(keeping.changing(changes_of(1000))) <= 6


def test_few_statements_are_prepared_whatever_the_number_of_changes() -> None:
    prepared = {
        statement for size in (*range(1, 40), 100, 171, 341, 600) for statement, _ in keeping.changing(changes_of(size))
    }

    assert len(prepared) <= 20
    for size in (1, 3, 512, 513):
        for statement, bound in keeping.changing(changes_of(size)):
            assert statement.count("?") == len(bound) <= 32_766


@pytest.mark.fault(24)
def test_changing_and_asking_binds_everything_that_a_user_gives() -> None:
    for text in HOSTILE:
        hostile: list[Change] = [
            ConsumerState(name=text, pattern=text, last_error=text),
            parked(record("a", text, id=text, key=text), text, text),
            Forgotten(text),
        ]
        plain: list[Change] = [state("x"), parked(record("a")), Released([1]), Forgotten("x")]
        known = {statement for statement, _ in keeping.changing(plain)}
        assert {statement for statement, _ in keeping.changing(hostile)} <= known
        # As if the grammar of patterns had let it through.
        for pattern in (Pattern(exact=(text,)), Pattern(prefixes=(text,))):
            asked, bound = keeping.letters(ParkedFilter(consumer=text, pattern=pattern), after=0, limit=1)
            assert asked == keeping.letters(ParkedFilter(consumer="x", pattern=Pattern.parse("a")), after=0, limit=1)[0]
            assert {text} <= set(bound)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "wanted",
    [
        ALL_LETTERS,
        ParkedFilter(consumer="one"),
        ParkedFilter(consumer="one", start_sequence=5, stop_sequence=50_000),
        ParkedFilter(pattern=Pattern.parse("a.*"), start_parked=5),
    ],
)
async def test_a_page_of_dead_letters_is_found_by_its_numbers_and_never_sorted(
    path: Path, wanted: ParkedFilter
) -> None:
    await make_log(path)
    statement, bound = keeping.letters(wanted, after=1000, limit=10)

    plan = [line for *_, line in sql(path, f"EXPLAIN QUERY PLAN {statement}", *bound)]

    assert any("SEARCH dead_letters" in line and "rowid>?" in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan


@pytest.mark.asyncio
async def test_dead_letters_that_are_too_large_together_are_read_by_and_by(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_LENGTH", 2**20)
    async with opened(path) as store:
        events = [record("a.b", "x" * 100_000) for _ in range(50)]
        for event in events:
            await store.append([event])
            await store.commit([], [parked(event)])

        found = await store.dead_letters(ALL_LETTERS)

        assert [content(letter.record) for letter in found] == [content(event) for event in events]
        assert len(await store.dead_letters(ParkedFilter(limit=30))) == 30


# --- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.fault(52)
@pytest.mark.asyncio
async def test_a_copy_has_the_consumers_and_the_dead_letters(path: Path, copy: Path) -> None:
    await parked_log(path)
    async with opened(path) as store:
        await store.backup(copy)
        expected = list(await store.consumers()), list(await store.dead_letters(ALL_LETTERS))

    assert (await verified(copy)).sound
    async with opened(copy) as copied:
        assert (list(await copied.consumers()), list(await copied.dead_letters(ALL_LETTERS))) == expected
        await copied.commit([], [Released([EVENTS])])
        await copied.commit([], [parked(record("a"), "two")])
        assert numbers(await copied.dead_letters(ParkedFilter(after=EVENTS - 1))) == [EVENTS + 1]


def test_the_store_is_one_that_keeps_consumers(path: Path) -> None:
    assert SQLiteStore(path).features.consumers
    assert SQLiteStore(path, read_only=True).features.consumers
