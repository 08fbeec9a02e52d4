"""A log as a plain list: what a store must answer, worked out in the simplest way that could be right."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from asyncbus.events import Record
from asyncbus.filters import EventFilter
from asyncbus.patterns import Pattern
from asyncbus.store.base import EventStore
from asyncbus.testing.records import MOMENT, record, stored

# Neighbours in every order of sorting, and more types than a store may care to look up one by one.
TYPES: Final = (
    *("a", "a.b", "a.b.c", "a.b-c", "a.bc", "a-b", "a_b", "aXb", "A", "A.b", "ab", "b", "0", "-", "_", "z.z"),
    *(f"many.{number}" for number in range(40)),
)

PATTERNS: Final = (
    *(("*",), ("a",), ("a.b",), ("A.b",), ("-",), ("nothing",), ("many.7",)),
    *(("a*",), ("a.*",), ("a.b*",), ("a.b.*",), ("a-*",), ("a_*",), ("A*",), ("0*",), ("z.z*",), ("nothing.*",)),
    *(("many.*",), ("many.1*",), ("m*",)),
    *(("b", "a.b"), ("a.*", "z*", "0"), ("many.*", "a"), ("nothing", "nothing.*"), ("many.3*", "many.31", "_")),
)

KEYS: Final = (None, None, "k", "K", "vm-1", "vm-10")
_DATA: Final = (None, 1, "text", {"n": [1, 2]}, b"bytes")


def random_batch(random: Random, recorded_at: int) -> list[Record]:
    """One to twelve events, recorded at the same moment; every second batch has a single type."""
    types = TYPES if random.random() < 0.5 else [random.choice(TYPES)]  # noqa: PLR2004  # every second
    return [
        record(
            random.choice(types),
            random.choice(_DATA),
            key=random.choice(KEYS),
            time=MOMENT + random.randrange(-50, 50),
            recorded_at=recorded_at,
        )
        for _ in range(random.randint(1, 12))
    ]


async def fill(store: EventStore, random: Random, events: int) -> list[Record]:
    """Append random batches until the log has got so many events or a few more; return what it must hold."""
    kept: list[Record] = []
    recorded_at = MOMENT
    while len(kept) < events:
        batch = random_batch(random, recorded_at)
        kept += await stored(store, batch)
        recorded_at += random.choice((0, 1, 10))
    return kept


def is_wanted(terms: Sequence[str], type: str) -> bool:
    """Whether a pattern, in its terms, takes an event type."""
    return any(type.startswith(term[:-1]) if term.endswith("*") else type == term for term in terms)


def matching(log: Sequence[Record], terms: Sequence[str]) -> list[Record]:
    """The events of a log that a pattern takes."""
    return [record for record in log if is_wanted(terms, record.type)]


def random_question(random: Random, log: Sequence[Record]) -> tuple[Sequence[str], EventFilter]:
    """The terms of a pattern, and what `EventStore.query` is asked for with it."""
    first, last = log[0], log[-1]
    conditions: dict[str, Any] = {
        "start_sequence": random.randint(1, last.sequence + 3),
        "stop_sequence": random.randint(1, last.sequence + 3),
        "start_recorded": random.randint(first.recorded_at - 3, last.recorded_at + 3),
        "stop_recorded": random.randint(first.recorded_at - 3, last.recorded_at + 3),
        "since": random.randint(MOMENT - 60, MOMENT + 60),
        "until": random.randint(MOMENT - 60, MOMENT + 60),
        "key": random.choice([*KEYS[1:], "nobody's"]),
    }
    chosen = {name: value for name, value in conditions.items() if random.random() < 0.25}  # noqa: PLR2004  # some
    terms = random.choice(PATTERNS)
    return terms, EventFilter(
        pattern=Pattern.parse(terms),
        limit=random.choice((None, None, 1, 2, 7, 1000)),
        newest_first=random.choice((False, True)),
        **chosen,
    )


def answer(log: Sequence[Record], terms: Sequence[str], wanted: EventFilter) -> list[Record]:
    """What a query must give: `terms` says again what the pattern of `wanted` is."""
    found = [
        record
        for record in matching(log, terms)
        if (wanted.start_sequence is None or record.sequence >= wanted.start_sequence)
        and (wanted.stop_sequence is None or record.sequence < wanted.stop_sequence)
        and (wanted.start_recorded is None or record.recorded_at >= wanted.start_recorded)
        and (wanted.stop_recorded is None or record.recorded_at < wanted.stop_recorded)
        and (wanted.since is None or record.time >= wanted.since)
        and (wanted.until is None or record.time < wanted.until)
        and (wanted.key is None or record.key == wanted.key)
    ]
    if wanted.newest_first:
        found.reverse()
    return found if wanted.limit is None else found[: wanted.limit]
