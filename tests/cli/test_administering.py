"""consumers and dead-letters: seen while an application runs, changed while none does."""

import asyncio
import json
from pathlib import Path

import pytest

import asyncbus
from tests.cli.command import done, refused


@pytest.fixture
def consumed(path: Path) -> Path:
    """Three events, of which one could not be handled."""

    async def consume() -> None:
        async with asyncbus.connect(path, synchronous="normal") as bus:

            @bus.consumer("projector", "a.*", start="earliest", retry=asyncbus.Retry(attempts=2, backoff=0))
            async def project(event: asyncbus.Event) -> None:
                if event.data == 2:
                    raise ValueError("two is \x9btoo many")

            for number in (1, 2, 3):
                await bus.publish("a.b", number, key="k")
            await bus.wait_processed("projector", 3)

    asyncio.run(consume())
    return path


def listed(path: Path, what: str, *arguments: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(done(what, "list", path, *arguments, "--format", "json"))
    return found


def test_consumers_are_listed_moved_paused_and_deleted(consumed: Path) -> None:
    [found] = listed(consumed, "consumers")
    told = {name: found[name] for name in ("name", "pattern", "checkpoint", "backlog", "dead_letters", "paused")}
    assert told == {
        "name": "projector",
        "pattern": "a.*",
        "checkpoint": 3,
        "backlog": 0,
        "dead_letters": 1,
        "paused": False,
    }
    done("consumers", "pause", consumed, "projector")
    assert listed(consumed, "consumers")[0]["paused"] is True
    done("consumers", "resume", consumed, "projector")
    assert listed(consumed, "consumers")[0]["paused"] is False
    done("consumers", "seek", consumed, "projector", "--start", "2")
    assert listed(consumed, "consumers")[0]["checkpoint"] == 1
    done("consumers", "seek", consumed, "projector", "--start", "latest")
    assert listed(consumed, "consumers")[0]["backlog"] == 0
    assert "projector" in done("consumers", "list", consumed)
    done("consumers", "delete", consumed, "projector")
    assert listed(consumed, "consumers") == []


@pytest.mark.parametrize(
    "command",
    [
        ("consumers", "pause"),
        ("consumers", "resume"),
        ("consumers", "delete"),
        ("consumers", "seek", "--start", "1"),
        ("dead-letters", "discard", "--all"),
    ],
)
def test_a_consumer_that_nobody_knows_is_an_answer(command: tuple[str, ...], log: Path) -> None:
    said = refused(1, *command[:2], log, "nobody", *command[2:])
    assert said == "there is no consumer 'nobody'; `asyncbus consumers list` has their names"


def test_nothing_is_made_where_there_is_no_log(path: Path) -> None:
    assert "does not exist" in refused(3, "consumers", "pause", path, "x")
    assert not path.exists()


def test_a_start_beyond_the_head_is_told(consumed: Path) -> None:
    assert "beyond the next sequence, 4" in refused(3, "consumers", "seek", consumed, "projector", "--start", "99")


def test_dead_letters_are_listed_shown_and_discarded(consumed: Path) -> None:
    [letter] = listed(consumed, "dead-letters")
    assert (letter["number"], letter["consumer"], letter["sequence"], letter["data"]) == (1, "projector", 2, 2)
    assert listed(consumed, "dead-letters", "--consumer", "another") == []
    assert listed(consumed, "dead-letters", "b.*") == []
    shown = done("dead-letters", "show", consumed, "1")
    assert "type: a.b\n" in shown
    assert "attempt 2, " in shown
    assert r"ValueError: two is \x9btoo many" in shown
    assert "\x9b" not in shown
    [told] = json.loads(done("dead-letters", "show", consumed, "1", "--format", "json"))
    assert len(told["history"]) == told["attempts"] == 2
    assert "Traceback" in told["traceback"]
    assert "there is no dead letter 7" in refused(1, "dead-letters", "show", consumed, "7")

    assert "or --all" in refused(2, "dead-letters", "discard", consumed, "projector")
    assert done("dead-letters", "discard", consumed, "projector", "b.*") == "0\n"
    assert done("dead-letters", "discard", consumed, "projector", "--all") == "1\n"
    assert listed(consumed, "dead-letters") == []


def test_what_needs_the_handler_says_so(consumed: Path) -> None:
    said = refused(1, "dead-letters", "retry", consumed, "projector")
    assert "await bus.retry_dead_letters('projector')" in said
