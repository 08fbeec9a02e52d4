import copy
import inspect
import pickle
import re
from collections.abc import Iterator
from typing import Any

import pytest

from asyncbus import errors
from asyncbus.errors import AsyncBusError

# One way to make each of them, and what it must tell.
EXAMPLES: dict[type[AsyncBusError], tuple[tuple[Any, ...], dict[str, Any], str]] = {
    errors.AsyncBusError: (("why",), {}, "why"),
    errors.InvalidTypeError: (("a..b", "token 2 is empty"), {"found": "a..b"}, "'a..b': token 2 is empty"),
    errors.InvalidPatternError: (("*a", "…"), {"found": "*a", "reason": "…"}, "invalid pattern '*a': …"),
    errors.InvalidOptionError: (
        ("limit", "an integer of at least 1", 0),
        {"option": "limit", "expected": "an integer of at least 1", "found": 0},
        "limit must be an integer of at least 1, not 0",
    ),
    errors.InvalidHandlerError: ((7,), {"found": 7}, "must be callable with one event"),
    errors.PayloadError: (("$.a[1]", "no"), {"path": "$.a[1]", "reason": "no"}, "payload at $.a[1]: no"),
    errors.PayloadTooLargeError: ((11, 10), {"size": 11, "limit": 10, "path": "$"}, "11 bytes encoded, at most 10"),
    errors.BusClosedError: (("the bus is closed",), {}, "the bus is closed"),
    errors.WrongEventLoopError: (("elsewhere",), {}, "elsewhere"),
    errors.WrongThreadError: (("here",), {}, "here"),
    errors.ForkedProcessError: ((), {}, "works in the parent only"),
    errors.InboxFullError: ((8,), {"capacity": 8}, "is full (8 events"),
    errors.BatchTooLargeError: (
        (9, 90, 8, 80),
        {"events": 9, "size": 90, "capacity": 8, "max_bytes": 80},
        "9 events of 90 bytes do not fit an inbox of 8 events and 80 bytes",
    ),
    errors.WouldDeadlockError: (("oneself",), {}, "oneself"),
    errors.EventIdConflictError: (
        ({3: ("x", 7), 4: ("y", 0)},),
        {"id": "x", "sequence": 7, "conflicts": {3: ("x", 7), 4: ("y", 0)}},
        "id 'x' belongs to event 7",
    ),
    errors.PublishOutcomeUnknownError: (("x", "no answer"), {"id": "x"}, "publish again with id='x'"),
    errors.SubscriptionError: (("why",), {}, "why"),
    errors.StartBeyondHeadError: ((9, 3), {"start": 9, "head": 3}, "start=9 lies beyond the next sequence, 4"),
    errors.EventsLostError: ((2, 5), {"first": 2, "last": 5}, "events 2 to 5 were removed"),
    errors.SubscriptionOverflowError: ((4, 2), {"capacity": 4, "position": 2}, "queue of 4 events is full"),
    errors.SubscriptionBusyError: (("two",), {}, "two"),
    errors.ConsumerError: (("p", "is ill"), {"name": "p"}, "consumer 'p' is ill"),
    errors.ConsumerInUseError: (("p",), {"name": "p"}, "give this one a name of its own"),
    errors.UnknownConsumerError: (("p",), {"name": "p"}, "`await bus.consumers()` lists those that are"),
    errors.ConsumerPatternError: (
        ("p", "a.*", "b.*"),
        {"name": "p", "stored": "a.*", "found": "b.*"},
        "is stored with the pattern 'a.*', not 'b.*'",
    ),
    errors.CheckpointAheadError: (
        ("p", 9, 4),
        {"name": "p", "checkpoint": 9, "head": 4},
        "has its checkpoint at 9, but the log ends at 4",
    ),
    errors.ConsumerStoppedError: (("p", 7, "bad"), {"name": "p", "sequence": 7, "reason": "bad"}, "at event 7: bad"),
    errors.ConsumerClosedError: (("p",), {"name": "p"}, "consume(…) makes it active again"),
    errors.UnknownAckError: (("p", 7), {"name": "p", "sequence": 7}, "has event 7 not in flight"),
    errors.StaleAckError: (
        ("p", 7, 1, 2),
        {"name": "p", "sequence": 7, "epoch": 1, "current": 2},
        "is at epoch 2 by now, and event 7 was handed out at epoch 1, before a seek or by an earlier holder",
    ),
    errors.HandlerTimeoutError: (
        ("p", 7, 2.5),
        {"name": "p", "sequence": 7, "timeout": 2.5},
        "took longer than 2.5 s over event 7",
    ),
    errors.EffectsError: (("p", "is ill"), {"name": "p"}, "consumer 'p' is ill"),
    errors.DrainTimeoutError: (({"h": 3},), {"unfinished": {"h": 3}}, "h (3 behind)"),
    errors.EventDefinitionError: (("no class",), {}, "no class"),
    errors.BrokenUpcastsError: (
        ("a.b", 2, 4),
        {"type": "a.b", "missing": 2, "newest": 4},
        "the upcasts of a.b are broken: no upcast leads on from version 2 to version 4 of its class",
    ),
    errors.NewerVersionError: (
        ("a.b", 3, 2),
        {"type": "a.b", "found": 3, "known": 2, "path": "$"},
        "a.b is stored in version 3, and this program knows it up to version 2",
    ),
    errors.ConcurrencyError: (
        ("vm-1", 0, 7),
        {"key": "vm-1", "expected": 0, "found": 7},
        "the last event with key 'vm-1' was expected to be none, and is event 7",
    ),
    errors.StoreError: (("why",), {}, "why"),
    errors.StoreFullError: (("no space",), {}, "no space"),
    errors.StoreFailedError: (("fsync",), {"reason": "fsync", "outcome_unknown": False}, "fsync"),
    errors.StoreLockedError: (("a.db", 42), {"path": "a.db", "pid": 42}, "written by process 42"),
    errors.StoreReadOnlyError: (("ro",), {}, "ro"),
    errors.StoreCorruptError: (("bad", 6), {"reason": "bad", "sequence": 6}, "event 6 is corrupt: bad"),
    errors.StoreTruncatedError: (
        ("a.db", 9, 4, "a.db-watermark"),
        {"path": "a.db", "expected": 9, "found": 4, "watermark": "a.db-watermark"},
        "a.db ends at event 4, but event 9 was acknowledged",
    ),
    errors.UnsupportedFilesystemError: (
        ("/share/a.db", "nfs4"),
        {"path": "/share/a.db", "filesystem": "nfs4"},
        "/share/a.db lies on a network file system (nfs4)",
    ),
    errors.StoreNotFoundError: (("a.db is missing",), {}, "a.db is missing"),
    errors.StoreIsDirectoryError: (("a.db is a directory",), {}, "a.db is a directory"),
    errors.NotAnEventStoreError: (("somebody else's",), {}, "somebody else's"),
    errors.SchemaTooOldError: (("a.db", 1, 3), {"path": "a.db", "found": 1, "wanted": 3}, "open it for writing once"),
    errors.SchemaTooNewError: (("a.db", 9, 1), {"path": "a.db", "found": 9, "supported": 1}, "schema version 9"),
    errors.SequenceExhaustedError: (("the last",), {}, "the last"),
    errors.UnsupportedFeatureError: (("backup", 7), {"feature": "backup", "store": "int"}, "int has no backup"),
}


