"""What is kept of attempts that failed, and of the events that are given up for them."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from asyncbus.errors import HandlerTimeoutError, Reject
from asyncbus.ledger import Held
from asyncbus.store.consumers import Change, ConsumerState, Failure, ParkedEvent, Released

_FAILURES: Final = 20
"""Failures kept with an event, the last ones: it may be tried without end."""

_LONGEST: Final = 16_384
"""Characters kept of a traceback, its end."""


def note_failure(held: Held, error: BaseException | str, now: int) -> str:
    """Keep with an event why its attempt has failed.

    Args:
        held: the event.
        error: what its handler raised, or the reason that was given.
        now: microseconds since 1970.

    Returns:
        What was wrong, in a line.
    """
    text = _storable(_text(error))
    trace = "" if isinstance(error, str | HandlerTimeoutError) else _traceback(error)
    failure = Failure(attempt=held.attempts, error=text, traceback=_storable(trace[-_LONGEST:]), at=now)
    held.failures = (*held.failures, failure)[-_FAILURES:]
    return text


def _text(error: BaseException | str) -> str:
    if isinstance(error, str):
        return error
    try:
        return str(error) if isinstance(error, Reject) else f"{type(error).__name__}: {error}"
    except Exception as failed:  # noqa: BLE001  # an exception of somebody else's may refuse to be shown
        return f"{type(error).__name__}, whose text raised {type(failed).__name__}"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  # as above; what it holds of ours can be shown
        return "".join(traceback.format_tb(error.__traceback__))


def _storable(text: str) -> str:
    """A file's name, say, may hold what UTF-8 does not."""
    return text.encode("utf-8", "backslashreplace").decode()


class Meanwhile(Struct, eq=False):
    """What became of dead letters while somebody was reading them, who does not see it in what he reads.

    Attributes:
        parked: the sequences of those that are new.
        removed: the numbers of those that are no more.
    """

    parked: set[int] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)


class Parking:
    """The dead letters of an active consumer: how many there are, and what of them is still to be stored.

    Attributes:
        count: those that were parked, and are neither done nor discarded.
    """

    def __init__(self) -> None:
        self.count = 0
        # To go with the next commit; and how many are not stored yet, those of a commit under way among them.
        self._changes: list[Change] = []
        self._unstored = 0
        # Of those that are being tried again: the numbers of those that were discarded meanwhile.
        self._discarded: set[int] = set()
        self._meanwhile: list[Meanwhile] = []

    # ----------------------------------------------------------------------------------------------- what becomes of it

    def park(self, consumer: str, held: Held, now: int) -> None:
        """An event is given up, or its dead letter has failed again; `now` is in microseconds since 1970."""
        if held.parked is not None:
            self._change(replace(held.parked, attempts=held.attempts, failures=held.failures))
            return
        self.count += 1
        for meanwhile in self._meanwhile:
            meanwhile.parked.add(held.record.sequence)
        self._change(
            ParkedEvent(
                consumer=consumer, record=held.record, attempts=held.attempts, failures=held.failures, parked_at=now
            )
        )

    def count_attempts(self, letter: ParkedEvent, attempts: int) -> None:
        """It may be handed out once more, as soon as this is stored; or is not handed out after all."""
        self._change(replace(letter, attempts=attempts))

    def settle(self, letter: ParkedEvent, *, is_done: bool) -> None:
        """What was tried again is done, or has failed once more."""
        if is_done and letter.number not in self._discarded:
            self._remove((letter.number,))
        self._discarded.discard(letter.number)

    def release(self, numbers: Sequence[int]) -> None:
        """They are none any more, for their events come again; nothing is being tried again."""
        self._discarded.clear()
        self._remove(numbers)

    def discard(self, numbers: Sequence[int], tried_again: set[int]) -> None:
        """They are removed, whatever comes of those that are being tried again."""
        self._discarded |= tried_again.intersection(numbers)
        self._remove(numbers)

    def _remove(self, numbers: Sequence[int]) -> None:
        """Each is removed once: who has read them meanwhile leaves them out."""
        if numbers:
            self.count -= len(numbers)
            for meanwhile in self._meanwhile:
                meanwhile.removed.update(numbers)
            self._change(Released(numbers))

    @contextmanager
    def meanwhile(self) -> Iterator[Meanwhile]:
        """What is parked and removed until the end of the block."""
        noted = Meanwhile()
        self._meanwhile.append(noted)
        try:
            yield noted
        finally:
            self._meanwhile.remove(noted)

    # ------------------------------------------------------------------------------------------------------- storing it

    def _change(self, change: Change) -> None:
        self._unstored += 1
        self._changes.append(change)

    @property
    def has_unstored(self) -> bool:
        """Whether something was parked, or is done, that is not stored yet."""
        return self._unstored > 0

    @property
    def has_changes(self) -> bool:
        """Whether there is something for the next commit."""
        return bool(self._changes)

    def take(self) -> Sequence[Change]:
        """What is to be stored, for a commit that takes it."""
        taken, self._changes = self._changes, []
        return taken

    def kept(self, changes: Sequence[Change]) -> None:
        """A commit has stored this."""
        if self._unstored:
            self._unstored -= len(_of_letters(changes))

    def lost(self, changes: Sequence[Change]) -> None:
        """A commit has not: it is to go with the next one."""
        self._changes[:0] = _of_letters(changes)


def _of_letters(changes: Sequence[Change]) -> list[Change]:
    return [change for change in changes if not isinstance(change, ConsumerState)]
