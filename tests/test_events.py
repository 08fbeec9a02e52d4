import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbus.errors import InvalidOptionError, InvalidTypeError
from asyncbus.events import (
    Event,
    NewEvent,
    Receipt,
    check_name,
    check_type,
    from_microseconds,
    to_microseconds,
)
from tests.fakes import MOMENT, event

# --- the grammar of types --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["a", "page_table.page_fault", "A-Z.0-9._", "-", "x" * 255, ".".join("x" * 128)])
def test_dot_separated_tokens_are_a_type(type: str) -> None:
    assert check_type(type) == type


@pytest.mark.parametrize(
    ("type", "reason"),
    [
        ("", "token 1 is empty"),
        ("a..b", "token 2 is empty"),
        (".a", "token 1 is empty"),
        ("a.", "token 2 is empty"),
        ("a.b c", "token 2, 'b c', has a character outside"),
        ("a.*", "token 2, '*', has a character outside"),
        ("a\n", r"token 1, 'a\n', has a character outside"),
        ("a\0b", r"token 1, 'a\x00b', has a character outside"),
        ("рage.fault", "token 1, 'рage', has a character outside"),  # noqa: RUF001  # a Cyrillic letter is the point
        ("a.b٣", "token 2, 'b٣', has a character outside"),
        ("\ud800", r"token 1, '\ud800', has a character outside"),
        ("x" * 256, "256 characters, at most 255 allowed"),
        ("x" * 65_536, "65536 characters, at most 255 allowed"),
        (b"a", "expected a string, found bytes"),
        (None, "expected a string, found NoneType"),
        (["a"], "expected a string, found list"),
    ],
)
def test_anything_else_is_refused_with_the_offending_part_named(type: object, reason: str) -> None:
    with pytest.raises(InvalidTypeError) as refused:
        check_type(type)

    assert refused.value.reason.startswith(reason)
    assert refused.value.found == type


@given(st.text(alphabet="ab.*-_ \n\0é", max_size=12))
def test_a_text_is_a_type_exactly_when_all_its_tokens_are(text: str) -> None:
    allowed = all(token and set(token) <= set("ab-_") for token in text.split("."))

    if allowed:
        assert check_type(text) == text
    else:
        with pytest.raises(InvalidTypeError):
            check_type(text)


class Name(str):
    __slots__ = ()


def test_a_subclass_of_str_comes_out_as_a_plain_str() -> None:
    assert check_type(Name("a.b")).__class__ is str
    assert check_name("key", Name("vm-1")).__class__ is str


@pytest.mark.parametrize("name", ["x", "a b", "ключ", "x" * 255])
def test_an_id_may_be_any_printable_text(name: str) -> None:
    assert check_name("id", name) == name


@pytest.mark.parametrize("name", ["", "x" * 256, "a\n", "a\0", "\ud800", 7, b"x"])
def test_an_id_that_is_not_printable_text_is_refused(name: object) -> None:
    with pytest.raises(InvalidOptionError) as refused:
        check_name("id", name)

    assert (refused.value.option, refused.value.found) == ("id", name)


# --- times -----------------------------------------------------------------------------------------------------------


def test_a_moment_is_counted_in_microseconds_since_1970() -> None:
    assert to_microseconds("time", datetime(1970, 1, 1, 0, 0, 1, 7, tzinfo=UTC)) == 1_000_007
    assert to_microseconds("time", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)) == -1_000_000


def test_the_same_moment_in_two_zones_is_one() -> None:
    there = datetime(2026, 7, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    here = datetime(2026, 7, 1, 12, tzinfo=UTC)

    assert to_microseconds("time", there) == to_microseconds("time", here)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_comes_back_to_the_microsecond(moment: datetime) -> None:
    back = from_microseconds(to_microseconds("time", moment))

    assert back == moment
    assert back.tzinfo is UTC


@pytest.mark.parametrize(
    "moment",
    [
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=5))),
    ],
)
def test_a_moment_that_utc_cannot_name_is_refused_where_it_is_given(moment: datetime) -> None:
    """Else every reader of the event would fail, and not its publisher."""
    with pytest.raises(InvalidOptionError, match=r"^time must be"):
        to_microseconds("time", moment)


