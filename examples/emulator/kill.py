"""The second act: a process is killed while it publishes; what it was told is stored must be there afterwards."""

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import asyncbus
from examples.emulator.events import vm_lifecycle

PATIENCE_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """What the killed process was told, and what the reopened file holds.

    `lost`: sequences acknowledged to the process that the file has not, or has with another id. `consecutive`: what is
    stored is numbered from 1 on, without a hole. `next_sequence`: what an event published afterwards got.
    """

    killed: bool
    acknowledged: dict[int, str]
    lost: list[int]
    stored: int
    consecutive: bool
    next_sequence: int


def kill_while_publishing(path: Path, *, after: int) -> tuple[bool, dict[int, str]]:
    """Let `victim.py` publish to `path` until it has `after` acknowledgements, then kill it with SIGKILL.

    Returns whether it died of that, and each acknowledged sequence with its event's id. Blocks the calling thread; a
    victim that falls silent is killed after half a minute.
    """
    acknowledged: dict[int, str] = {}
    command = [sys.executable, "-m", "examples.emulator.victim", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None  # noqa: S101 - it is a pipe, which a type checker cannot know
        silence = Timer(PATIENCE_SECONDS, victim.kill)
        silence.start()
        try:
            # After the kill the pipe still holds lines: acknowledgements like any other. The last one may be torn.
            for line in victim.stdout:
                if not line.endswith("\n"):
                    break
                sequence, id = line.split()
                acknowledged[int(sequence)] = id
                if len(acknowledged) == after:
                    victim.kill()
        finally:
            silence.cancel()
            victim.kill()
    return victim.returncode == -signal.SIGKILL and len(acknowledged) >= after, acknowledged


async def look_after(path: Path, *, killed: bool, acknowledged: dict[int, str]) -> Aftermath:
    """Reopen the file of the killed process, compare, and publish one more event."""
    async with asyncbus.connect(str(path)) as bus:
        stored = {event.sequence: event.id async for event in bus.replay()}
        receipt = await bus.publish(vm_lifecycle.Resumed("vm-2"))
    return Aftermath(
        killed=killed,
        acknowledged=acknowledged,
        lost=[sequence for sequence, id in acknowledged.items() if stored.get(sequence) != id],
        stored=len(stored),
        consecutive=list(stored) == list(range(1, len(stored) + 1)),
        next_sequence=receipt.sequence,
    )
