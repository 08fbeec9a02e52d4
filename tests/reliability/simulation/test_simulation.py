"""Seeded scenes, any interleaving, a cancellation at every await: nobody is told anything but the truth."""

import gc
from pathlib import Path

import pytest

from asyncbus import EventBus
from tests.reliability.conftest import ShortRun
from tests.reliability.simulation.cancelling import awaits
from tests.reliability.simulation.tool import TOOL, play

SEEDS = 1000
"""In which a place is aimed at, before it counts as one where nobody was cancelled."""

EVENTFUL = (1871, 1616, 1236, 715, 347, 298, 265, 217, 161, 110, 81, 70, 56, 48, 42, 31, 24, 22, 21, 19, 11, 5)
"""Seeds of scenes in which the rarest places were hit, looked at first; where the code has changed, others follow."""

_PART = "in a nameless part of a drain or a close, which only a loop that cancels all tasks gets hold of"
_LIMIT = "entering and leaving it does not wait"
_EFFECTS = "no scene has a database of the user's: tests/test_effects_*.py cancel each of its awaits"
_START = "the consumers of a scene begin with the first event; what a start by time waits for, `seek` waits for as well"
_AFTER_ALL = "one seed in ten thousand comes here"
_SELDOM = "fewer than one scene in some hundreds has somebody there to cancel"
_LARGE = "no scene has a batch that large; what it waits for is waited for in the next line as well"
_UNDOING = "an opening that was cancelled is undone by a task that nobody knows of"

NOBODY_WAITS = {
    (
        "bus",
        "_open_store",
        "await self._undoing.finished()",
    ): "only a second cancellation comes here: tests/behaviour/ has it",
    ("bus", "_undo", "await asyncio.wait([opening])"): _UNDOING,
    ("bus", "_undo", "await self._store.close()"): _UNDOING,
    ("bus", "_drain_subscriptions", "async with asyncio.timeout(timeout):"): _LIMIT,
    ("bus", "finish", "await subscription.passed(head)"): _PART,
    ("closing", "_cancel", "await asyncio.wait(self._waiting_for, timeout=_GRACE)"): (
        "they have ended before, unless close_timeout is over"
    ),
    ("consumer", "_move", "await self._fencing.move(before)"): _EFFECTS,
    ("resuming", "_take_name", "state = await self._fencing.agree(state, start)"): _EFFECTS,
    ("working", "_handle_one", "await self._pass_given_up()"): _EFFECTS,
    ("working", "_with_effect", "async with fencing.turn:"): _EFFECTS,
    ("working", "_with_effect", "await self._store_begun()"): _EFFECTS,
    ("working", "_with_effect", "await self._within_time(held, apply, begun)"): _EFFECTS,
    (
        "working",
        "_within_time",
        "await asyncio.wait([task, begun], return_when=asyncio.FIRST_COMPLETED)",
    ): _EFFECTS,
    ("working", "_with_effect", "if not await fencing.has_committed(held):"): _EFFECTS,
    ("working", "_call_if_wanted", "await _called(call)"): _EFFECTS,
    ("writer", "run", "await self._write_with(Batch(), self._saving.take(passing=False))"): _LARGE,
    ("working", "_pass_given_up", "async with self._fencing.turn:"): _EFFECTS,
    ("working", "_pass_given_up", "await self._store_begun()"): _EFFECTS,
    ("working", "_pass_given_up", "await self._fencing.pass_by(self.checkpoint)"): _EFFECTS,
    ("bus", "_clear", "await self._consumers.save_all()"): _SELDOM,
    ("consumer", "seek", "await asyncio.wait([self._sought[1]])"): _SELDOM,
    ("unparking", "_letters_after", "await self._store_begun()"): _SELDOM,
    ("consumer", "_move", "await self._sleeper"): _SELDOM,
    ("registry", "discard", "async with aclosing(pages(self.letters, wanted)) as found:"): _SELDOM,
    ("unparking", "discard", "await self._around.saving.store([Released(numbers)])"): _SELDOM,
    ("unparking", "discard", "await self.saved()"): _SELDOM,
    ("unparking", "try_again", "outcomes = await asyncio.gather(*tried)"): _SELDOM,
    ("unparking", "_hand_out_next", "async with self._handing_out_letters:"): _SELDOM,
    ("unparking", "_next_page", "await self.saved()"): _SELDOM,
    ("administering", "delete_consumer", "await self._changed().forget(name)"): _SELDOM,
    (
        "registry",
        "save_all",
        "saves.stale = (await ask(self._store.commit((), saves.changes))).stale",
    ): _SELDOM,
    ("registry", "_change", "async with self._turn(name):"): _SELDOM,
    (
        "registry",
        "_discard_next",
        "await self._saving.store([Released([letter.number for letter in page])])",
    ): _SELDOM,
    ("registry", "letters", "await consumer.saved()"): _SELDOM,
    ("registry", "retry", "async with aclosing(pages(self.letters, wanted)) as found:"): _SELDOM,
    ("registry", "discard", "await self._state(name)"): _SELDOM,
    ("resuming", "_take_over", "await self._read_back(sequence, owed, was_unclean=was_unclean)"): _SELDOM,
    ("resuming", "_read_back", "found = await ask(self._around.store.query(wanted))"): _SELDOM,
    ("administering", "wait_processed", "async with asyncio.timeout(timeout):"): _LIMIT,
    ("resuming", "_take_name", "before = await place_before_start()"): _START,
    (
        "publishing",
        "publish",
        "await inbox.settling(submission.batch, (submission,))  # the writer could go on after all, and has taken it",
    ): _AFTER_ALL,
    (
        "publishing",
        "_publish_within",
        "await inbox.settling(submission.batch, (submission,))  # as in `publish`",
    ): _AFTER_ALL,
    ("publishing", "publish_many", "await self._inbox.settling(batch, submissions)  # as in `publish`"): _AFTER_ALL,
    (
        "progress",
        "finished",
        "await asyncio.wait([delivered, self.reader], return_when=asyncio.FIRST_COMPLETED)",
    ): _PART,
    ("progress", "passed", "await future"): _PART,
    ("publishing", "_publish_within", "async with asyncio.timeout(timeout):"): _LIMIT,
    ("reading", "backup", "await ask(self._store.backup(path))"): (
        "no scene has a store that can copy itself: tests/store/ cancels copies"
    ),
    (
        "shielded",
        "finished",
        "await self._ended()  # the loop is being shut down, and waits for nothing that is new",
    ): "only a second cancellation comes here, and a scene has no two of one task",
    ("shielded", "to_its_end", "await asyncio.wait([task])"): _EFFECTS,
    ("subscribing", "_first", "async with subscription, asyncio.timeout(timeout):"): (
        "neither does closing a subscription without a handler wait, nor a limit"
    ),
}
"""By module, function and text: where no task is cancelled, and why."""


