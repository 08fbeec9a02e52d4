"""What the rule machine draws its arguments from: few values, so that they meet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from msgspec import Struct

from asyncbus.options import WhenFull
from asyncbus.testing.model import PATTERNS, TYPES
from tests.reliability.model.world import World

DATA: tuple[tuple[Any, Any], ...] = (
    (None, None),
    (True, True),
    (1, 1),
    (1.0, 1.0),
    ("text", "text"),
    ("é\0\n", "é\0\n"),
    (b"text", b"text"),
    (b"", b""),
    ({"n": [1, {"m": None}]}, {"n": [1, {"m": None}]}),
    ((1, 2), [1, 2]),
    ({1: "integer key"}, {"1": "integer key"}),
    (datetime(2024, 2, 29, tzinfo=UTC), "2024-02-29T00:00:00Z"),
    ("x" * 500, "x" * 500),
)
"""What is published, and how it is read."""

BAD: tuple[tuple[str, Any, dict[str, Any]], ...] = (
    ("a..b", 1, {}),
    ("", 1, {}),
    ("a*", 1, {}),
    ("x" * 256, 1, {}),
    ("a", float("nan"), {}),
    ("a", {"n": [float("inf")]}, {}),
    ("a", object(), {}),
    ("a", "x" * 1000, {}),
    ("a", 1, {"id": ""}),
    ("a", 1, {"key": "not\nprintable"}),
    ("a", 1, {"metadata": {1: "a key that is no string"}}),
    ("a", 1, {"time": datetime(2024, 2, 29)}),  # noqa: DTZ001  # naive, which is what is wrong with it
)
"""Type, data and options of events that must be refused at the call."""


class Draft(Struct, frozen=True):
    """An event as it was drawn: the places of its parts in the tables here."""

    type: str
    data: int
    id: str | None
    key: str | None
    metadata: dict[str, Any] | None
    earlier: int | None


class Wish(Struct, frozen=True):
    """A subscription as it was drawn; `place` is where in the log it begins, if `start` does not say it."""

    terms: Sequence[str]
    start: str
    place: int
    when_full: WhenFull
    capacity: int
    choosy: bool
    priority: int


class Limits(Struct, frozen=True):
    """The ends of ranges as they were drawn: places in the log, wherever it stands then."""

    start: int | None
    stop: int | None
    by_time: bool


class Question(Struct, frozen=True):
    """A query as it was drawn."""

    terms: Sequence[str]
    ends: Limits
    times: Limits
    key: str | None
    choosy: bool
    limit: int | None
    newest_first: bool


_FEW_TYPES = ("a", "a.b", "a.bc", "aXb", "A.b", "b")

_earlier = st.sampled_from((None, None, 0, 1_000_000, -5))
_ids = st.sampled_from(("id-1", "id-2", "id-3", "id-4"))
_free = st.builds(
    Draft,
    st.sampled_from(_FEW_TYPES) | st.sampled_from(TYPES),
    st.integers(0, len(DATA) - 1),
    st.just(None) | st.just(None) | _ids,
    st.sampled_from((None, None, "k", "K")),
    st.sampled_from((None, None, {"trace": "é"}, {"n": [1, None]})),
    _earlier,
)
# The same again, so that there are duplicates among the conflicts.
_repeated = st.builds(Draft, st.just("a"), st.integers(8, 9), _ids, st.just("k"), st.just({"trace": "é"}), _earlier)
drafts = _free | _repeated
patterns = st.sampled_from((("*",), ("a*",), ("a.*", "b"))) | st.sampled_from(PATTERNS)
starts = st.sampled_from(("latest", "earliest", "sequence", "moment"))
places = st.integers(0, 40)
limits = st.builds(Limits, st.none() | places, st.none() | places, st.booleans())
wishes = st.builds(
    Wish,
    patterns,
    starts,
    places,
    st.sampled_from(("catch_up", "catch_up", "block", "drop_oldest", "fail")),
    st.sampled_from((1, 2, 5, 1000)),
    st.sampled_from((False, False, True)),
    st.integers(-1, 1),
)
questions = st.builds(
    Question,
    patterns,
    limits,
    limits,
    st.sampled_from((None, None, "k", "nobody's")),
    st.booleans(),
    st.sampled_from((None, None, 1, 3)),
    st.booleans(),
)
worlds = st.builds(
    World,
    kind=st.sampled_from(("memory", "bounded memory", "sqlite", "sqlite, normal")),
    inbox_capacity=st.sampled_from((4, 16, 1024)),
    recent_capacity=st.sampled_from((1, 20)),
    max_events=st.sampled_from((1, 3, 20)),
)
rarely = st.sampled_from((False,) * 7 + (True,))
"""For what empties the log, or takes as long as a hundred other steps."""
