"""The disk that `crash_states` models loses what a disk may lose, and nothing else."""

from pathlib import Path
from random import Random

import pytest

from tests.reliability.crash_states.disk import (
    FOLDER,
    SECTOR,
    Change,
    Contents,
    Create,
    Disk,
    Remove,
    Rename,
    Resize,
    SyncBegan,
    Synced,
    Write,
)
from tests.reliability.crash_states.trace import Note, Step, Trace

OLD, NEW = b"o" * SECTOR, b"n" * SECTOR


def disk(*changes: Change, **contents: bytes) -> Disk:
    made = Disk(contents)
    for change in changes:
        made.apply(change)
    return made


def cuts(of: Disk) -> list[Contents]:
    """What power cuts leave, in the order in which chance brings them."""
    return [of.something(Random(seed)) for seed in range(400)]


def sync(file: int, call: int = 1) -> tuple[Change, Change]:
    return SyncBegan(call, file, "whatever"), Synced(call)


def test_what_was_synced_stays() -> None:
    synced = disk(Write(1, 0, NEW), *sync(1), log=OLD)

    assert synced.is_synced()
    assert synced.nothing() == synced.everything() == {"log": NEW}
    assert all(left == {"log": NEW} for left in cuts(synced))


def test_what_was_not_synced_is_lost_or_kept_sector_by_sector() -> None:
    written = disk(Write(1, 0, NEW * 2), log=OLD * 2)

    assert not written.is_synced()
    assert written.nothing() == {"log": OLD * 2}
    assert written.everything() == {"log": NEW * 2}
    assert {left["log"] for left in cuts(written)} == {OLD * 2, NEW * 2, OLD + NEW, NEW + OLD}


def test_bytes_of_a_sector_that_were_not_written_stay() -> None:
    written = disk(Write(1, 500, b"n" * 24), log=OLD * 2)

    begun, ended = b"o" * 500 + b"n" * 12 + OLD, OLD + b"n" * 12 + b"o" * 500
    both = b"o" * 500 + b"n" * 24 + b"o" * 500
    assert {left["log"] for left in cuts(written)} == {OLD * 2, begun, ended, both}


def test_of_two_writes_the_second_may_be_kept_alone() -> None:
    written = disk(Write(1, 0, NEW), Write(1, SECTOR, NEW), log=OLD * 2)

    assert OLD + NEW in {left["log"] for left in cuts(written)}


def test_a_file_may_have_grown_before_its_data_is_there() -> None:
    grown = disk(Write(1, SECTOR, NEW), log=OLD)

    assert {left["log"] for left in cuts(grown)} == {OLD, OLD + bytes(SECTOR), OLD + NEW}


def test_a_file_that_was_cut_may_still_be_long() -> None:
    shortened = disk(Resize(1, SECTOR), log=OLD * 2)

    assert shortened.everything() == {"log": OLD}
    assert {left["log"] for left in cuts(shortened)} == {OLD, OLD * 2}


def test_what_is_written_while_a_sync_is_under_way_is_not_synced() -> None:
    written = disk(SyncBegan(1, 1, "log"), Write(1, 0, NEW), Synced(1), log=OLD)

    assert written.nothing() == {"log": OLD}


def test_two_syncs_at_once_cover_what_was_written_before_each_of_them() -> None:
    written = disk(
        Write(1, 0, NEW),
        SyncBegan(1, 1, "log"),
        Write(1, SECTOR, NEW),
        SyncBegan(2, 1, "log"),
        Write(1, 2 * SECTOR, NEW),
        Synced(1),
        Synced(2),
        log=OLD * 3,
    )

    assert written.nothing() == {"log": NEW * 2 + OLD}


def test_a_new_name_is_durable_once_the_folder_was_synced() -> None:
    created = disk(Create(1, "log"), Write(1, 0, NEW), *sync(1))

    assert created.nothing() == {}
    assert {"log": NEW} in cuts(created)
    for change in sync(FOLDER):
        created.apply(change)
    assert created.nothing() == {"log": NEW}


def test_a_rename_is_done_or_not() -> None:
    renamed = disk(Rename("draft", "log"), draft=NEW)

    assert renamed.nothing() == {"draft": NEW}
    assert renamed.everything() == {"log": NEW}
    assert all(left in ({"draft": NEW}, {"log": NEW}) for left in cuts(renamed))


def test_changes_of_different_names_are_lost_independently() -> None:
    changed = disk(Remove("first"), Create(3, "third"), first=b"", second=b"")

    left = {tuple(contents) for contents in cuts(changed)}

    assert left == {("first", "second"), ("second",), ("first", "second", "third"), ("second", "third")}


def test_of_one_name_the_last_changes_are_lost() -> None:
    """A removed file is not back under its name beside, or instead of, what came after what is there."""
    changed = disk(Remove("log"), Create(2, "draft"), Write(2, 0, NEW), *sync(2), Rename("draft", "log"), log=OLD)

    left = {tuple(contents.items()) for contents in cuts(changed)}

    assert left == {(("log", OLD),), (), (("draft", NEW),), (("log", NEW),)}


