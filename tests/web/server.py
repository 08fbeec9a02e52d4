"""An application as users write it, whose connections can be made to break: `python -m tests.web.server LOG`."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, Request

import asyncbus
from asyncbus.web import lifespan, sse_response

LastEventId = Annotated[str | None, Header()]

bus = asyncbus.connect(sys.argv[1], synchronous="normal")
app = FastAPI(lifespan=lifespan(bus))
chance = random.Random(1)
busy: set[asyncio.Task[None]] = set()


@app.get("/events")
async def events(pattern: str = "*", where: str | None = None, last_event_id: LastEventId = None) -> Any:
    return sse_response(bus, pattern, last_event_id, where=where, retry=1)


@app.get("/cut")
async def cut(last_event_id: LastEventId = None) -> Any:
    """The same, but the connection breaks in the middle of some message."""
    response = sse_response(bus, "*", last_event_id or "0", retry=1)
    whole: Any = response.body_iterator

    async def broken() -> AsyncIterator[Any]:
        left = chance.randrange(1, 30)
        async for message in whole:
            left -= 1
            if left == 0:
                await whole.aclose()
                return
            yield message

    response.body_iterator = broken()
    return response


@app.post("/publish")
async def publish(request: Request, number: int, type: str = "a.b") -> int:
    await request.state.bus.publish_many([(type, {"n": each}) for each in range(number)])
    return await bus.latest_sequence()


@app.post("/publish-for-a-while")
async def publish_for_a_while(number: int) -> None:
    async def work() -> None:
        for each in range(number):
            await bus.publish("a.b", {"n": each})

    task = asyncio.create_task(work())
    busy.add(task)
    task.add_done_callback(busy.discard)


@app.post("/clear")
async def clear() -> None:
    await bus.clear()


@app.get("/subscriptions")
async def subscriptions() -> int:
    return len(bus.statistics().subscriptions)


class Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # as `uvicorn.run` does
        Server(uvicorn.Config(app, port=0, log_level="warning")).run()
