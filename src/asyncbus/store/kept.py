"""Reads what a SQLite log keeps for durable consumers, row by row checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from asyncbus.codec import first_damaged
from asyncbus.errors import StoreCorruptError, StoreFailedError
from asyncbus.events import Record
from asyncbus.store import keeping
from asyncbus.store.connection import Connection
from asyncbus.store.consumers import ConsumerState, Failure, Owed, ParkedEvent, ParkedFilter
from asyncbus.store.failures import is_too_big
from asyncbus.store.pages import with_bytes

_FIRST_PAGE: Final = 64
_LARGEST_PAGE: Final = 4096
_PAGE_LENGTH: Final = 8 * 2**20
"""Characters of JSON up to which a page may become a larger one."""


class _State(msgspec.Struct, array_like=True):
    """A row of the table of consumers."""

    name: str
    pattern: str
    epoch: int
    checkpoint: int
    settled_to: int
    begun_to: int
    owed: str
    alone: int
    paused: int
    sought: int
    created_at: int
    active_since: int
    redelivered: int
    last_error: str | None


_states = msgspec.json.Decoder(list[_State]).decode
_letters = msgspec.json.Decoder(list[tuple[int, str, int, str, int, Record]]).decode
_owed = msgspec.json.Decoder(dict[int, Owed]).decode
_failures = msgspec.json.Decoder(tuple[Failure, ...]).decode
_places = msgspec.json.Decoder(list[int]).decode
_counts = msgspec.json.Decoder(dict[str, int]).decode


def states(text: str) -> list[ConsumerState]:
    """The consumers of one row of JSON, as `keeping.STATES` gives it.

    Raises:
        msgspec.DecodeError: one of them is damaged, and how.
    """
    return [_state(row) for row in _states(text)]


def _state(row: _State) -> ConsumerState:
    if not 0 <= row.checkpoint <= row.settled_to <= row.begun_to:
        raise msgspec.ValidationError(
            f"checkpoint {row.checkpoint}, settled_to {row.settled_to} and begun_to {row.begun_to} do not ascend"
        )
    parsed = {"owed": _owed(row.owed), "paused": bool(row.paused), "sought": bool(row.sought)}
    return ConsumerState(**msgspec.structs.asdict(row) | parsed)


def letters(text: str) -> list[ParkedEvent]:
    """The dead letters of one row of JSON, as `keeping.letters` asks for it; their checksums are not looked at.

    Raises:
        msgspec.DecodeError: one of them is damaged, and how.
    """
    found = []
    for number, consumer, attempts, failures, parked_at, record in _letters(text):
        with_bytes([record])
        found.append(
            ParkedEvent(
                consumer=consumer,
                record=record,
                attempts=attempts,
                failures=_failures(failures),
                parked_at=parked_at,
                number=number,
            )
        )
    return found


class KeptReader:
    """Reads through one read-only connection.

    Args:
        connection: may be another reader's as well.
        path: of the log.
    """

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    async def consumers(self) -> Sequence[ConsumerState]:
        """All consumers, by name: one hop.

        Raises:
            StoreCorruptError: one of them is damaged; it says which row, and what to do.
        """
        try:
            return states((await self._connection.row(keeping.STATES))[0])
        except (StoreCorruptError, msgspec.DecodeError):
            return await self._one_by_one()

    async def _one_by_one(self) -> Sequence[ConsumerState]:
        found: list[ConsumerState] = []
        for place in _places((await self._connection.row(keeping.PLACES))[0]):
            try:
                for (text,) in await self._connection.rows(keeping.STATE, (place,)):
                    found += states(f"[{text}]")
            except (StoreCorruptError, msgspec.DecodeError) as error:
                raise StoreCorruptError(
                    f"{self._path}: row {place} of the table consumers is damaged: {error}; restore a backup, or remove"
                    " that row with sqlite3, and that consumer begins anew"
                ) from error
        return sorted(found, key=lambda state: state.name)

    async def dead_letters(self, wanted: ParkedFilter) -> Sequence[ParkedEvent]:
        """Those that are wanted, page by page, so that no transaction is long; each event is checked.

        Raises:
            StoreCorruptError: one of them is damaged, or its event is.
        """
        found: list[ParkedEvent] = []
        after, size = wanted.after, _FIRST_PAGE
        while (limit := size if wanted.limit is None else min(size, wanted.limit - len(found))) > 0:
            sql, bound = keeping.letters(wanted, after=after, limit=limit)
            try:
                text: str = (await self._connection.row(sql, bound))[0]
                page = letters(text)
            except StoreFailedError as error:
                if limit == 1 or not is_too_big(error):
                    raise
                size = limit // 2
                continue
            except (StoreCorruptError, msgspec.DecodeError) as error:
                if limit == 1:
                    raise await self._damaged(sql, bound, str(error)) from error
                size = 1  # up to the one that is damaged
                continue
            _check(page)
            found += page
            if len(page) < limit:
                break
            after = page[-1].number
            size = min(size * 2, _LARGEST_PAGE) if len(text) * 2 <= _PAGE_LENGTH else max(size // 2, 1)
        return found

    async def _damaged(self, sql: str, bound: Sequence[Any], reason: str) -> StoreCorruptError:
        number, sequence = await self._connection.row(keeping.bare(sql), bound)
        return _corrupt(number, sequence if isinstance(sequence, int) else None, reason)

    async def dead_letter_counts(self) -> Mapping[str, int]:
        """How many dead letters each consumer has: one hop, and one look through an index."""
        return _counts((await self._connection.row(keeping.COUNTS))[0])


def _check(page: Sequence[ParkedEvent]) -> None:
    damaged = first_damaged([parked.record for parked in page])
    for parked in page:
        if parked.record is damaged:
            raise _corrupt(parked.number, damaged.sequence, "its checksum is wrong")


def _corrupt(number: int, sequence: int | None, reason: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"{reason}, as dead letter {number} has it; restore a backup, or remove row {number} of the table dead_letters"
        " with sqlite3",
        sequence,
    )
