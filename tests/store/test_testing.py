"""The contract suite itself: it needs no pytest, its example runs, and stores that break a promise fail it."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from unittest import SkipTest

import msgspec
import pytest

import asyncbus.testing
from asyncbus import (
    Appended,
    AsyncBusError,
    Bounds,
    EventFilter,
    EventIdConflictError,
    EventStore,
    Features,
    MemoryStore,
    Page,
    Pattern,
    PayloadError,
    Record,
    StoreFailedError,
)
from asyncbus.store.consumers import Change, ConsumerState, ParkedEvent
from asyncbus.testing import StoreContract, record


def test_it_needs_no_pytest() -> None:
    script = "import sys, asyncbus.testing; sys.exit('pytest' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    documentation = asyncbus.testing.__doc__
    assert documentation is not None
    example = dedent(documentation.split("::\n\n")[1].split("\n\nWhat is tested")[0])
    file = tmp_path / "test_my_store.py"
    file.write_text(f"from asyncbus import SQLiteStore as MyStore\n{example}\n", "utf-8")

    command = [sys.executable, "-m", "pytest", str(file), "-q", "-k", "sequences or second_writer or reopening", "-rs"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert finished.returncode == 0, finished.stdout
    assert "skipped" not in finished.stdout


def test_a_record_is_checked_as_a_published_event_is() -> None:
    assert record("a.b", {"n": 1}, id="x").data == '{"n":1}'
    assert record("a.b", b"\0").data == b"\0"
    assert record("a.b").sequence == 0
    with pytest.raises(PayloadError):
        record("a.b", float("nan"))


# --- stores that break a promise -------------------------------------------------------------------------------------


class Broken(MemoryStore):
    """What the others begin with."""


class CountsFromZero(Broken):
    async def append(self, records: Sequence[Record]) -> Appended:
        appended = await super().append(records)
        for stored in records:
            stored.sequence -= 1
        return appended


class UsesSequencesAgain(Broken):
    async def clear(self) -> None:
        self.__init__()  # type: ignore[misc]  # the simplest way to forget everything


class ClearsInSilence(Broken):
    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        return msgspec.structs.replace(await super().read(after, pattern, limit), floor=0)


class StoresHalfOfAConflict(Broken):
    async def append(self, records: Sequence[Record]) -> Appended:
        try:
            return await super().append(records)
        except EventIdConflictError:
            await super().append(records[:1])
            raise


class NamesOneConflict(Broken):
    async def append(self, records: Sequence[Record]) -> Appended:
        try:
            return await super().append(records)
        except EventIdConflictError as error:
            first = next(iter(error.conflicts.items()))
            raise EventIdConflictError(dict([first])) from None


class ForgetsIds(Broken):
    async def append(self, records: Sequence[Record]) -> Appended:
        self._by_id.clear()
        return await super().append(records)


class MindsTheTime(Broken):
    async def append(self, records: Sequence[Record]) -> Appended:
        for place, repeated in enumerate(records):
            first = self._by_id.get(repeated.id or "")
            if first is not None and first.time != repeated.time:
                raise EventIdConflictError({place: (first.id or "", first.sequence)})
        return await super().append(records)


class MakesBytesText(Broken):
    async def append(self, records: Sequence[Record]) -> Appended:
        for stored in records:
            if isinstance(stored.data, bytes):
                stored.data = stored.data.decode("latin-1")
        return await super().append(records)


class GivesMoreThanTheLimit(Broken):
    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        return await super().read(after, pattern, limit + 1)


class SaysItHasReadMore(Broken):
    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        page = await super().read(after, pattern, limit)
        return Page(page.records, max(page.up_to, await self.latest_sequence()), page.floor)


class LeavesOutTheLast(Broken):
    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        page = await super().read(after, pattern, limit)
        return Page(page.records[:-1] if len(page.records) > 5 else page.records, page.up_to, page.floor)


class TakesAPrefixAsAToken(Broken):
    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        tokens = tuple(f"{prefix}." if prefix else "" for prefix in pattern.prefixes)
        return await super().read(after, Pattern(pattern.exact, tokens), limit)


class TakesTheEndOfARange(Broken):
    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        if wanted.stop_recorded is not None:
            wanted = msgspec.structs.replace(wanted, stop_recorded=wanted.stop_recorded + 1)
        return await super().query(wanted)


class ReversesAfterTheLimit(Broken):
    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        found = list(await super().query(msgspec.structs.replace(wanted, newest_first=False)))
        return found[::-1] if wanted.newest_first else found


class LiftsNoLimit(Broken):
    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        return list(await super().query(wanted))[:1000]


class IgnoresTheKey(Broken):
    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        return await super().query(msgspec.structs.replace(wanted, key=None))


class LooksForTypesFirst(Broken):
    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        types = {stored.type for stored in await super().query(msgspec.structs.replace(wanted, limit=None))}
        await asyncio.sleep(0)
        return await super().query(msgspec.structs.replace(wanted, pattern=Pattern(exact=tuple(types))))


class FailsAfterACancellation(Broken):
    failed = False

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        if self.failed:
            raise StoreFailedError("broken by a cancelled read")
        self.failed = True
        await asyncio.sleep(0)
        self.failed = False
        return await super().read(after, pattern, limit)


class IsNotDurable(Broken):
    @property
    def features(self) -> Features:
        return Features(durable=True)

    async def open(self) -> Bounds:
        self.__init__()  # type: ignore[misc]  # as a fresh process would find it
        return await super().open()


class LocksNobodyOut(Broken):
    @property
    def features(self) -> Features:
        return Features(exclusive=True)


class StoresTheChangesOfAConflict(Broken):
    async def commit(self, records: Sequence[Record], changes: Sequence[Change]) -> Appended:
        try:
            return await super().commit(records, changes)
        except EventIdConflictError:
            await super().commit([], changes)
            raise


class StoresWhatIsStale(Broken):
    async def commit(self, records: Sequence[Record], changes: Sequence[Change]) -> Appended:
        young = [msgspec.structs.replace(c, epoch=1) if isinstance(c, ConsumerState) else c for c in changes]
        return await super().commit(records, young)


class BringsBackWhatWasReleased(Broken):
    async def commit(self, records: Sequence[Record], changes: Sequence[Change]) -> Appended:
        new = [msgspec.structs.replace(c, number=0) if isinstance(c, ParkedEvent) else c for c in changes]
        return await super().commit(records, new)


class ForgetsVersions(Broken):
    async def append(self, records: Sequence[Record]) -> Appended:
        for stored in records:
            stored.version = None
        return await super().append(records)


class MindsTheCause(Broken):
    async def append(self, records: Sequence[Record]) -> Appended:
        for place, repeated in enumerate(records):
            first = self._by_id.get(repeated.id or "")
            if first is not None and first.causation_id != repeated.causation_id:
                raise EventIdConflictError({place: (first.id or "", first.sequence)})
        return await super().append(records)


class IgnoresTheCause(Broken):
    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        return await super().query(msgspec.structs.replace(wanted, causation_ids=None))


class KnowsTheFirstOfAKey(Broken):
    async def last_sequences(self, keys: Sequence[str]) -> Mapping[str, int]:
        first: dict[str, int] = {}
        for stored in self._records:
            if stored.key in keys and stored.key is not None:
                first.setdefault(stored.key, stored.sequence)
        return first


class KnowsRemovedKeys(Broken):
    async def last_sequences(self, keys: Sequence[str]) -> Mapping[str, int]:
        found = dict(await super().last_sequences(keys))
        self.known = getattr(self, "known", {}) | found
        return {key: sequence for key, sequence in self.known.items() if key in keys}


class KnowsNoIds(Broken):
    async def ids(self, wanted: Sequence[str]) -> Mapping[str, int]:
        return {}


BROKEN: list[tuple[type[Broken], str]] = [
    (CountsFromZero, "test_sequences_ascend_from_1_in_the_order_of_appending"),
    (UsesSequencesAgain, "test_sequences_go_on_after_clear"),
    (ClearsInSilence, "test_clear_removes_all_events_and_moves_the_floor_to_the_head"),
    (StoresHalfOfAConflict, "test_other_content_under_an_id_is_a_conflict_and_stores_nothing"),
    (NamesOneConflict, "test_a_conflict_names_every_index_that_conflicts"),
    (ForgetsIds, "test_an_id_of_an_earlier_batch_is_a_duplicate"),
    (MindsTheTime, "test_a_second_attempt_may_have_another_time"),
    (MakesBytesText, "test_events_come_back_as_they_were_appended"),
    (GivesMoreThanTheLimit, "test_pages_of_every_pattern_give_each_matching_event_once_in_order"),
    (SaysItHasReadMore, "test_pages_of_every_pattern_give_each_matching_event_once_in_order"),
    (LeavesOutTheLast, "test_pages_of_every_pattern_give_each_matching_event_once_in_order"),
    (TakesAPrefixAsAToken, "test_pages_of_every_pattern_give_each_matching_event_once_in_order"),
    (TakesTheEndOfARange, "test_ranges_take_their_beginning_and_leave_out_their_end"),
    (ReversesAfterTheLimit, "test_limit_keeps_the_first_ones_and_newest_first_the_last_ones"),
    (LiftsNoLimit, "test_no_limit_lifts_the_limit"),
    (IgnoresTheKey, "test_a_key_is_matched_exactly"),
    (LooksForTypesFirst, "test_a_query_during_appends_shows_no_event_without_those_before_it"),
    (FailsAfterACancellation, "test_a_cancelled_read_or_query_leaves_the_store_usable"),
    (IsNotDurable, "test_what_was_appended_survives_reopening"),
    (LocksNobodyOut, "test_a_second_writer_is_told_who_the_first_is"),
    (StoresTheChangesOfAConflict, "test_a_conflict_leaves_neither_events_nor_changes"),
    (StoresWhatIsStale, "test_the_state_of_an_older_epoch_is_told_and_not_stored_but_the_rest_of_the_commit_is"),
    (ForgetsVersions, "test_version_cause_and_correlation_come_back_as_they_were_appended"),
    (MindsTheCause, "test_another_version_under_an_id_is_a_conflict_and_another_cause_is_none"),
    (IgnoresTheCause, "test_what_an_event_has_led_to_is_found_by_it"),
    (KnowsTheFirstOfAKey, "test_the_last_event_of_each_key_is_known"),
    (KnowsRemovedKeys, "test_what_was_removed_is_the_last_of_no_key"),
    (KnowsNoIds, "test_ids_are_known_for_as_long_as_their_events_are_there"),
    (BringsBackWhatWasReleased, "test_what_has_a_number_is_replaced_and_not_there_again_once_it_was_released"),
]


class Suite(StoreContract):
    def __init__(self, kind: type[MemoryStore]) -> None:
        self._kind = kind
        self._stores: dict[str, EventStore] = {}

    def make_store(self, log: str) -> EventStore:
        return self._stores.setdefault(log, self._kind())


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "test"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
async def test_a_store_that_breaks_a_promise_fails_its_test(kind: type[Broken], test: str) -> None:
    # The test's own error, or the store's where it refuses what it should take.
    with pytest.raises((AssertionError, AsyncBusError)):
        await getattr(Suite(kind), test)()


@pytest.mark.asyncio
@pytest.mark.parametrize("test", sorted({test for _, test in BROKEN}))
async def test_a_store_that_keeps_its_promises_passes_the_same_tests(test: str) -> None:
    try:
        await getattr(Suite(Broken), test)()
    except SkipTest as skipped:
        assert "does not declare" in str(skipped)  # noqa: PT017  # a promise that it does not make


def test_no_two_parts_of_the_contract_have_a_test_of_one_name() -> None:
    names = [name for part in StoreContract.__mro__ for name in vars(part) if name.startswith("test_")]

    assert len(names) == len(set(names)) > 50
