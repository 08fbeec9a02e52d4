"""Which events may be stored: those that expect the last event of their key to be what it is. It decides, no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from asyncbus.batch import Submission
from asyncbus.errors import ConcurrencyError


def judge(
    units: Iterable[Sequence[Submission]], last: Mapping[str, int], ids: Iterable[str], head: int
) -> tuple[list[Submission], list[tuple[Sequence[Submission], ConcurrencyError]]]:
    """Part a batch into what may be stored and what may not, with the error of each.

    A unit is stored or refused as a whole, and compared with what stands before it. What has an id that is stored
    already takes no sequence, and expects nothing: it is a duplicate, or the store refuses it.

    Args:
        units: the batch, in order: single events and groups.
        last: the last sequence of each key that an event of the batch expects something of; keys without one are left
            out.
        ids: those of the batch that are stored already.
        head: the last sequence given.
    """
    state = dict(last)
    taken = set(ids)
    allowed: list[Submission] = []
    refused: list[tuple[Sequence[Submission], ConcurrencyError]] = []
    for unit in units:
        error = next(filter(None, (_clash(event, state) for event in unit if event.id not in taken)), None)
        if error is not None:
            refused.append((unit, error))
            continue
        allowed += unit
        for event in unit:
            if event.id in taken:
                continue
            head += 1
            if event.key is not None:
                state[event.key] = head
            if event.id is not None:
                taken.add(event.id)
    return allowed, refused


def _clash(event: Submission, state: Mapping[str, int]) -> ConcurrencyError | None:
    expected, key = event.expected_sequence, event.key
    if expected is None or key is None or expected == (found := state.get(key, 0)):
        return None
    return ConcurrencyError(key, expected, found)
