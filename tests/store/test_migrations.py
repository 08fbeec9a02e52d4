"""The schema comes in numbered migrations, which are applied in one transaction."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from asyncbus.store import migrations
from asyncbus.store.migrations import APPLICATION_ID, prepare
from tests.store.files import sql


def test_migrations_are_numbered_from_1_without_a_gap() -> None:
    numbers = [number for number, _ in migrations.migrations()]

    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


def test_every_migration_is_whole_statements() -> None:
    for number, script in migrations.migrations():
        statements = list(migrations._statements(script))
        assert statements, number
        assert "".join(script.split()).endswith("".join(statements[-1].split())), "nothing is left over at the end"
        assert all(sqlite3.complete_statement(statement) for statement in statements)


def test_a_new_log_has_all_migrations(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    prepare(path, read_only=False)

    assert sql(path, "PRAGMA user_version") == [(migrations.migrations()[-1][0],)]
    assert sql(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    tables = {name for (name,) in sql(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert tables >= {"events", "removals", "log", "consumers", "dead_letters"}
    assert [name.name for name in tmp_path.iterdir()] == ["log.db"]


def test_preparing_a_log_that_is_there_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    prepare(path, read_only=False)
    [log_id] = sql(path, "SELECT log_id FROM log")
    before = path.read_bytes()

    prepare(path, read_only=False)
    prepare(path, read_only=True)

    assert path.read_bytes() == before
    assert sql(path, "SELECT log_id FROM log") == [log_id]


def test_two_logs_have_different_names(tmp_path: Path) -> None:
    for name in ("one.db", "other.db"):
        prepare(tmp_path / name, read_only=False)

    one, other = (sql(tmp_path / name, "SELECT log_id FROM log") for name in ("one.db", "other.db"))

    assert one != other


@pytest.mark.fault(48)
def test_migrations_that_fail_half_way_leave_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # The last table of the schema is there already: all statements before that one succeed.
        connection.execute("CREATE TABLE dead_letters (theirs TEXT)")

        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            migrations._migrate(connection, 0)

        assert not connection.in_transaction

    assert sql(path, "SELECT name FROM sqlite_schema") == [("dead_letters",)]
    assert sql(path, "PRAGMA user_version") == [(0,)]
    assert sql(path, "PRAGMA application_id") == [(0,)]


def test_what_a_killed_maker_left_beside_the_log_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"log.db.asyncbus-new{suffix}").write_bytes(b"half made")

    prepare(path, read_only=False)

    assert sql(path, "SELECT count(*) FROM log") == [(1,)]
    assert [name.name for name in tmp_path.iterdir()] == ["log.db"]


@pytest.mark.fault(76)
def test_opening_a_log_syncs_its_name_whoever_made_it_may_not_have_lived_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.db"
    prepare(path, read_only=False)
    synced: list[Path] = []
    monkeypatch.setattr(migrations, "sync_folder", synced.append)

    prepare(path, read_only=True)
    assert synced == [], "a reader changes nothing"
    prepare(path, read_only=False)
    assert synced == [tmp_path]
