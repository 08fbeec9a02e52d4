"""publish: one event from arguments, or many from stdin; who holds the log is told, and what to do."""

import json
import signal
from pathlib import Path

import pytest

from tests.cli.command import application, asyncbus, done, refused, running


def events(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in done("query", path, "--format", "ndjson").splitlines()]


def test_an_event_from_arguments_has_all_it_was_given(path: Path) -> None:
    options = (
        *("--key", "vm-1", "--id", "once", "--metadata", '{"user": "eve"}', "--time", "2026-01-02T03:04Z"),
        *("--expected-sequence", "0", "--version", "2", "--format", "json"),
    )
    assert json.loads(done("publish", path, "tlb.miss", '{"va": 1}', *options)) == [{"sequence": 1, "duplicate": False}]
    [event] = events(path)
    del event["recorded_at"]
    assert event == {
        "sequence": 1,
        "time": "2026-01-02T03:04:00Z",
        "type": "tlb.miss",
        "data": {"va": 1},
        "id": "once",
        "key": "vm-1",
        "metadata": {"user": "eve"},
        "version": 2,
    }


@pytest.mark.parametrize(("text", "data"), [("5", 5), ("null", None), ("text", "text"), ('"5"', "5"), ("{", "{")])
def test_what_is_no_json_is_a_string(text: str, data: object, path: Path) -> None:
    done("publish", path, "a", text)
    assert events(path)[0]["data"] == data


def test_without_data_it_is_null(path: Path) -> None:
    done("publish", path, "a")
    assert events(path)[0]["data"] is None


def test_lines_of_stdin_are_published_in_order(path: Path) -> None:
    lines = [{"type": "a", "data": number, "key": f"k{number % 2}"} for number in range(100)]
    lines += [{"type": "b", "data_base64": "AP8="}, {"type": "c"}, {"type": "a", "data": 1, "id": "x"}] * 2
    told = done("publish", path, "--format", "ndjson", stdin="\n".join(map(json.dumps, lines)) + "\n\n")
    receipts = [json.loads(line) for line in told.splitlines()]
    assert [receipt["sequence"] for receipt in receipts] == [*range(1, 106), 103]
    assert [receipt["duplicate"] for receipt in receipts] == [False] * 105 + [True]
    assert [event["data"] for event in events(path)[:100]] == list(range(100))
    assert events(path)[100]["data_base64"] == "AP8="


def test_lines_are_stored_as_they_come_and_ctrl_c_ends_it(path: Path) -> None:
    with running("publish", path, "-", "--format", "ndjson") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in (1, 2):
            process.stdin.write('{"type": "a"}\n')
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["sequence"] == number
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert len(events(path)) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: Input data was truncated"),
        ('{"data": 1}', "line 2: Object missing required field `type`"),
        ('{"type": "a..b"}', "line 2: invalid event type"),
        ('{"type": "a", "date": 1}', "line 2: Object contains unknown field `date`"),
        ('{"type": "a", "data_base64": "?"}', "line 2: data_base64"),
        ('{"type": "a", "key": "k", "expected_sequence": 7}', "line 2: "),
        ("[]", "line 2: Expected `object`"),
    ],
)
def test_a_line_that_is_no_event_is_named_and_those_before_it_are_stored(line: str, said: str, path: Path) -> None:
    status, out, errors = asyncbus(
        "publish", path, "--format", "ndjson", stdin=f'{{"type": "a"}}\n{line}\n{{"type": "a"}}\n'
    )
    assert status == 2
    assert json.loads(out.splitlines()[0]) == {"sequence": 1, "duplicate": False}
    [error] = errors.splitlines()
    assert error.startswith(f"asyncbus: {said}")
    assert 1 <= len(events(path)) <= 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a..b"], "invalid event type 'a..b'"),
        (["a", "--metadata", "[]"], "--metadata must be a JSON object"),
        (["a", "--time", "soon"], "'soon' is no time"),
        (["a", "--version", "0"], "version must be"),
        (["a", "1", "2"], "Unused"),
    ],
)
def test_a_wrong_argument_is_named(arguments: list[str], said: str, path: Path) -> None:
    assert said in refused(2, "publish", path, *arguments)


def test_while_an_application_holds_the_log_it_is_told_who_does_and_what_to_do(path: Path) -> None:
    with application(path) as holder:
        for command in (
            ("publish", path, "a"),
            ("import", path),
            ("consumers", "pause", path, "x"),
            ("consumers", "seek", path, "x", "--start", "1"),
            ("dead-letters", "discard", path, "x", "--all"),
        ):
            said = refused(3, *command)
            assert f"process {holder.pid} holds {path}" in said
            assert "stop it first" in said
        done("query", path)
