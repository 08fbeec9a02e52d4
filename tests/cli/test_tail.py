"""tail: the last events, and then those that another process stores, on the screen."""

import json
import signal
from pathlib import Path

from tests.cli.command import application, each, running, terminal


def shown(lines: list[str]) -> list[int]:
    return [int(line.split()[0]) for line in lines if line.split()[0].isdecimal()]


TAILS: list[tuple[list[str], list[int]]] = [
    ([], list(range(1, 11))),
    (["-n", "2"], [9, 10]),
    (["-n", "0"], []),
    (["tlb.*", "-n", "2"], [8, 10]),
    (["--key", "vm-1", "-n", "3"], [5, 8, 9]),
    (["--where", "data.va > 4096", "-n", "1"], [8]),
    (["--since", "2026-01-02T03:04:12Z"], [8, 9, 10]),
    (["--since", "10m"], []),
    (["--since", "2026-01-02T03:04:12Z", "-n", "2"], [9, 10]),
]


def test_without_following_it_ends_after_the_last_events(log: Path) -> None:
    answers = each(["tail", log, "--no-follow", *arguments, "--format", "ndjson"] for arguments, _ in TAILS)
    for (arguments, expected), (status, out, errors) in zip(TAILS, answers, strict=True):
        assert (status, errors) == (0, ""), arguments
        assert [json.loads(line)["sequence"] for line in out.splitlines()] == expected, arguments


def test_it_shows_history_and_what_another_process_stores_while_it_looks(path: Path) -> None:
    with application(path) as writer:
        writer.does(json.dumps([["a.old", {"n": number}] for number in range(20)]))
        with terminal("tail", path, "a.*", "--where", "data.n >= 0", "-n", "3") as screen:
            screen.until(lambda lines: shown(lines) == [18, 19, 20])
            writer.does('[["b.other", {"n": 1}], ["a.new", {"n": -1}], ["a.new", {"n": 5}]]')
            screen.until(lambda lines: shown(lines) == [18, 19, 20, 23])
            assert screen.lines[-1].endswith('a.new             {"n":5}')
            writer.does("[" + ",".join(['["a.many", {"n": 1}]'] * 30) + "]")
            screen.until(lambda lines: shown(lines)[-30:] == list(range(24, 54)))
            screen.press("\x03")
            assert screen.ended() == 130
            assert "Traceback" not in "\n".join(screen.lines)


def test_what_is_removed_before_it_was_shown_is_said_and_it_goes_on(path: Path) -> None:
    with application(path) as writer:
        writer.does('[["a", 1]]')
        with running("tail", path, "--format", "ndjson") as tail:
            assert tail.stdout is not None
            assert tail.stderr is not None
            assert json.loads(tail.stdout.readline())["data"] == 1
            tail.send_signal(signal.SIGSTOP)
            writer.does('[["a", 2], ["a", 3]]')
            writer.does('"clear"')
            writer.does('[["a", 4]]')
            tail.send_signal(signal.SIGCONT)
            assert json.loads(tail.stdout.readline())["data"] == 4
            tail.send_signal(signal.SIGINT)
            out, errors = tail.communicate(timeout=60)
            assert (tail.returncode, out) == (130, "")
            assert errors == "asyncbus: events 2 to 3 were removed meanwhile\n"
