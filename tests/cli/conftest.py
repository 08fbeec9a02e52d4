import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import asyncbus
from asyncbus import NewEvent

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def log(path: Path) -> Path:
    """Ten events of three types, a second apart, of which one has everything an event can have."""

    async def fill() -> None:
        async with asyncbus.connect(path, synchronous="normal") as bus:
            for number in range(8):
                await bus.publish(
                    "tlb.miss" if number % 2 else "tlb.hit",
                    {"va": 4096 * number},
                    key=f"vm-{number % 3}",
                    time=MOMENT + timedelta(seconds=number),
                )
            await bus.publish_many(
                [
                    NewEvent(
                        "optimization.stage_completed",
                        {"stage": 'l"i,c\nm', "ms": 1.5},
                        id="once",
                        key="vm-1",
                        metadata={"user": "eve"},
                        time=MOMENT + timedelta(seconds=8),
                        version=2,
                        causation_id=3,
                        correlation_id="flow",
                    ),
                    NewEvent("tlb.hit", b"\x00\xffbytes", time=MOMENT + timedelta(seconds=9)),
                ]
            )

    asyncio.run(fill())
    return path
