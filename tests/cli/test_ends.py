"""How commands end: with a status and one line, never with a traceback."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, asyncbus, done, each, environment, refused, terminal

COMMANDS = (
    *("demo", "tail", "query", "replay", "publish", "stats", "types", "export", "import", "verify", "backup"),
    *("consumers list", "consumers seek", "consumers pause", "consumers resume", "consumers delete"),
    *("dead-letters list", "dead-letters show", "dead-letters retry", "dead-letters discard"),
)


def test_each_command_has_help_that_says_what_it_takes() -> None:
    program = "import sys; from asyncbus.cli import main; [main([*line.split(), '--help']) for line in sys.stdin]"
    run = subprocess.run(
        [sys.executable, "-c", program], input="\n".join(COMMANDS), stdout=subprocess.PIPE, text=True, check=True
    )
    helps = run.stdout.split("Usage: asyncbus ")[1:]
    for command, text in zip(COMMANDS, helps, strict=True):
        assert text.startswith(command)
        assert ("LOG" if command == "demo" else "STORE") in text


def test_the_help_has_all_commands_and_the_exit_statuses() -> None:
    text = done("--help")
    assert done() == text
    for word in {command.split()[0] for command in COMMANDS} | {"ASYNCBUS_STORE", "130", "141", "Exit status"}:
        assert word in text
    assert done("--version").strip() == "0.1.0"


WRONG = [
    (["nothing"], 'Unknown command "nothing"'),
    (["query"], "STORE"),
    (["query", "x.db", "--nothing"], "Unknown option"),
    (["query", "x.db", "--limit", "many"], "--limit"),
    (["query", "x.db", "--since", "soon"], "'soon' is no time"),
    (["query", "x.db", "--format", "xml"], "--format"),
    (["replay", "x.db", "--speed", "fast"], "'fast' is no speed"),
    (["query", ":memory:"], "name a file"),
    (["query", "nats://host"], "url must be"),
]

WRONG_VALUES = [
    (["query", "LOG", "a**"], "pattern"),
    (["query", "LOG", "--where", "va > 1"], "`data` or `metadata`"),
    (["replay", "LOG", "--speed", "0x"], "speed"),
    (["query", "LOG", "--key", ""], "key"),
    (["query", "LOG", "--start", "0"], "start"),
    (["query", "LOG", "--limit", "-1"], "limit"),
]


def test_a_wrong_command_line_is_told_in_one_line(log: Path) -> None:
    wrong = WRONG + [([str(log) if word == "LOG" else word for word in words], said) for words, said in WRONG_VALUES]
    for (arguments, said), (status, out, errors) in zip(wrong, each(words for words, _ in wrong), strict=True):
        assert (status, out) == (2, ""), arguments
        assert errors.startswith("asyncbus: ")
        assert errors.count("\n") == 1
        assert said in errors, arguments


def test_a_store_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    nothing, text = tmp_path / "nothing.db", tmp_path / "text.db"
    text.write_text("no database " * 100)
    unusable = ((nothing, "does not exist"), (text, "is not a SQLite database"), (tmp_path, "directory"))
    commands = ("tail", "query", "replay", "stats", "types", "export", "verify")
    asked = [(command, store, said) for command in commands for store, said in unusable]
    answers = each((command, store) for command, store, _ in asked)
    for (command, _, said), (status, out, errors) in zip(asked, answers, strict=True):
        assert (status, out) == (3, ""), command
        assert errors.startswith("asyncbus: ")
        assert errors.count("\n") == 1
        assert said in errors, command
    assert not nothing.exists()


def test_damage_is_told_after_what_could_be_read(log: Path) -> None:
    with closing(sqlite3.connect(log)) as connection, connection:
        connection.execute("UPDATE events SET data = 1 WHERE sequence = 5")
    status, out, errors = asyncbus("query", log, "--format", "ndjson")
    assert status == 3
    assert [json.loads(line)["sequence"] for line in out.splitlines()] == [1, 2, 3, 4]
    newest = asyncbus("query", log, "--format", "ndjson", "--newest-first")[1]
    assert [json.loads(line)["sequence"] for line in newest.splitlines()] == [10, 9, 8, 7, 6]
    assert errors == "asyncbus: event 5 is corrupt: its checksum is wrong\n"
    assert asyncbus("verify", log)[0] == 1


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_broken_pipe_ends_it_quietly(form: str, log: Path) -> None:
    for command in ("query", "tail", "replay"):
        process = subprocess.Popen(
            [*COMMAND, command, str(log), "--format", form],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (141, b"")
        process.stderr.close()


@pytest.mark.parametrize("command", ["tail", "replay", "publish"])
def test_ctrl_c_ends_it_quietly(command: str, log: Path) -> None:
    arguments = [command, log] + (["--speed", "0.01x"] if command == "replay" else [])
    with terminal(*arguments) as screen:
        screen.until(lambda lines: lines)
        screen.press("\x03")
        assert screen.ended() == 130
        assert "Traceback" not in screen.raw.decode()
        assert "asyncbus:" not in screen.raw.decode()


def test_progress_is_shown_on_a_terminal_and_nowhere_else(log: Path, tmp_path: Path) -> None:
    with terminal("export", log, "--output", tmp_path / "lines") as screen:
        assert screen.ended() == 0
        assert b"exported up to sequence" in screen.raw
    assert asyncbus("export", log, "--output", tmp_path / "others") == (0, "", "")


def test_without_what_it_needs_it_says_what_to_install() -> None:
    hidden = "import sys; sys.modules['cyclopts'] = None; from asyncbus.cli import main; sys.exit(main(['--help']))"
    run = subprocess.run([sys.executable, "-c", hidden], check=False, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "asyncbus: cyclopts is missing; install asyncbus[cli]\n"


def test_completion_of_the_shell_installs_with_one_command(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "SHELL": "/bin/bash"}
    done("--install-completion", "--shell", "bash", **home)
    scripts = [file for file in tmp_path.rglob("*") if file.is_file() and "asyncbus" in file.name]
    assert scripts, list(tmp_path.rglob("*"))
    script = scripts[0].read_text()
    assert "dead-letters" in script


def test_the_tour_needs_nothing_and_leaves_a_log_that_can_be_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "demo.db"
    said = done("demo", path)
    assert said.count("✓") == 4
    assert "asyncbus tail" in said
    assert "sound" in done("verify", path)
    assert "is there already" in refused(2, "demo", path)
    before = set(tmp_path.iterdir())
    done("demo", TMPDIR=str(tmp_path))
    assert set(tmp_path.iterdir()) == before
