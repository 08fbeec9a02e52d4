"""A copy goes where nothing is yet and where there is room for it; else it is refused, and nothing is left."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import asyncbus
from asyncbus import (
    BusClosedError,
    InvalidOptionError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    UnsupportedFeatureError,
    verify,
)
from asyncbus.testing import record
from tests.store.files import make_log, opened, verified
from tests.store.processes import run


@pytest.mark.asyncio
async def test_what_is_there_is_never_overwritten(path: Path, copy: Path) -> None:
    copy.write_text("precious")
    copy.with_name("link.db").symlink_to("nowhere")

    async with opened(path) as store:
        for there in (copy, copy.with_name("link.db"), copy.parent, path):
            with pytest.raises(InvalidOptionError, match="does not exist yet; name another, or remove it") as caught:
                await store.backup(there)
            assert caught.value.option == "path"

    assert copy.read_text() == "precious"
    assert sorted(file.name for file in copy.parent.iterdir()) == ["copy.db", "link.db"]


@pytest.mark.asyncio
async def test_what_appears_in_the_last_moment_is_not_overwritten(
    path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beaten(act: Callable[..., None]) -> Callable[..., None]:
        def come_second(*arguments: Any, **options: Any) -> None:
            copy.write_text("precious")
            act(*arguments, **options)

        return come_second

    async with opened(path) as store:
        for name in ("link", "rename"):
            monkeypatch.setattr(os, name, beaten(getattr(os, name)))
        with pytest.raises(InvalidOptionError, match="does not exist yet"):
            await store.backup(copy)

    assert [(file.name, file.read_text()) for file in copy.parent.iterdir()] == [("copy.db", "precious")]


@pytest.mark.asyncio
async def test_a_copy_is_made_where_files_cannot_have_two_names(
    path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as of a FAT file system

    monkeypatch.setattr(os, "link", refuse)
    await make_log(path)
    async with opened(path) as store:
        await store.backup(copy)

    assert [file.name for file in copy.parent.iterdir()] == ["copy.db"]
    assert (await verified(copy)).sound


@pytest.mark.asyncio
@pytest.mark.parametrize("bad", ["", 5, None, "a\0b"])
async def test_what_is_no_path_is_refused(path: Path, bad: Any) -> None:
    async with asyncbus.connect(path) as bus:
        with pytest.raises(InvalidOptionError):
            await bus.backup(bad)


@pytest.mark.asyncio
async def test_a_folder_that_is_missing_is_named(path: Path, copy: Path) -> None:
    async with opened(path) as store:
        with pytest.raises(StoreNotFoundError, match="elsewhere does not exist"):
            await store.backup(copy.parent / "elsewhere" / "copy.db")


@pytest.mark.asyncio
async def test_a_copy_is_not_put_beside_the_remains_of_another_log(path: Path, copy: Path) -> None:
    Path(f"{copy}-wal").write_bytes(b"SQLite would take it for the copy's")

    async with opened(path) as store:
        with pytest.raises(StoreCorruptError, match=r"copy\.db-wal is there"):
            await store.backup(copy)


@pytest.mark.asyncio
async def test_the_place_of_a_copy_that_was_looked_at_and_moved_away_is_free_again(path: Path, copy: Path) -> None:
    async with opened(path) as store:
        await store.append([record("a.b")])
        await store.backup(copy)
        assert (await asyncio.to_thread(verify, copy)).sound
        copy.rename(copy.with_name("archive.db"))
        assert Path(f"{copy}-wal").exists(), "a reader leaves it behind, empty"

        await store.backup(copy)

    assert (await asyncio.to_thread(verify, copy)).sound


@pytest.mark.fault(38)
@pytest.mark.asyncio
async def test_a_copy_for_which_there_is_no_space_leaves_nothing(path: Path) -> None:
    await make_log(path, 2000)

    assert await asyncio.to_thread(run, "back_up_to_a_small_disk", path, 100_000) == "StoreFullError"

    assert list(path.parent.glob("*copy*")) == []
    assert (await verified(path)).events == 2000


@pytest.mark.asyncio
async def test_a_log_in_memory_says_that_it_cannot_be_copied(copy: Path) -> None:
    async with asyncbus.connect() as bus:
        with pytest.raises(UnsupportedFeatureError, match="MemoryStore has no backup") as caught:
            await bus.backup(copy)

    assert caught.value.feature == "backup"


@pytest.mark.asyncio
async def test_a_bus_that_is_not_open_makes_no_copies(path: Path, copy: Path) -> None:
    bus = asyncbus.connect(path)
    with pytest.raises(BusClosedError):
        await bus.backup(copy)
    async with bus:
        pass
    with pytest.raises(BusClosedError):
        await bus.backup(copy)


@pytest.mark.asyncio
async def test_a_long_name_is_a_name(path: Path, copy: Path) -> None:
    long = copy.with_name("x" * 232)
    async with opened(path) as store:
        await store.append([record("a.b"), record("a.b"), record("a.b")])
        await store.backup(long)
        with pytest.raises(StoreError):
            await store.backup(copy.with_name("x" * 300))

    assert [file.name for file in copy.parent.iterdir()] == [long.name]
    async with opened(long) as store:
        assert await store.latest_sequence() == 3
