"""A log is refused on a network file system, unless its user says that no other machine opens it."""

from pathlib import Path

import pytest

from asyncbus import UnsupportedFilesystemError, connect
from asyncbus.store import filesystems
from tests.store.files import opened, refused


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the system says is mounted; a test writes it."""
    place = tmp_path / "mounts"
    monkeypatch.setattr(filesystems, "MOUNTS", place)
    return place


@pytest.mark.fault(50)
@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"])
@pytest.mark.parametrize("read_only", [False, True])
async def test_a_log_on_a_network_file_system_is_refused(path: Path, mounts: Path, kind: str, read_only: bool) -> None:
    async with opened(path):
        pass
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/share {path.parent} {kind} rw 0 0\n")

    error = await refused(path, UnsupportedFilesystemError, read_only=read_only)

    assert error.filesystem == kind
    assert error.path == str(path)
    assert "any_filesystem=True" in str(error)


@pytest.mark.fault(50)
@pytest.mark.asyncio
async def test_nothing_is_made_where_it_is_refused(path: Path, mounts: Path) -> None:
    mounts.write_text(f"server:/share {path.parent} nfs4 rw 0 0\n")

    await refused(path, UnsupportedFilesystemError)

    assert [entry.name for entry in path.parent.iterdir()] == ["mounts"]


@pytest.mark.fault(50)
@pytest.mark.asyncio
async def test_it_is_opened_there_if_its_user_says_so(path: Path, mounts: Path) -> None:
    mounts.write_text(f"server:/share {path.parent} nfs4 rw 0 0\n")

    async with connect(path, any_filesystem=True) as bus:
        assert (await bus.publish("a.b")).sequence == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "table",
    [
        "server:/share / nfs4 rw 0 0\n/dev/vda {folder} ext4 rw 0 0\n",
        "/dev/vda / ext4 rw 0 0\nserver:/share {folder}/below nfs4 rw 0 0\n",
        "/dev/vda / ext4 rw 0 0\nserver:/share {folder}-beside nfs4 rw 0 0\n",
        "server:/share {folder} nfs4 rw 0 0\n/dev/vdb {folder} ext4 rw 0 0\n",
        "",
    ],
    ids=["a disk in a share", "a share below", "a share beside", "a disk over a share", "nothing told"],
)
async def test_what_counts_is_the_file_system_that_holds_the_folder(path: Path, mounts: Path, table: str) -> None:
    mounts.write_text(table.format(folder=path.parent))
    async with opened(path):
        pass


@pytest.mark.asyncio
async def test_a_mount_point_may_have_any_name(tmp_path: Path, mounts: Path) -> None:
    folder = tmp_path / "a folder of größe"
    folder.mkdir()
    escaped = str(folder).replace(" ", "\\040")
    mounts.write_text(f"server:/share {escaped} nfs4 rw 0 0\n", "utf-8")
    await refused(folder / "log.db", UnsupportedFilesystemError)


@pytest.mark.asyncio
async def test_where_the_system_tells_nothing_nothing_is_refused(path: Path, mounts: Path) -> None:
    async with opened(path):
        assert not mounts.exists()