def all_errors(root: type[AsyncBusError] = AsyncBusError) -> Iterator[type[AsyncBusError]]:
    """All that a user may meet; a name that begins with `_` says that it never leaves its module."""
    yield root
    for child in root.__subclasses__():
        if not child.__name__.startswith("_"):
            yield from all_errors(child)


def parents_drawn(tree: str) -> dict[str, str | None]:
    """Child → parent, as the tree is drawn: each level is four characters wide."""
    parents: dict[str, str | None] = {}
    branch: list[str] = []
    for line in tree.splitlines():
        if found := re.match(r" {4}((?:│   |    )*(?:├── |└── )?)((?:\w+(?:, )?)+)", line):
            depth = len(found[1]) // 4
            names = found[2].strip().split(", ")
            parents |= dict.fromkeys(names, branch[depth - 1] if depth else None)
            branch[depth:] = [names[-1]]
    return parents


def test_the_tree_drawn_at_the_top_is_the_real_one() -> None:
    tree = inspect.getdoc(errors)
    assert tree is not None
    drawn = parents_drawn(tree.split("::")[1].split("\n\n`Reject`")[0])

    real = {
        error.__name__: next((base.__name__ for base in error.__bases__ if issubclass(base, AsyncBusError)), None)
        for error in all_errors()
    }

    assert drawn == real