@pytest.mark.parametrize("moment", [datetime(2026, 1, 1), 0, "2026-01-01T00:00:00Z", None])  # noqa: DTZ001
def test_a_moment_without_a_zone_is_none(moment: object) -> None:
    with pytest.raises(InvalidOptionError, match=r"^since must be an aware datetime"):
        to_microseconds("since", moment)


# --- Event -----------------------------------------------------------------------------------------------------------


def test_an_event_shows_what_was_recorded() -> None:
    seen = event("a.b", '{"x":1}', sequence=7, time=0, id="i", key="k", metadata='{"m":2}')

    assert (seen.sequence, seen.type, seen.data) == (7, "a.b", {"x": 1})
    assert (seen.id, seen.key, seen.metadata) == ("i", "k", {"m": 2})
    assert seen.time == datetime(1970, 1, 1, tzinfo=UTC)
    assert seen.recorded_at == from_microseconds(MOMENT)


def test_what_was_not_given_is_none() -> None:
    seen = event()

    assert (seen.data, seen.id, seen.key, seen.metadata) == (None, None, None, None)


def test_bytes_come_back_as_bytes() -> None:
    raw: Any = b"\xff\0"

    assert Event(event(data=raw)._record).data == b"\xff\0"


def test_data_is_decoded_once_and_what_is_done_to_it_stays() -> None:
    seen = event(data="[]")

    seen.data.append(1)

    assert seen.data == [1]


def test_data_that_is_not_read_is_not_decoded() -> None:
    decoded: list[str] = []

    def decode(text: str) -> None:
        decoded.append(text)

    seen = Event(event()._record, decode)
    assert decoded == []

    assert seen.data is None
    assert seen.data is None
    assert decoded == ["null"]


@pytest.mark.parametrize("name", ["sequence", "type", "data", "time", "recorded_at", "id", "key", "metadata", "other"])
def test_an_event_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(event(), name, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"sequence": 2},
        {"recorded_at": 0},
        {"time": 0},
        {"type": "b"},
        {"data": "1"},
        {"id": "i"},
        {"key": "k"},
        {"metadata": "{}"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_events_are_equal_when_all_that_is_public_is(other: dict[str, Any]) -> None:
    assert (event() == event(**other)) is False
    assert (event() != event(**other)) is True


def test_what_is_not_public_does_not_make_events_differ() -> None:
    assert (event() == event(checksum=9)) is True
    assert (event() != event(checksum=9)) is False
    assert hash(event()) == hash(event(checksum=9))


def test_an_event_is_not_equal_to_its_record() -> None:
    assert event() != event()._record
    assert not event() == event()._record  # noqa: SIM201  # the two are answered apart


def test_an_event_shows_itself() -> None:
    seen = event("a.b", '{"x":1}', time=0, key="k")

    assert repr(seen) == "Event(1, 'a.b', {'x': 1}, time=1970-01-01T00:00:00+00:00, key='k')"


def _pickled(seen: Event) -> Event:
    twin: Event = pickle.loads(pickle.dumps(seen))  # noqa: S301  # it was pickled a moment ago
    return twin


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, _pickled])
@pytest.mark.parametrize("read", [True, False])
def test_a_copied_event_has_the_same_data(duplicate: Any, *, read: bool) -> None:
    """To hand it to another process, for instance."""
    seen = event(data='{"x":[1]}')
    if read:
        assert seen.data == {"x": [1]}

    twin = duplicate(seen)

    assert twin == seen
    assert twin.data == {"x": [1]}


# --- what publishers give and get ------------------------------------------------------------------------------------


def test_a_new_event_needs_nothing_but_a_type() -> None:
    assert NewEvent("a") == NewEvent("a", data=None, id=None, key=None, metadata=None, time=None)


@pytest.mark.parametrize(("value", "name"), [(NewEvent("a"), "type"), (Receipt(1), "sequence")])
def test_what_publishers_hold_cannot_be_changed(value: msgspec.Struct, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, name, "b")


def test_receipts_are_equal_when_they_say_the_same() -> None:
    assert Receipt(3) == Receipt(3, duplicate=False) != Receipt(3, duplicate=True)
