"""A lost end of the log is noticed when it is opened, by the watermark beside it; and what can be done then works."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncbus import StoreTruncatedError
from asyncbus.testing import record
from tests.store.files import contents, make_log, opened, read_all, refused, sequences
from tests.store.processes import child


async def killed_with_a_tail(path: Path) -> None:
    """A log with three events in the database and seven more in its -wal file, whose writer was killed."""
    await make_log(path, 3)
    with child("write", path) as writer:
        assert await writer.says() == "opened"
        assert [await writer.does(1) for _ in range(3)] == [4, 5, 6]
        assert await writer.does(4) == 10
        await writer.kill()


def lose_the_wal(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def cut_the_wal(path: Path) -> None:
    wal = Path(f"{path}-wal")
    wal.write_bytes(wal.read_bytes()[:-100])


def flip_a_bit_in_the_wal(path: Path) -> None:
    wal = Path(f"{path}-wal")
    damaged = bytearray(wal.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    wal.write_bytes(damaged)


LOSSES = pytest.mark.parametrize("lose", [lose_the_wal, cut_the_wal, flip_a_bit_in_the_wal])


@LOSSES
@pytest.mark.fault(45)
@pytest.mark.fault(46)
@pytest.mark.asyncio
@pytest.mark.parametrize("read_only", [False, True], ids=["to write", "read-only"])
async def test_a_lost_tail_is_noticed_when_the_log_is_opened(
    path: Path, lose: Callable[[Path], None], read_only: bool
) -> None:
    await killed_with_a_tail(path)
    lose(path)

    error = await refused(path, StoreTruncatedError, read_only=read_only)

    assert error.expected == 10
    assert 3 <= error.found < 10
    assert error.watermark == f"{path}-watermark"
    assert error.watermark in str(error)


@LOSSES
@pytest.mark.fault(45)
@pytest.mark.asyncio
async def test_a_log_that_is_refused_for_its_lost_tail_is_left_as_it_was(
    path: Path, lose: Callable[[Path], None]
) -> None:
    await killed_with_a_tail(path)
    lose(path)
    before = contents(path.parent)

    await refused(path, StoreTruncatedError)

    after = contents(path.parent)
    for name in ("log.db", "log.db-wal", "log.db-watermark"):
        assert after.get(name, b"") == before.get(name, b""), f"{name}: somebody may still want to rescue the rest"


@pytest.mark.fault(46)
@pytest.mark.asyncio
async def test_a_lost_tail_that_is_put_back_is_whole_again(path: Path) -> None:
    await killed_with_a_tail(path)
    wal = Path(f"{path}-wal")
    wal.rename(f"{path}-found")
    await refused(path, StoreTruncatedError)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    Path(f"{path}-found").rename(wal)

    async with opened(path) as store:
        found, damage = await read_all(store)

    assert damage is None
    assert sequences(found) == list(range(1, 11))


@LOSSES
@pytest.mark.fault(46)
@pytest.mark.asyncio
async def test_a_loss_that_is_accepted_as_the_error_advises_opens_with_what_is_left(
    path: Path, lose: Callable[[Path], None]
) -> None:
    await killed_with_a_tail(path)
    lose(path)
    error = await refused(path, StoreTruncatedError)

    Path(error.watermark).unlink()

    async with opened(path) as store:
        found, damage = await read_all(store)
        appended = await store.append([record("a.b", "after the loss")])
    assert damage is None
    assert sequences(found) == list(range(1, error.found + 1))
    assert appended.first == error.found + 1
    async with opened(path) as store:
        assert await store.latest_sequence() == appended.first


@pytest.mark.fault(45)
@pytest.mark.asyncio
async def test_an_older_copy_put_in_the_logs_place_is_noticed(path: Path) -> None:
    await make_log(path, 3)
    shutil.copy(path, path.with_name("backup.db"))
    async with opened(path) as store:
        await store.append([record("a.b") for _ in range(4)])

    shutil.copy(path.with_name("backup.db"), path)

    error = await refused(path, StoreTruncatedError)
    assert (error.expected, error.found) == (7, 3)


@pytest.mark.asyncio
async def test_the_watermark_of_another_log_says_nothing(path: Path) -> None:
    other = path.with_name("other.db")
    await make_log(other, 50)
    await make_log(path, 3)
    shutil.copy(f"{other}-watermark", f"{path}-watermark")

    async with opened(path) as store:
        assert await store.latest_sequence() == 3


@pytest.mark.asyncio
@pytest.mark.parametrize("damage", [b"", b"rubbish", b"\xff" * 44, b"\0" * 44, b"x" * 4096])
async def test_a_damaged_watermark_says_nothing_and_is_mended(path: Path, damage: bytes) -> None:
    await make_log(path, 3)
    watermark = Path(f"{path}-watermark")
    watermark.write_bytes(damage)

    async with opened(path) as store:
        assert (await store.append([record("a.b")])).first == 4

    shutil.copy(path, path.with_name("newer.db"))
    async with opened(path) as store:
        await store.append([record("a.b")])
    shutil.copy(path.with_name("newer.db"), path)
    error = await refused(path, StoreTruncatedError)
    assert (error.expected, error.found) == (5, 4)


@pytest.mark.asyncio
async def test_clear_is_no_loss(path: Path) -> None:
    await make_log(path, 3)
    async with opened(path) as store:
        await store.clear()

    async with opened(path) as store:
        assert await store.latest_sequence() == 3


@pytest.mark.asyncio
async def test_a_watermark_that_cannot_be_written_fails_no_append(path: Path) -> None:
    await make_log(path, 3)
    async with opened(path) as store:
        full = os.open("/dev/full", os.O_RDWR)  # where every write finds the disk full
        os.dup2(full, store._watermark._descriptor)
        os.close(full)

        appended = await store.append([record("a.b")])

        assert appended.first == 4
        assert sequences((await read_all(store))[0]) == [1, 2, 3, 4]
