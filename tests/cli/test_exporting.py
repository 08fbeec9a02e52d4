"""export and import: a log as lines of text and back, and on where it was cut off."""

import asyncio
import json
import signal
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import asyncbus
from asyncbus import Event, NewEvent
from tests.cli.command import COMMAND, done, environment, refused
from tests.cli.command import asyncbus as run


def events(path: Path) -> list[Event]:
    async def read() -> list[Event]:
        async with asyncbus.connect(path, read_only=True) as bus:
            return [event async for event in bus.replay()]

    return asyncio.run(read())


def fill(path: Path, *batches: Any) -> None:
    async def publish() -> None:
        async with asyncbus.connect(path, synchronous="normal") as bus:
            for batch in batches:
                await bus.publish_many(batch)

    asyncio.run(publish())


def import_into(path: Path, *arguments: object, stdin: str = "") -> str:
    status, out, errors = run("import", path, *arguments, stdin=stdin)
    assert (status, out) == (0, "")
    return errors


def test_an_export_imported_into_an_empty_store_replays_to_the_same_events(log: Path, tmp_path: Path) -> None:
    fill(
        log, [("a", {"n": 0.1, "big": 2**60, "text": "é\u2028\n"}), NewEvent("b", causation_id=9), ("c", [None, True])]
    )
    lines = tmp_path / "events.ndjson"
    done("export", log, "--output", lines)
    assert import_into(tmp_path / "file.db", lines) == "asyncbus: 13 events imported\n"
    assert import_into(tmp_path / "stdin.db", stdin=done("export", log)) == "asyncbus: 13 events imported\n"
    # Equal events are so in all their attributes, when they were recorded among them.
    assert events(tmp_path / "file.db") == events(tmp_path / "stdin.db") == events(log)
    assert "sound" in done("verify", tmp_path / "file.db")
    assert done("export", tmp_path / "file.db") == lines.read_text("utf-8")


def test_a_part_gets_sequences_anew_and_its_causes_follow(tmp_path: Path) -> None:
    path, part = tmp_path / "whole.db", tmp_path / "part.db"
    fill(path, [("a", 1), ("b", 2), ("a", 3), NewEvent("a", 4, causation_id=3), NewEvent("a", 5, causation_id=2)])
    import_into(part, stdin=done("export", path, "a"))
    found = [(event.sequence, event.data, event.causation_id) for event in events(part)]
    assert found == [(1, 1, None), (2, 3, None), (3, 4, 2), (4, 5, None)]

    fill(tmp_path / "other.db", [("x", 0)])
    import_into(tmp_path / "other.db", "--append", stdin=done("export", path, "a"))
    found = [(event.sequence, event.data, event.causation_id) for event in events(tmp_path / "other.db")]
    assert found == [(1, 0, None), (2, 1, None), (3, 3, None), (4, 4, 3), (5, 5, None)]


@pytest.mark.parametrize("form", ["ndjson", "csv"])
@pytest.mark.parametrize("keep", [0, 10, 0.6])
def test_an_export_that_was_cut_off_goes_on_where_it_was(form: str, keep: Any, log: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    done("export", log, "--output", whole, "--format", form)
    text = whole.read_bytes()
    part.write_bytes(text[: int(keep * len(text)) if isinstance(keep, float) else keep])
    assert "is there already" in refused(2, "export", log, "--output", part, "--format", form)
    done("export", log, "--output", part, "--format", form, "--resume")
    assert part.read_bytes() == text
    fill(log, [("later", 1)])
    done("export", log, "--output", part, "--format", form, "--resume")
    assert part.read_bytes().startswith(text)
    assert len(part.read_bytes().splitlines()) == len(text.splitlines()) + 1


def test_an_import_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    path, lines, copy = tmp_path / "events.db", tmp_path / "events.ndjson", tmp_path / "copy.db"
    fill(path, *([("a", {"n": number})] for number in range(1200)))
    done("export", path, "--output", lines)
    for killed in count(1):
        with subprocess.Popen([*COMMAND, "import", str(copy), str(lines)], env=environment()) as process:
            while process.poll() is None and (not copy.exists() or head(copy) < killed * 200):
                pass
            process.send_signal(signal.SIGKILL)
        if process.returncode == 0 or killed == 4:
            break
    assert killed > 1, "it was never killed"
    import_into(copy, lines)
    assert events(copy) == events(path)


def head(path: Path) -> int:
    async def read() -> int:
        async with asyncbus.connect(path, read_only=True) as bus:
            return await bus.latest_sequence()

    try:
        return asyncio.run(read())
    except asyncbus.StoreError:
        return 0


def test_an_import_into_a_log_of_other_events_is_refused(log: Path, tmp_path: Path) -> None:
    lines = done("export", log)
    other = tmp_path / "other.db"
    fill(other, [("a", 1)])
    assert "--append" in refused(1, "import", other, stdin=lines)
    assert "--append" in refused(1, "import", log, stdin="")
    assert len(events(other)) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines[:4], "{", *lines[5:]], "line 5: Input data was truncated"),
        (lambda lines: [*lines[:4], lines[4].replace("tlb.hit", "tlb..hit")], "line 5: invalid event type"),
        (lambda lines: [*lines[:4], lines[1]], "line 5: sequence 2 after 4; they must ascend"),
    ],
)
def test_a_line_that_cannot_be_imported_is_named(change: Any, said: str, log: Path, tmp_path: Path) -> None:
    lines = change(done("export", log).splitlines())
    status, _, errors = run("import", tmp_path / "new.db", stdin="\n".join(lines))
    assert status == 2
    assert errors.startswith(f"asyncbus: {said}")


def test_lines_written_by_hand_need_only_a_type(tmp_path: Path) -> None:
    import_into(tmp_path / "new.db", stdin='{"type": "a"}\n\n{"type": "b", "data": 2}\n')
    assert [(event.sequence, event.type, event.data) for event in events(tmp_path / "new.db")] == [
        (1, "a", None),
        (2, "b", 2),
    ]


def test_a_file_that_is_no_export_is_not_gone_on_with(log: Path, tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("Dear Sir,\n")
    assert "does not end in an exported event" in refused(2, "export", log, "--output", letter, "--resume")
    assert letter.read_text() == "Dear Sir,\n"
    assert "--resume needs --output" in refused(2, "export", log, "--resume")
    assert json.loads(done("export", log).splitlines()[0])["sequence"] == 1
