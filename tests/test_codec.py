import json
import math
import threading
import uuid
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbus.codec import decode, encode
from asyncbus.errors import PayloadError

# --- there and back --------------------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"
    BLUE = 2


@dataclass
class Stage:
    name: str
    timings: tuple[float, ...]


class Page(msgspec.Struct):
    address: int
    colour: Colour
    inner: Any = None


FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | FINITE
    | TEXT
    | st.binary(max_size=8)
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.just(UTC))
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.sampled_from(Colour)
    | st.builds(Stage, TEXT, st.lists(FINITE, max_size=2).map(tuple))
)
KEYS = TEXT | st.integers(-(2**70), 2**70) | st.uuids() | st.sampled_from(Colour)
PAYLOADS: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(st.integers() | TEXT, max_size=3)
        | st.builds(Page, st.integers(0, 2**64), st.sampled_from(Colour), inner)
    ),
    max_leaves=12,
)


@given(PAYLOADS)
def test_what_comes_back_is_what_went_in_in_the_types_of_json(payload: Any) -> None:
    """Python's own JSON, not msgspec's, says what these types are."""
    expected = json.loads(json.dumps(msgspec.to_builtins(payload, str_keys=True)))

    assert decode(encode(payload).decode()) == expected


@given(PAYLOADS)
def test_what_is_stored_is_json_for_any_other_reader(payload: Any) -> None:
    text = encode(payload).decode()

    assert json.loads(text) == decode(text)


@pytest.mark.parametrize(
    ("payload", "back"),
    [
        ({1: "a"}, {"1": "a"}),
        ((1, 2), [1, 2]),
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (Decimal("1.50"), "1.50"),
        (Stage("licm", (1.5,)), {"name": "licm", "timings": [1.5]}),
        (Page(4096, Colour.BLUE), {"address": 4096, "colour": 2, "inner": None}),
        ({"in": b"\xff"}, {"in": "/w=="}),
        (2**64, 2**64),
    ],
)
def test_each_type_comes_back_as_documented(payload: Any, back: Any) -> None:
    assert decode(encode(payload).decode()) == back


# --- what cannot be published ----------------------------------------------------------------------------------------


@dataclass
class Holder:
    name: str
    held: Any


class Unreadable:
    """Not a type that msgspec knows."""


