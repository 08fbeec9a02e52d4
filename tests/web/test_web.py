"""Events in a browser: what was missed and what comes, each once, through whatever cuts the connection."""

import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from httpx_sse import EventSource, connect_sse

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background have it ignored


class Application:
    """A server at work; made by `application`."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process = process
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=60)

    def publish(self, number: int, type: str = "a.b") -> int:
        head: int = self.client.post("/publish", params={"number": number, "type": type}).json()
        return head

    @contextmanager
    def following(self, last_event_id: str | None = None, **query: str) -> Iterator[EventSource]:
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        with connect_sse(self.client, "GET", "/events", params=query, headers=headers) as source:
            yield source


@contextmanager
def application(path: Path) -> Iterator[Application]:
    command = [sys.executable, "-m", "tests.web.server", str(path)]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509  # no threads here
    ) as process:
        assert process.stdout is not None
        server = Application(process, f"http://127.0.0.1:{process.stdout.readline().strip()}")
        try:
            yield server
        finally:
            server.client.close()
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def test_who_comes_without_an_id_gets_what_comes_and_who_says_0_gets_all(path: Path) -> None:
    with application(path) as server:
        server.publish(3)
        with server.following() as live, server.following("0") as all_of_it:
            server.publish(2)
            first = next(live.iter_sse())
            assert (first.id, first.event, first.retry) == ("4", "message", 1)
            told = first.json()
            assert {name: told[name] for name in ("sequence", "type", "data")} == {
                "sequence": 4,
                "type": "a.b",
                "data": {"n": 0},
            }
            messages = all_of_it.iter_sse()
            assert [next(messages).id for _ in range(5)] == ["1", "2", "3", "4", "5"]


def test_patterns_and_conditions_choose(path: Path) -> None:
    with application(path) as server:
        server.publish(5, "a.b")
        server.publish(5, "b.c")
        with server.following("0", pattern="b.*", where="data.n >= 3") as chosen:
            messages = chosen.iter_sse()
            assert [next(messages).id for _ in range(2)] == ["9", "10"]


def test_a_client_that_is_cut_a_hundred_times_gets_each_event_once(path: Path) -> None:
    seeded, seen, last = random.Random(7), [], "0"
    with application(path) as server:
        server.client.post("/publish-for-a-while", params={"number": 3000})
        for _ in range(100):
            with server.following(last) as source:
                messages = source.iter_sse()
                for _ in range(seeded.randrange(1, 30)):
                    message = next(messages)
                    seen.append(message.json()["sequence"])
                    last = message.id
    assert seen == list(range(1, len(seen) + 1))
    assert last == str(len(seen))


@pytest.mark.skipif(
    shutil.which("node") is None or not (HERE / "node_modules" / "eventsource").is_dir(),
    reason="the client is not installed: npm ci --prefix tests/web",
)
def test_so_does_a_browsers_client_whose_connection_the_server_breaks(path: Path) -> None:
    with application(path) as server:
        server.publish(100)
        server.client.post("/publish-for-a-while", params={"number": 1900})
        follow = ["node", str(HERE / "follow.mjs"), f"{server.url}/cut", "2000"]
        told = subprocess.run(follow, stdout=subprocess.PIPE, text=True, check=True, timeout=100).stdout
    *lines, [_, opened] = [line.split() for line in told.splitlines()]
    assert lines == [[str(sequence)] * 2 for sequence in range(1, 2001)]
    assert int(opened) >= 100


@pytest.mark.parametrize("last", ["7", "-1", "x", "1.5", "", "9" * 30, "²"])
def test_an_id_that_is_none_of_this_log_is_refused(last: str, path: Path) -> None:
    with application(path) as server:
        server.publish(6)
        answer = server.client.get("/events", headers={b"Last-Event-ID": last.encode()})
        assert answer.status_code == 400
        assert "Last-Event-ID" in answer.text


def test_what_was_removed_meanwhile_is_told_and_it_goes_on(path: Path) -> None:
    with application(path) as server:
        server.publish(4)
        server.client.post("/clear")
        server.publish(1)
        with server.following("2") as source:
            messages = source.iter_sse()
            gone = next(messages)
            assert (gone.event, gone.id, gone.json()) == ("gone", "4", {"first": 3, "last": 4})
            assert next(messages).id == "5"


def test_who_leaves_leaves_nothing_behind(path: Path) -> None:
    with application(path) as server:
        server.publish(1)
        for _ in range(20):
            with server.following("0") as source:
                next(source.iter_sse())
        while server.client.get("/subscriptions").json():
            pass


def test_ctrl_c_with_an_open_client_ends_the_server_and_closes_the_log(path: Path) -> None:
    with application(path) as server:
        server.publish(1)
        with server.following("0") as source:
            next(source.iter_sse())
            server.process.send_signal(signal.SIGINT)
            server.process.wait(20)  # a second or less; without a way to end the stream it would be for ever
        assert server.process.stderr is not None
        assert "Traceback" not in server.process.stderr.read()
    assert not Path(f"{path}-wal").exists(), "the log was closed"
