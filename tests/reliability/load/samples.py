"""What a process holds at one moment, and whether a row of such moments is level."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import threading
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from msgspec import Struct
from msgspec.structs import astuple

from tests.reliability.trials import Violation

MAX_SLOPE = 1_000_000
"""Bytes an hour that memory may grow by."""

LEAST = 300.0
"""Seconds below which a line through the samples says nothing: what an allocator keeps goes up and down by more."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Sample(Struct, frozen=True):
    """What this process holds; `at` in seconds, `memory` resident, in bytes."""

    at: float
    memory: int
    tasks: int
    threads: int
    descriptors: int


_WIDTH = len(Sample.__struct_fields__)


class Samples(Sequence[Sample]):
    """A row of samples, in room that is taken beforehand: what it took on the way would be measured as well.

    Args:
        most: so many there may be.
    """

    def __init__(self, most: int) -> None:
        self._numbers = array("d", [0.0]) * (most * _WIDTH)
        self._count = 0

    def add(self, seen: Sample) -> None:
        first = self._count * _WIDTH
        self._numbers[first : first + _WIDTH] = array("d", astuple(seen))
        self._count += 1

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Sample: ...

    @overload
    def __getitem__(self, place: slice) -> list[Sample]: ...

    def __getitem__(self, place: int | slice) -> Sample | list[Sample]:
        chosen = range(self._count)[place]
        return self._at(chosen) if isinstance(chosen, int) else [self._at(each) for each in chosen]

    def _at(self, place: int) -> Sample:
        at, *counted = self._numbers[place * _WIDTH : (place + 1) * _WIDTH]
        return Sample(at, *map(int, counted))


def sample(at: float) -> Sample:
    """Look, after all that nobody refers to has been given back."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other allocators have none
    if trim is not None:
        trim(0)
    return Sample(
        at=at,
        memory=int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE,
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
    )


def slope(samples: Sequence[Sample]) -> int:
    """By how many bytes an hour memory grows: the least squares line through all samples after the first third."""
    settled = samples[len(samples) // 3 :]
    middle = sum(each.at for each in settled) / len(settled)
    spread = sum((each.at - middle) ** 2 for each in settled)
    if not spread:
        return 0
    return round(sum((each.at - middle) * each.memory for each in settled) / spread * 3600)


def tells(samples: Sequence[Sample]) -> bool:
    """Whether they go on for long enough to tell what grows."""
    return len(samples) >= 3 and samples[-1].at - samples[len(samples) // 3].at >= LEAST


def judge(samples: Sequence[Sample]) -> None:
    """See that nothing grows.

    Raises:
        Violation: something does.
    """
    third = len(samples) // 3
    grown = slope(samples)
    if grown >= MAX_SLOPE:
        raise Violation(
            f"memory grows by {grown:,} bytes an hour: {[each.memory for each in samples[:: max(third // 5, 1)]]}"
        )
    for what in ("tasks", "threads", "descriptors"):
        before = max(getattr(each, what) for each in samples[third : 2 * third])
        after = max(getattr(each, what) for each in samples[2 * third :])
        if after > before:
            raise Violation(f"{what} grow: {before} in the second third of the run, {after} in the last")
