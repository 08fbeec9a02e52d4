from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbus.batch import OUTSIDE
from asyncbus.codec import checksum, encode, extend_checksum, type_seed
from asyncbus.encoder import Encoder
from asyncbus.errors import InvalidOptionError, InvalidTypeError, PayloadError, PayloadTooLargeError
from asyncbus.patterns import TYPE_CACHE_LIMIT
from tests.fakes import MOMENT, ManualClock

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001  # naive is the point


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(100, ManualClock().now)


def test_a_submission_is_what_was_proposed(encoder: Encoder) -> None:
    made = encoder.submission("a.b", {"x": 1}, "i", "k", {"m": "é"}, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))

    assert (made.type, made.data, made.id, made.key) == ("a.b", '{"x":1}', "i", "k")
    assert (made.metadata, made.time) == ('{"m":"é"}', 1_000_000)


def test_nothing_that_only_a_store_can_know_is_set_yet(encoder: Encoder) -> None:
    made = encoder.submission("a", None)

    assert (made.sequence, made.recorded_at, made.duplicate) == (0, 0, False)
    assert made.batch is OUTSIDE


def test_an_event_occurs_when_it_is_published_unless_the_publisher_knows_better() -> None:
    clock = ManualClock()
    encoder = Encoder(100, clock.now)
    assert encoder.submission("a", None).time == MOMENT

    clock.pass_by(1)

    assert encoder.submission("a", None).time == MOMENT + 1_000_000
    assert encoder.submission("a", None, time=datetime(1970, 1, 1, tzinfo=UTC)).time == 0


def test_bytes_stay_bytes(encoder: Encoder) -> None:
    assert encoder.submission("a", b"\xff\0").data == b"\xff\0"


@given(
    st.recursive(st.none() | st.integers() | st.text("aé", max_size=5), lambda inner: st.lists(inner, max_size=3)),
    st.none() | st.text("ab", min_size=1, max_size=3),
    st.none() | st.dictionaries(st.text("ab"), st.integers(), max_size=2),
)
def test_its_checksum_is_the_one_that_the_codec_makes(data: Any, key: str | None, metadata: Any) -> None:
    made = Encoder(10_000, lambda: MOMENT).submission("a.b", data, key=key, metadata=metadata)

    expected = checksum(type_seed("a.b"), encode(data), MOMENT)
    if key is not None or metadata is not None:
        expected = extend_checksum(expected, (None, key, made.metadata, None, None, None))
    assert made.checksum == expected


@given(st.binary(max_size=20))
def test_the_checksum_of_bytes_is_the_one_that_the_codec_makes(data: bytes) -> None:
    made = Encoder(10_000, lambda: MOMENT).submission("a.b", data)

    assert made.checksum == checksum(type_seed("a.b"), data, MOMENT, binary=True)


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fits", "too_large", "size"),
    [
        ("x" * 98, "x" * 99, 101),
        ("é" * 49, "é" * 50, 102),
        (b"x" * 100, b"x" * 101, 101),
        ([0] * 49, [0] * 50, 101),
    ],
    ids=["text", "text of two bytes a character", "bytes", "a list"],
)
def test_a_payload_may_be_as_large_as_the_limit_and_no_larger(
    encoder: Encoder, fits: Any, too_large: Any, size: int
) -> None:
    encoder.submission("a", fits)
    with pytest.raises(PayloadTooLargeError) as refused:
        encoder.submission("a", too_large)

    assert (refused.value.size, refused.value.limit) == (size, 100)


def test_metadata_have_the_same_limit(encoder: Encoder) -> None:
    encoder.submission("a", None, metadata={"x": "y" * 92})
    with pytest.raises(PayloadTooLargeError) as refused:
        encoder.submission("a", None, metadata={"x": "y" * 93})

    assert (refused.value.size, refused.value.limit, refused.value.path) == (101, 100, "metadata")


def test_the_types_remembered_are_bounded(encoder: Encoder) -> None:
    """Types may be generated without end."""
    for number in range(TYPE_CACHE_LIMIT + 10):
        encoder.submission(f"a{number}", None)

    assert 0 < len(encoder._seeds) <= TYPE_CACHE_LIMIT


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["a..b", "", "a.*", None, 7, b"a", ["a"]])
def test_what_is_no_type_is_refused_each_time(encoder: Encoder, type: Any) -> None:
    for _ in range(2):
        with pytest.raises(InvalidTypeError):
            encoder.submission(type, None)


class Name(str):
    __slots__ = ()


def test_a_type_of_a_subclass_of_str_becomes_a_plain_one(encoder: Encoder) -> None:
    for _ in range(2):
        assert encoder.submission(Name("a.b"), None).type.__class__ is str
    with pytest.raises(InvalidTypeError):
        encoder.submission(Name("a..b"), None)


@pytest.mark.parametrize(
    ("data", "path"), [(object(), "$"), ({"a": [float("nan")]}, "$.a[0]"), ([None, {1}, 1j], "$[2]")]
)
def test_a_payload_that_json_cannot_hold_is_refused_with_its_path(encoder: Encoder, data: Any, path: str) -> None:
    with pytest.raises(PayloadError) as refused:
        encoder.submission("a", data)

    assert refused.value.path == path


@pytest.mark.parametrize(
    ("metadata", "path"), [({"a": object()}, "metadata.a"), ({"a": {"b": float("inf")}}, "metadata.a.b")]
)
def test_metadata_that_json_cannot_hold_are_named_as_such(encoder: Encoder, metadata: Any, path: str) -> None:
    with pytest.raises(PayloadError) as refused:
        encoder.submission("a", None, metadata=metadata)

    assert refused.value.path == path


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("id", ""),
        ("id", 7),
        ("id", "x" * 256),
        ("key", "a\n"),
        ("key", b"k"),
        ("metadata", [("a", 1)]),
        ("metadata", "a"),
        ("metadata", {1: "a"}),
        ("time", NAIVE),
        ("time", 1.0),
    ],
)
def test_a_wrong_option_is_named(encoder: Encoder, option: str, value: Any) -> None:
    with pytest.raises(InvalidOptionError) as refused:
        encoder.submission("a", None, **{option: value})

    assert (refused.value.option, refused.value.found) == (option, value)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (msgspec.Raw(b"null"), "null"),
        (msgspec.Raw(b'{"a":null}'), '{"a":null}'),
        ({"a": msgspec.Raw(b"null"), "b": None}, '{"a":null,"b":null}'),
    ],
)
def test_json_that_was_encoded_elsewhere_may_hold_null(encoder: Encoder, data: Any, text: str) -> None:
    assert encoder.submission("a", data).data == text
    with pytest.raises(PayloadError, match="nan"):
        encoder.submission("a", [data, float("nan")])


def test_metadata_may_be_any_mapping_even_an_empty_one(encoder: Encoder) -> None:
    assert encoder.submission("a", None, metadata=MappingProxyType({"x": 1})).metadata == '{"x":1}'
    assert encoder.submission("a", None, metadata={}).metadata == "{}"


def test_a_payload_that_changes_afterwards_is_published_as_it_was(encoder: Encoder) -> None:
    data = {"x": 1}
    made = encoder.submission("a", data)

    data["x"] = 2

    assert made.data == '{"x":1}'
