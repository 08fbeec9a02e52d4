"""The process that is killed: publishes without end, and says so for every event that is acknowledged.

Run by `kill.py` with the path of the file; each line on its standard output is ``sequence id`` of one event, written
after its receipt came and not before.
"""

import asyncio
import os
import sys
from itertools import count

import asyncbus
from examples.emulator.events.execution import BlockExecuted

PUBLISHERS = 64


async def publish_for_ever(bus: asyncbus.EventBus, name: int) -> None:
    for number in count():
        id = f"{name}-{number}"
        receipt = await bus.publish(BlockExecuted(pc=number, size=name), id=id)
        # One write a line, past any buffer of ours: what is acknowledged here is known there, whenever the kill comes.
        os.write(sys.stdout.fileno(), f"{receipt.sequence} {id}\n".encode())


async def main(path: str) -> None:
    async with asyncbus.connect(path) as bus, asyncio.TaskGroup() as tasks:
        for name in range(PUBLISHERS):
            tasks.create_task(publish_for_ever(bus, name))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
