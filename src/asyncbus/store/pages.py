"""Pages of a SQLite log: one short read each, checked event by event, the next one begun while one is delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from asyncbus.codec import first_damaged
from asyncbus.errors import StoreCorruptError, StoreFailedError
from asyncbus.events import Record
from asyncbus.filters import EventFilter
from asyncbus.patterns import Pattern
from asyncbus.store import statements
from asyncbus.store.base import Page, TypeCount
from asyncbus.store.begun import Begun
from asyncbus.store.connection import Connection
from asyncbus.store.failures import is_too_big

MAX_AHEAD: Final = 4
"""Pages read ahead at a time, for all readers together."""

_PAGE_LENGTH: Final = 8 * 2**20
"""Characters of JSON that a page is to have at most, as far as one can know beforehand."""

_FIRST_CAP: Final = 64
_MAX_CAP: Final = 16_384
_QUERY_PAGE: Final = 4096
_SCAN: Final = 65_536
_records = msgspec.json.Decoder(list[Record]).decode
_texts = msgspec.json.Decoder(list[str]).decode
_counts = msgspec.json.Decoder(list[TypeCount]).decode
_numbers = msgspec.json.Decoder(list[int]).decode
_numbers_by_name = msgspec.json.Decoder(dict[str, int]).decode


class _Question(msgspec.Struct, frozen=True):
    """What one page is asked for; the fields are the arguments of `statements.page`."""

    wanted: EventFilter
    types: Sequence[str] | None
    beyond: int | None
    up_to: int | None
    limit: int

    def statement(self) -> tuple[str, list[Any]]:
        return statements.page(self.wanted, self.types, beyond=self.beyond, up_to=self.up_to, limit=self.limit)


class PageReader:
    """Reads through one read-only connection.

    Args:
        connection: its own.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Events that a page may have, from how large those of the last pages were.
        self._cap = _FIRST_CAP
        # What comes after each page that was handed out last; those nobody takes are dropped, the oldest first.
        self._ahead: dict[tuple[int, Pattern], tuple[_Question, Begun[list[Any]]]] = {}

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        """The next events of `pattern`: all in order, or by the index on types where a pattern has few of them."""
        question, begun = self._ahead.pop((after, pattern), (None, None))
        if question is None or question.limit > limit:
            begun = None
            question, nothing = await self._question(after, pattern, min(limit, self._cap))
            if nothing is not None:
                return nothing
        page = await self._page(question, begun)
        if begun is not None and page.up_to == after:
            # Nothing had come when it was read ahead; who asks now means what has come since.
            return await self.read(after, pattern, limit)
        if pattern.matches_all:
            page = _dense(page, after)
        if len(page.records) >= question.limit:
            self._begin(msgspec.structs.replace(question, beyond=page.up_to, limit=min(limit, self._cap)))
        return page

    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        """All events that `wanted` describes, read page by page, so that no transaction is long.

        None that is appended meanwhile: beside what is removed meanwhile, it would be the next one after a hole.
        """
        types = None
        if wanted.key is None and wanted.causation_ids is None and not wanted.pattern.matches_all:
            types, head, _ = await self._types(wanted.pattern)
            if types is not None and not types:
                return []
        else:
            head, _ = await self._connection.row(statements.BOUNDS)
        found: list[Record] = []
        beyond: int | None = None
        while True:
            most = min(_QUERY_PAGE, self._cap)
            limit = most if wanted.limit is None else min(most, wanted.limit - len(found))
            page = await self._page(_Question(wanted, types, beyond, head, limit))
            found += page.records
            if len(found) == wanted.limit or not page.records:
                return found
            beyond = found[-1].sequence

    async def by_ids(self, ids: Sequence[str]) -> dict[str, Record]:
        """The events that have one of `ids`, by id."""
        text, _, _ = await self._connection.row(statements.BY_ID, (msgspec.json.encode(ids).decode(),))
        records = _records(text)
        damaged = first_damaged(with_bytes(records))
        if damaged is not None:
            raise StoreCorruptError(
                f"its checksum is wrong, and so nobody knows whether its id {damaged.id!r} is the same",
                damaged.sequence,
            )
        return {record.id: record for record in records if record.id is not None}

    async def last_sequences(self, keys: Sequence[str]) -> Mapping[str, int]:
        """The sequence of the last event that each of some keys has."""
        return await self._numbers_by(statements.LAST_SEQUENCES, keys)

    async def ids(self, wanted: Sequence[str]) -> Mapping[str, int]:
        """Those of some ids that an event has, with its sequence."""
        return await self._numbers_by(statements.IDS, wanted)

    async def _numbers_by(self, sql: str, names: Sequence[str]) -> Mapping[str, int]:
        [text] = await self._connection.row(sql, (msgspec.json.encode(names).decode(),))
        return _numbers_by_name(text)

    async def count_types(self) -> Sequence[TypeCount]:
        """The types that have events, by name, counted along the index."""
        [text] = await self._connection.row(statements.TYPES)
        return _counts(text)

    def forget(self) -> None:
        """Drop what was read ahead."""
        self._ahead.clear()

    async def _question(self, after: int, pattern: Pattern, limit: int) -> tuple[_Question, Page | None]:
        """How to read the page after `after`; where the pattern has no event at all, the empty page as well."""
        wanted = EventFilter(pattern=pattern)
        if pattern.matches_all:
            return _Question(wanted, None, after, None, limit), None
        types, head, floor = await self._types(pattern)
        if types is None:
            return _Question(wanted, None, after, min(after + _SCAN, head), limit), None
        nothing = None if types else Page((), max(after, head), floor)
        return _Question(wanted, types, after, head, limit), nothing

    async def _types(self, pattern: Pattern) -> tuple[list[str] | None, int, int]:
        """The types of this log that match (None: too many to name), the head at which that was so, and the floor."""
        text, head, floor = await self._connection.row(*statements.types_of(pattern.ranges()))
        types = _texts(text)
        return (types if len(types) <= statements.MAX_TYPES else None), head, floor

    def _begin(self, question: _Question) -> None:
        """Have the next page read on the SQLite thread while the loop delivers the last one."""
        if len(self._ahead) >= MAX_AHEAD:
            del self._ahead[next(iter(self._ahead))]
        self._ahead[question.beyond or 0, question.wanted.pattern] = (
            question,
            self._connection.begin(self._connection.rows(*question.statement())),
        )

    def _learn(self, length: int, events: int, limit: int) -> None:
        """Ask for fewer events where they are large, and for more where a full page was small."""
        if length > _PAGE_LENGTH:
            self._cap = max(events * _PAGE_LENGTH // length, 1)
        elif events >= limit and length * 2 <= _PAGE_LENGTH:
            self._cap = max(self._cap, min(limit * 2, _MAX_CAP))

    async def _page(self, question: _Question, begun: Begun[list[Any]] | None = None) -> Page:
        sql, bound = question.statement()
        try:
            [(text, head, floor)] = await (begun or self._connection.rows(sql, bound))
            records = _records(text)
        except StoreFailedError as error:
            if question.limit == 1 or not is_too_big(error):
                raise
            self._cap = question.limit // 2
            return await self._page(msgspec.structs.replace(question, limit=self._cap))
        except (StoreCorruptError, msgspec.DecodeError) as error:
            if question.limit > 1:  # the events before the damaged one are good, and owed
                return await self._page(msgspec.structs.replace(question, limit=question.limit // 2))
            text, _, _ = await self._connection.row(statements.sequences(sql), bound)
            raise StoreCorruptError("it cannot be read", *_numbers(text)) from error
        self._learn(len(text), len(records), question.limit)
        if question.types is not None:
            _check_order(records, question)
        records, whole = _intact(records)
        if whole and len(records) < question.limit:
            return Page(records, max(question.beyond or 0, min(head, question.up_to or head)), floor)
        return Page(records, records[-1].sequence, floor)


def _intact(records: list[Record]) -> tuple[list[Record], bool]:
    """The records before the first damaged one, and whether that is all of them."""
    damaged = first_damaged(with_bytes(records))
    if damaged is None:
        return records, True
    if damaged is records[0]:
        raise StoreCorruptError("its checksum is wrong", damaged.sequence)
    return records[: records.index(damaged)], False


def _check_order(records: list[Record], question: _Question) -> None:
    """What the index on types gave must be in order; a checksum cannot tell that an event came twice."""
    last = question.beyond
    for record in records:
        if last is not None and (record.sequence > last) == question.wanted.newest_first:
            raise StoreCorruptError("the index on types leads to it out of order", record.sequence)
        last = record.sequence


def with_bytes(records: list[Record]) -> list[Record]:
    """The records with bytes made bytes again."""
    for record in records:
        if record.data.__class__ is list:
            record.data = bytes.fromhex(record.data[0])
    return records


def _dense(page: Page, after: int) -> Page:
    """The page up to the first hole: sequences have none but those below the floor, so a missing event is damage."""
    begin = max(after, page.floor) + 1
    if page.up_to in {begin + len(page.records) - 1, after}:
        return page
    whole = [record for place, record in enumerate(page.records, begin) if record.sequence == place]
    if not whole:
        raise StoreCorruptError("it is missing", begin)
    return Page(whole, whole[-1].sequence, page.floor)
