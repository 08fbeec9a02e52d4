"""The event, before and after it is recorded, and the grammar of event types."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic

import msgspec
from msgspec import UNSET, DecodeError, Struct

from asyncbus.errors import InvalidOptionError, InvalidTypeError, PayloadError
from asyncbus.markup import figures

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # with a default: a bare `Event` is an `Event[Any]`
else:
    from typing import TypeVar as _TypeVar

    def TypeVar(name, **_):  # noqa: N802, ANN001, ANN003, ANN201
        """As type checkers know it, without what `typing` learnt in 3.13."""
        return _TypeVar(name, covariant=True)


D = TypeVar("D", default=Any, covariant=True)
"""What the data of an event are."""

json_decode: Final = msgspec.json.Decoder().decode
"""Plain data from JSON."""

MAX_TYPE_LENGTH: Final = 255
"""Characters an event type, an id and a key may have."""

MAX_VERSION: Final = 2**31 - 1
"""The highest version of a shape."""

LAST_SEQUENCE: Final = 2**63 - 1
"""The highest sequence there can be."""

TYPE: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
_PLACE = re.compile(r" - at `(?P<path>\$[^`]*)`$")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Record(Struct, array_like=True, gc=False):
    """An event as stores and the pipe handle it: encoded, checksummed, times in microseconds since 1970 UTC.

    `sequence` and `recorded_at` are 0 (nothing yet) until the record is stored. The order of the fields is the order
    of the columns in which stores hand records over. `gc=False`: a record holds nothing that could form a cycle, and a
    hundred thousand of them should not make the collector slow.
    """

    sequence: int
    recorded_at: int
    time: int
    type: str
    # str: JSON text; bytes: published as bytes. msgspec cannot decode a union of the two, hence Any.
    data: Any
    checksum: int
    id: str | None = None
    key: str | None = None
    metadata: str | None = None
    version: int | None = None
    causation_id: int | None = None
    correlation_id: str | None = None


_EXTRAS: Final = ("id", "key", "metadata", "version", "causation_id", "correlation_id")

extras: Final = attrgetter(*_EXTRAS)
"""What a record has beside its content, as a tuple: most have none of it."""

NO_EXTRAS: Final = (None,) * 6


def payload_size(records: Sequence[Record]) -> int:
    """What the data and metadata of some records take: characters of JSON, or bytes."""
    size = sum(map(len, [record.data for record in records]))
    return size + sum([len(record.metadata) for record in records if record.metadata is not None])


class Event(Struct, Generic[D], gc=False, eq=False):
    """One recorded event, immutable, as subscribers, replays and queries hand it out.

    Each receiver gets an `Event` of its own; `data` is decoded when it is first read, so what one handler does to it
    no other handler sees. Two events are equal when all their public attributes are, of which `data` counts as it is
    stored. `Event[StageCompleted]` is one whose data is an instance of that class.
    """

    _record: Record
    _decode: Callable[[str], Any] = json_decode
    _data: Any = UNSET

    @property
    def sequence(self) -> int:
        """Its place in the one order of the log; from 1 on, ascending, never used twice."""
        return self._record.sequence

    @property
    def type(self) -> str:
        """The event type, dot-separated: `page_table.page_fault`."""
        return self._record.type

    @property
    def data(self) -> D:
        """The payload: an instance of its class where it is typed, else in JSON's types, `bytes` if published as such.

        Raises:
            PayloadError: it cannot be decoded: it does not fit its class, and where; or it is nested deeper than the
                interpreter's stack allows here.
            NewerVersionError: it is stored in a newer version than this program knows.
        """
        data = self._data
        if data is UNSET:
            data = self._record.data
            if data.__class__ is not bytes or self._decode is not json_decode:
                try:
                    data = self._decode(data)
                except PayloadError:
                    raise
                except Exception as error:  # the class of a typed event may check itself
                    raise misfit(error, self._decode) from error
            self._data = data
        return data  # type: ignore[no-any-return]  # what the decoder makes of it

    @property
    def time(self) -> datetime:
        """When it occurred, in UTC: what the publisher said, else when `publish` was called."""
        return from_microseconds(self._record.time)

    @property
    def recorded_at(self) -> datetime:
        """When the writer recorded it, in UTC; never decreasing from one sequence to the next."""
        return from_microseconds(self._record.recorded_at)

    @property
    def id(self) -> str | None:
        """What the publisher gave to be able to publish it again safely, or None."""
        return self._record.id

    @property
    def key(self) -> str | None:
        """What orders and groups events (a VM, a vCPU, an order), or None."""
        return self._record.key

    @property
    def metadata(self) -> dict[str, Any] | None:
        """What the publisher said about the event beside its data, or None; decoded at each read."""
        text = self._record.metadata
        try:
            return None if text is None else json_decode(text)
        except (DecodeError, RecursionError) as error:
            raise undecodable("metadata", error) from error

    @property
    def version(self) -> int | None:
        """Of the shape in which its data is stored, or None where the publisher gave none."""
        return self._record.version

    @property
    def causation_id(self) -> int | None:
        """The sequence of the event that led to this one, or None."""
        return self._record.causation_id

    @property
    def correlation_id(self) -> str | None:
        """What all events of one flow share, or None."""
        return self._record.correlation_id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return _identity(self._record) == _identity(other._record)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self._record.sequence, self._record.type))

    def __repr__(self) -> str:
        extra = "".join(
            f", {name}={value!r}"
            for name, value in zip(_EXTRAS, (self.id, self.key, self.metadata, *extras(self)[3:]), strict=True)
            if value is not None
        )
        try:
            data = repr(self.data)
        except PayloadError as error:
            data = f"<{error}>"
        return f"Event({self.sequence}, {self.type!r}, {data}, time={self.time.isoformat()}{extra})"

    def _repr_html_(self) -> str:
        shown = {name: getattr(self, name) for name in ("sequence", "time", "recorded_at", "type", *_EXTRAS)}
        return figures(shown | {"data": self._record.data})


def _identity(record: Record) -> tuple[object, ...]:
    return record.sequence, record.recorded_at, record.time, record.type, record.data, *extras(record)


def stored(event: Event) -> Record:
    """An event as the store has it, not decoded."""
    return event._record  # noqa: SLF001  # its own module


class NewEvent(Struct, frozen=True):
    """One event proposed to `publish_many`, not recorded yet.

    Args:
        type: the event type; or an instance of a class declared with `event`, which has its data.
        data: anything msgspec encodes, or bytes.
        id: what makes publishing it again safe; at most 255 characters.
        key: what orders and groups it; at most 255 characters.
        metadata: a mapping with string keys, kept beside the data.
        time: when it occurred, aware; None: when it is published.
        expected_sequence: it is stored only if the last event with its key has this sequence; 0: there is none.
        version: of the shape of plain data, from 1 on.
        causation_id: the sequence of the event that led to it; None: the one being handled; 0: none.
        correlation_id: what all events of one flow share; None: that of the event being handled.
    """

    type: Any
    data: Any = None
    id: str | None = None
    key: str | None = None
    metadata: Mapping[str, Any] | None = None
    time: datetime | None = None
    expected_sequence: int | None = None
    version: int | None = None
    causation_id: int | None = None
    correlation_id: str | None = None


class Receipt(Struct, frozen=True):
    """What a publisher gets for an event that is stored.

    `sequence` is its place in the log; `duplicate` is true when the id was stored before, and `sequence` is then the
    first one's.
    """

    sequence: int
    duplicate: bool = False


def misfit(error: Exception, decode: Callable[[str], Any]) -> PayloadError:
    """The error of stored JSON that `decode`, of msgspec, refuses; with the path of the offending field."""
    cls = getattr(getattr(decode, "__self__", None), "type", Any)
    if cls is Any or isinstance(error, RecursionError):
        return undecodable("$", error)
    text = str(error) or repr(error)
    place = _PLACE.search(text)
    path, reason = (place["path"], text[: place.start()]) if place else ("$", text)
    return PayloadError(path, f"does not fit {cls.__module__}.{cls.__qualname__}: {reason}")


def undecodable(path: str, error: Exception) -> PayloadError:
    """The error of stored text that cannot be decoded: it is not JSON, or nested deeper than the stack allows here."""
    return PayloadError(path, f"cannot be decoded: {error}")


def check_type(type: object) -> str:
    """Return `type` as a plain string if it is an event type.

    Raises:
        InvalidTypeError: it is not, and why.
    """
    if not isinstance(type, str):
        raise InvalidTypeError(type, f"expected a string, found {type.__class__.__name__}")
    if len(type) > MAX_TYPE_LENGTH:
        raise InvalidTypeError(type, f"{len(type)} characters, at most {MAX_TYPE_LENGTH} allowed")
    if TYPE.fullmatch(type) is None:
        raise InvalidTypeError(type, offending_token(type))
    return str.__str__(type)


def offending_token(text: str) -> str:
    """Say which dot-separated token of `text` breaks the grammar of event types."""
    for place, token in enumerate(text.split("."), 1):
        if not token:
            return f"token {place} is empty"
        if _TOKEN.fullmatch(token) is None:
            return f"token {place}, {token!r}, has a character outside A-Z a-z 0-9 _ -"
    return "it is not a sequence of dot-separated tokens"


def check_name(option: str, value: object, most: int = MAX_TYPE_LENGTH) -> str:
    """Return `value` as a plain string if it may be an id or a key, or a name, of at most `most` characters.

    Raises:
        InvalidOptionError: it is no string, empty, too long, or not printable.
    """
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
        raise InvalidOptionError(option, f"a printable string of 1 to {most} characters", value)
    return str.__str__(value)


def to_microseconds(option: str, moment: object) -> int:
    """Microseconds since 1970 UTC of an aware datetime.

    Raises:
        InvalidOptionError: it is no datetime, or a naive one.
    """
    try:
        if isinstance(moment, datetime) and moment.utcoffset() is not None:
            return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND
    except OverflowError:  # at either end of the calendar, UTC may have no name for it
        pass
    raise InvalidOptionError(option, "an aware datetime (datetime.now(UTC), say)", moment)


def from_microseconds(microseconds: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)