def test_a_copy_goes_its_own_way() -> None:
    one = disk(Write(1, 0, NEW), log=OLD)
    other = one.copy()

    for change in sync(1):
        other.apply(change)

    assert one.nothing() == {"log": OLD}
    assert other.nothing() == {"log": NEW}


# ---------------------------------------------------------------------------------------------- the log of system calls


def hexadecimal(text: str) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


LOG, ELSEWHERE, MARKS = (hexadecimal(path) for path in ("/folder/log.db", "/other/log.db", "/marks"))


def steps(*lines: str, **names: int) -> list[Step]:
    return list(Trace(Path("/folder"), Path("/marks"), names, next_file=5).steps(lines))


def test_a_new_file_is_created_and_written_and_synced() -> None:
    assert steps(
        f"10 openat(AT_FDCWD, {LOG}, O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 3",
        f"10 pwrite64(3, {hexadecimal('abcd')}, 4, 512) = 4",
        "10 ftruncate(3, 100)   = 0",
        "10 fdatasync(3) = 0",
    ) == [Create(5, "log.db"), Write(5, 512, b"abcd"), Resize(5, 100), SyncBegan(3, 5, "log.db"), Synced(3)]


def test_a_file_that_was_there_is_written_where_it_was_left_off() -> None:
    assert steps(
        f"10 openat(AT_FDCWD, {LOG}, O_RDWR|O_CREAT|O_TRUNC, 0644) = 3",
        f"10 write(3, {hexadecimal('ab')}, 2) = 2",
        f"10 write(3, {hexadecimal('cd')}, 2) = 2",
        "10 lseek(3, 1, SEEK_SET) = 1",
        f"10 write(3, {hexadecimal('ef')}, 2) = 1",
        **{"log.db": 2},
    ) == [Resize(2, 0), Write(2, 0, b"ab"), Write(2, 2, b"cd"), Write(2, 1, b"e")]


def test_names_change_and_the_folder_is_synced() -> None:
    draft = hexadecimal("/folder/draft")
    assert steps(
        f"10 rename({draft}, {LOG}) = 0",
        f"10 openat(AT_FDCWD, {hexadecimal('/folder')}, O_RDONLY|O_CLOEXEC) = 4",
        "10 fsync(4) = 0",
        f"10 unlink({LOG}) = 0",
        draft=2,
    ) == [Rename("draft", "log.db"), SyncBegan(2, FOLDER, ""), Synced(2), Remove("log.db")]


def test_a_call_that_another_thread_interrupts_is_one_call() -> None:
    assert steps(
        f"10 openat(AT_FDCWD, {LOG}, O_RDWR) = 3",
        "10 fdatasync(3 <unfinished ...>",
        f"11 pwrite64(3, {hexadecimal('ab')}, 2, 0) = 2",
        "10 <... fdatasync resumed>) = 0",
        **{"log.db": 2},
    ) == [SyncBegan(1, 2, "log.db"), Write(2, 0, b"ab"), Synced(1)]


def test_the_number_of_a_file_that_is_being_closed_may_be_another_ones() -> None:
    assert (
        steps(
            f"10 openat(AT_FDCWD, {LOG}, O_RDWR) = 3",
            "10 close(3 <unfinished ...>",
            f"11 openat(AT_FDCWD, {ELSEWHERE}, O_RDWR) = 3",
            "10 <... close resumed>) = 0",
            f"11 pwrite64(3, {hexadecimal('ab')}, 2, 0) = 2",
            **{"log.db": 2},
        )
        == []
    )


@pytest.mark.parametrize(
    "line",
    [
        f"10 openat(AT_FDCWD, {LOG}, O_RDWR) = -1 ENOENT (No such file or directory)",
        f"10 unlink({LOG}) = -1 ENOENT (No such file or directory)",
        f"10 unlink({ELSEWHERE}) = 0",
        f"10 openat(AT_FDCWD, {hexadecimal('/folder/log.db-shm')}, O_RDWR|O_CREAT, 0644) = 3",
        f"10 write(2, {hexadecimal('hello')}, 5) = 5",
        "10 exit_group(0) = ?",
        "10 +++ exited with 0 +++",
    ],
)
def test_what_failed_or_happened_elsewhere_or_in_memory_changes_nothing(line: str) -> None:
    assert steps(line) == []


def test_notes_stand_between_the_calls() -> None:
    note = hexadecimal('{"stored":1}')
    assert steps(
        f"10 openat(AT_FDCWD, {MARKS}, O_WRONLY|O_CREAT|O_APPEND, 0777) = 3",
        f"10 openat(AT_FDCWD, {LOG}, O_RDWR|O_CREAT, 0644) = 4",
        f"10 write(3, {note}, 12) = 12",
    ) == [Create(5, "log.db"), Note({"stored": 1})]
