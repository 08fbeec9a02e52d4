"""What is kept of attempts that failed, and of the events that are given up for them."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

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
        # For each call that tries them again: what was parked since it began, which is not for it.
        self._parked_since: list[set[int]] = []

    # ----------------------------------------------------------------------------------------------- what becomes of it

    def park(self, consumer: str, held: Held, now: int) -> None:
        """An event is given up, or its dead letter has failed again; `now` is in microseconds since 1970."""
        if held.parked is not None:
            self._change(replace(held.parked, attempts=held.attempts, failures=held.failures))
            return
        self.count += 1
        for since in self._parked_since:
            since.add(held.record.sequence)
        self._change(
            ParkedEvent(
                consumer=consumer, record=held.record, attempts=held.attempts, failures=held.failures, parked_at=now
            )
        )

    def begin(self, letter: ParkedEvent, attempts: int) -> None:
        """It may be handed out once more, as soon as this is stored."""
        self._change(replace(letter, attempts=attempts))

    def settle(self, letter: ParkedEvent, *, is_done: bool) -> None:
        """What was tried again is done, or has failed once more."""
        if is_done:
            self._change(Released((letter.number,)))
            self.count -= letter.number not in self._discarded
        self._discarded.discard(letter.number)

    def release(self, numbers: Sequence[int]) -> None:
        """They are none any more, for their events come again; nothing is being tried again."""
        self._discarded.clear()
        if numbers:
            self.count -= len(numbers)
            self._change(Released(numbers))

    def discard(self, numbers: set[int], tried_again: set[int]) -> None:
        """They have been removed, whatever comes of those that are being tried again."""
        self.count -= len(numbers)
        self._discarded |= numbers & tried_again

    @contextmanager
    def parked_meanwhile(self) -> Iterator[set[int]]:
        """The sequences of what is parked until the end of the block."""
        since: set[int] = set()
        self._parked_since.append(since)
        try:
            yield since
        finally:
            # By identity: another call's set, with the same in it, goes on being filled.
            self._parked_since = [other for other in self._parked_since if other is not since]

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