@pytest.mark.fault(2)
@pytest.mark.fault(3)
@pytest.mark.fault(7)
@pytest.mark.fault(10)
@pytest.mark.fault(27)
@pytest.mark.fault(34)
@pytest.mark.fault(69)
@pytest.mark.fault(70)
@pytest.mark.fault(72)
def test_no_seed_breaks_a_promise(short_run: ShortRun) -> None:
    report = short_run(TOOL)
    assert report.violations == []


def test_every_await_of_the_library_is_cancelled() -> None:
    # Where one place was hit, the next one is likely to be: seeds that have hit some come first.
    seeds = [*EVENTFUL, *(seed for seed in range(SEEDS) if seed not in EVENTFUL)]
    spared = {}
    for place, found in awaits().items():
        if found in NOBODY_WAITS:
            continue
        hit = next((seed for seed in seeds if place in play(seed, place).cancelled_at), None)
        if hit is None:
            spared[place] = found
        else:
            seeds.remove(hit)
            seeds.insert(0, hit)
    assert spared == {}


def test_where_nobody_waits_is_in_the_library() -> None:
    assert NOBODY_WAITS.keys() <= set(awaits().values())


def test_a_seed_plays_the_same_scene_again() -> None:
    for seed in range(50):
        assert play(seed) == play(seed)


def test_a_seed_plays_the_same_scene_with_a_file_again(tmp_path: Path) -> None:
    with_file = 0
    for seed in range(50):
        first, again = (play(seed, folder=new_folder(tmp_path, f"{seed}-{time}")) for time in ("first", "again"))
        assert first == again
        with_file += first.figures["of them with a file"]
    assert with_file > 0


def new_folder(beside: Path, name: str) -> Path:
    folder = beside / name
    folder.mkdir()
    return folder


def test_a_scene_is_gone_when_it_is_over() -> None:
    """Else a process that plays a hundred thousand of them holds all."""
    before = buses()
    for seed in range(100):
        play(seed)
    assert buses() == before


def buses() -> set[EventBus]:
    """All that are not freed, also those that only wait for the collector."""
    return {found for found in gc.get_objects() if isinstance(found, EventBus)}
