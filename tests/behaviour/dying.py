"""Consumers whose process dies: `python -m tests.behaviour.dying PATH` runs what its input says, life after life.

A life is a process of its own, with a consumer `one`. The input is a list of them, in JSON:
`concurrency`, `attempts`, `order`: the consumer's.
`hold`: the sequences at which its handler waits for ever.
`die`: those at which the process ends by itself, at once and each time, as by a segmentation fault.
`kill_at`: what it says when it is killed (default: "done").
`again`: whether more lives of this kind follow until one has said "done".

What a life says: `[sequence, attempt]`, before its handler does anything; `[sequence]`, when it has returned; "done",
when nothing is owed any more. The output is a list of all that each life has said.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from asyncbus import Delivery, Event, EventBus, Retry, SQLiteStore

REPOSITORY = Path(__file__).parents[2]

_MOST = 10
"""Lives after which it is a crash loop."""


async def consume(path: str, told: int, life: dict[str, Any]) -> None:
    def say(what: Any) -> None:
        os.write(told, f"{json.dumps(what)}\n".encode())  # nothing may wait in a buffer

    async def handle(event: Event, delivery: Delivery) -> None:
        say([event.sequence, delivery.attempt])
        await asyncio.sleep(0)  # so that as many are in flight as may be
        if event.sequence in life.get("die", ()):
            os._exit(9)
        if event.sequence in life.get("hold", ()):
            await asyncio.Event().wait()
        say([event.sequence])

    async with EventBus(SQLiteStore(path, synchronous="normal")) as bus:
        retry = Retry(attempts=life.get("attempts", 5), backoff=0)
        options = {"concurrency": life.get("concurrency", 1), "order": life.get("order", "none")}
        bus.consume("one", "a", handle, retry=retry, **options)
        await bus.wait_processed("one", await bus.latest_sequence())
        say("done")
        await asyncio.Event().wait()


def live(path: str, life: dict[str, Any]) -> list[Any]:
    """One process; all that it has said."""
    heard, told = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            asyncio.run(consume(path, told, life))
        finally:
            os._exit(1)
    os.close(told)
    said = []
    with os.fdopen(heard) as lines:
        for line in lines:
            said.append(json.loads(line))
            if said[-1] == life.get("kill_at", "done"):
                os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return said


def lived(path: Path, *lives: dict[str, Any]) -> list[list[Any]]:
    """What each life has said, in order."""
    command = [sys.executable, "-m", "tests.behaviour.dying", str(path)]
    ran = subprocess.run(
        command, cwd=REPOSITORY, input=json.dumps(lives), stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    return list(json.loads(ran.stdout))


if __name__ == "__main__":
    done: list[list[Any]] = []
    for life in json.load(sys.stdin):
        done.append(live(sys.argv[1], life))
        while life.get("again") and "done" not in done[-1] and len(done) < _MOST:
            done.append(live(sys.argv[1], life))
    print(json.dumps(done))