def test_there_is_an_example_of_each_error_here() -> None:
    assert set(EXAMPLES) == set(all_errors())


@pytest.fixture(params=EXAMPLES, ids=lambda kind: kind.__name__)
def error(request: pytest.FixtureRequest) -> AsyncBusError:
    kind: type[AsyncBusError] = request.param
    return kind(*EXAMPLES[kind][0])


def test_each_error_carries_its_facts_and_tells_them(error: AsyncBusError) -> None:
    _, facts, told = EXAMPLES[type(error)]

    assert {name: getattr(error, name) for name in facts} == facts
    assert told in str(error)


def test_a_copy_is_another_object_with_the_same_facts_and_cause(error: AsyncBusError) -> None:
    error.__cause__ = OSError("the disk")

    twin = copy.copy(error)

    assert twin is not error
    assert type(twin) is type(error)
    assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))
    assert twin.__cause__ is error.__cause__


def test_the_traceback_of_a_copy_does_not_pile_up_on_the_original(error: AsyncBusError) -> None:
    with pytest.raises(type(error)):
        raise copy.copy(error)

    assert error.__traceback__ is None


def test_pickling_keeps_kind_message_and_facts(error: AsyncBusError) -> None:
    twin = pickle.loads(pickle.dumps(error))  # noqa: S301  # it was pickled a moment ago

    assert type(twin) is type(error)
    assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))


BUILTINS: list[type[Exception]] = [ValueError, TypeError, LookupError, RuntimeError, OSError]
BUILTINS += [TimeoutError, FileNotFoundError, IsADirectoryError]

BUILTIN_OF: dict[type[AsyncBusError], set[type[Exception]]] = {
    errors.InvalidTypeError: {ValueError},
    errors.InvalidPatternError: {ValueError},
    errors.InvalidOptionError: {ValueError},
    errors.InvalidHandlerError: {TypeError},
    errors.PayloadError: {ValueError},
    errors.PayloadTooLargeError: {ValueError},
    errors.NewerVersionError: {ValueError},
    errors.EventDefinitionError: {TypeError},
    errors.BatchTooLargeError: {ValueError},
    errors.StartBeyondHeadError: {ValueError},
    errors.HandlerTimeoutError: {TimeoutError, OSError},
    errors.DrainTimeoutError: {TimeoutError, OSError},
    errors.StoreNotFoundError: {FileNotFoundError, OSError},
    errors.StoreIsDirectoryError: {IsADirectoryError, OSError},
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_only_those_are_builtin_errors_as_well_that_say_the_same_thing(kind: type[AsyncBusError]) -> None:
    """So `except TimeoutError` catches no full inbox, and `except OSError` no bad payload."""
    assert {builtin for builtin in BUILTINS if issubclass(kind, builtin)} == BUILTIN_OF.get(kind, set())


def test_a_long_value_is_shortened_in_the_message_and_whole_in_the_attribute() -> None:
    error = errors.InvalidTypeError("x" * 10_000, "10000 characters")

    assert len(str(error)) < 200
    assert error.found == "x" * 10_000


class Unshowable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


def test_what_was_found_may_refuse_to_be_shown() -> None:
    assert "<Unshowable>" in str(errors.InvalidTypeError(Unshowable(), "no string"))


def test_an_id_conflict_within_one_batch_names_no_sequence() -> None:
    error = errors.EventIdConflictError({0: ("x", 0)})

    assert "an event published just before" in str(error)


def test_an_unknown_outcome_without_an_id_says_how_to_be_safe_the_next_time() -> None:
    assert "give events an id" in str(errors.PublishOutcomeUnknownError(None, "no answer"))


def test_a_lock_whose_holder_is_unknown_says_so() -> None:
    assert "by another process" in str(errors.StoreLockedError("a.db", None))


def test_damage_that_has_no_event_names_none() -> None:
    assert str(errors.StoreCorruptError("no database")) == "no database"