class Evil(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("not for you")


def circle() -> list[Any]:
    loop: list[Any] = [1]
    loop.append(loop)
    return loop


def unset() -> Page:
    page = Page(1, Colour.RED)
    del page.address
    return page


HOSTILE: list[tuple[str, Callable[[], Any], str, str]] = [
    ("an object", Unreadable, "$", "Unreadable: Encoding objects of type Unreadable is unsupported"),
    ("deep inside", lambda: {"stages": [1, 2, {"ms": Unreadable()}]}, "$.stages[2].ms", "Unreadable: "),
    ("in a tuple", lambda: (0, Unreadable()), "$[1]", "Unreadable: "),
    ("in a dataclass", lambda: [Holder("x", Unreadable())], "$[0].held", "Unreadable: "),
    ("in a Struct", lambda: Page(1, Colour.RED, [Unreadable()]), "$.inner[0]", "Unreadable: "),
    ("a lock", threading.Lock, "$", "lock: Encoding objects of type"),
    ("a generator", lambda: (letter for letter in "ab"), "$", "generator: "),
    ("a function", lambda: {"f": len}, "$.f", "builtin_function_or_method: "),
    ("a complex number", lambda: [1j], "$[0]", "complex: "),
    ("NaN", lambda: math.nan, "$", "nan has no place in JSON"),
    ("infinity", lambda: {"a": [1, {"b": math.inf}]}, "$.a[1].b", "inf has no place in JSON"),
    ("minus infinity in a tuple", lambda: (None, -math.inf), "$[1]", "-inf has no place in JSON"),
    ("NaN in a dataclass", lambda: {"h": Holder("x", math.nan)}, "$.h.held", "nan has no place in JSON"),
    ("NaN in a Struct", lambda: Page(1, Colour.RED, math.nan), "$.inner", "nan has no place in JSON"),
    ("a list in itself", circle, "$", "nested too deeply, or containing itself"),
    ("an integer of 5,000 digits", lambda: {"n": 10**5000}, "$.n", "int: Exceeds the limit"),
    ("a lone surrogate", lambda: {"t": ["\ud800"]}, "$.t[0]", "str: 'utf-8' codec can't encode"),
    ("a lone surrogate as key", lambda: [{"\ud800": 1}], "$[0]", "dict: 'utf-8' codec can't encode"),
    ("a tuple as key", lambda: {"d": {(1, 2): 3}}, "$.d", "dict: Only dicts with"),
    ("None as key", lambda: {None: 3}, "$", "dict: Only dicts with"),
    ("a field that was never set", unset, "$", "Page: "),
    ("a mapping that does not let itself be read", lambda: {"e": Evil(a=Unreadable())}, "$.e", "Evil: "),
]


@pytest.mark.parametrize(("make", "path", "reason"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_what_json_cannot_hold_is_refused_with_its_path(make: Callable[[], Any], path: str, reason: str) -> None:
    with pytest.raises(PayloadError) as refused:
        encode(make())

    assert refused.value.path == path
    assert refused.value.reason.startswith(reason)


def test_the_cause_of_a_refusal_is_kept() -> None:
    with pytest.raises(PayloadError) as refused:
        encode(Unreadable())

    assert isinstance(refused.value.__cause__, TypeError)


@given(
    st.lists(st.integers(0, 3) | st.text("ab", min_size=1, max_size=2), max_size=6),
    st.sampled_from([math.nan, math.inf, -math.inf]),
    PAYLOADS,
)
def test_a_number_that_is_not_finite_is_found_wherever_it_hides(
    steps: list[int | str], bad: float, beside: Any
) -> None:
    payload: Any = bad
    path = ""
    for step in reversed(steps):
        if isinstance(step, int):
            payload, path = [beside] * step + [payload], f"[{step}]{path}"
        else:
            payload, path = {step: payload, "other": beside}, f".{step}{path}"

    with pytest.raises(PayloadError) as refused:
        encode(payload)

    assert refused.value.path == f"${path}"


def test_none_and_the_word_null_are_no_nan() -> None:
    assert decode(encode({"a": None, "b": "null", "null": 1.5}).decode()) == {"a": None, "b": "null", "null": 1.5}


def nested(depth: int, innermost: Any) -> Any:
    for _ in range(depth):
        innermost = [innermost]
    return innermost


def is_refused(payload: Any) -> bool:
    try:
        encode(payload)
    except PayloadError:
        return True
    return False


@pytest.mark.parametrize(("innermost", "always"), [(0, False), (None, False), (math.nan, True)])
def test_a_payload_is_encoded_or_refused_however_deep_it_is(innermost: Any, *, always: bool) -> None:
    """None and NaN make the payload be walked through, which may need more of the stack than encoding it."""
    limit = bisect_left(range(100_000), 1, key=lambda depth: is_refused(nested(depth, 0)))

    refused = [is_refused(nested(depth, innermost)) for depth in range(limit - 20, limit + 20)]

    assert refused == sorted(refused)
    assert refused[-1]
    assert refused[0] is always


# --- what cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "nan", "[1,]", "{'a': 1}", "1 2"])
def test_text_that_is_no_json_is_a_payload_error(text: str) -> None:
    with pytest.raises(PayloadError, match="cannot be decoded"):
        decode(text)


def test_text_too_deep_for_the_stack_is_a_payload_error() -> None:
    with pytest.raises(PayloadError, match="cannot be decoded"):
        decode("[" * 100_000 + "]" * 100_000)
