"""Where a user may not write, nothing is written, and what the error advises works: reading.

Root may write everywhere, so these tests act as another user.
"""

import fcntl
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asyncbus import StoreNotFoundError, StoreReadOnlyError
from asyncbus.testing import record
from tests.store.files import contents, make_log, opened, read_all, refused, sequences
from tests.store.processes import run


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that another user can get at, as pytest's cannot."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o777)


@pytest.mark.fault(49)
@pytest.mark.asyncio
@pytest.mark.parametrize(("file", "folder"), [(0o444, 0o777), (0o666, 0o555), (0o444, 0o555)])
async def test_a_file_or_folder_that_may_not_be_written_is_refused(public_folder: Path, file: int, folder: int) -> None:
    path = public_folder / "log.db"
    await make_log(path)
    path.chmod(file)
    before = contents(public_folder)
    public_folder.chmod(folder)

    told = run("visit_as_nobody", path, "to write")

    assert told["error"] == StoreReadOnlyError.__name__
    assert str(path) in told["message"]
    assert "read_only=True" in told["message"]
    assert contents(public_folder) == before


@pytest.mark.fault(49)
@pytest.mark.asyncio
async def test_a_new_log_in_a_folder_that_may_not_be_written_is_refused(public_folder: Path) -> None:
    public_folder.chmod(0o555)

    told = run("visit_as_nobody", public_folder / "log.db", "to write")

    assert told["error"] == StoreReadOnlyError.__name__
    assert list(public_folder.iterdir()) == []


@pytest.mark.fault(49)
@pytest.mark.asyncio
@pytest.mark.parametrize(("file", "folder"), [(0o444, 0o777), (0o644, 0o555), (0o444, 0o555)])
async def test_what_may_not_be_written_can_be_read_as_the_error_advises(
    public_folder: Path, file: int, folder: int
) -> None:
    path = public_folder / "log.db"
    await make_log(path, 3)
    path.chmod(file)
    public_folder.chmod(folder)

    told = run("visit_as_nobody", path, "read-only")

    assert told == {"error": None, "sequences": [1, 2, 3]}


@pytest.mark.fault(49)
@pytest.mark.asyncio
async def test_what_may_not_be_written_can_be_read_beside_its_writer(public_folder: Path) -> None:
    path = public_folder / "log.db"
    async with opened(path) as store:
        await store.append([record("a.b"), record("a.b")])
        public_folder.chmod(0o555)

        told = run("visit_as_nobody", path, "read-only")

    assert told == {"error": None, "sequences": [1, 2]}


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["to write", "read-only"])
async def test_a_folder_that_may_not_be_entered_is_an_error_of_the_store(public_folder: Path, how: str) -> None:
    inner = public_folder / "inner"
    inner.mkdir()
    await make_log(inner / "log.db")
    inner.chmod(0o000)
    try:
        told = run("visit_as_nobody", inner / "log.db", how)
    finally:
        inner.chmod(0o700)

    assert told["error"] in {StoreReadOnlyError.__name__, StoreNotFoundError.__name__}
    assert str(inner) in told["message"]


@pytest.mark.fault(49)
@pytest.mark.asyncio
async def test_a_read_only_file_system_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await make_log(path)

    with unwritable(tmp_path, path):
        before = contents(tmp_path)
        error = await refused(path, StoreReadOnlyError)

        assert contents(tmp_path) == before
    assert "read_only=True" in str(error)


@pytest.mark.fault(49)
@pytest.mark.asyncio
async def test_a_read_only_file_system_can_be_read_as_the_error_advises(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await make_log(path, 3)

    with unwritable(tmp_path, path):
        async with opened(path, read_only=True) as store:
            assert sequences((await read_all(store))[0]) == [1, 2, 3]


_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10


@contextmanager
def unwritable(*paths: Path) -> Iterator[None]:
    """Keep even root from writing, as a read-only file system does: the attribute `i` of `chattr`."""
    done: list[Path] = []
    try:
        for path in paths:
            try:
                _set_attribute(path, on=True)
            except OSError as error:
                pytest.skip(f"without mounting one, no read-only file system can be simulated here: {error}")
            done.append(path)
        yield
    finally:
        for path in done:
            _set_attribute(path, on=False)


def _set_attribute(path: Path, *, on: bool) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("l", 0)))
        fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", flags | _IMMUTABLE if on else flags & ~_IMMUTABLE))
    finally:
        os.close(descriptor)
