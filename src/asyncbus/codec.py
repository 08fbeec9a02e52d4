"""Payloads to text and back, and the checksum that goes with every event.

JSON by msgspec: text that `sqlite3`, datasette and pandas can read. Top-level `bytes` stay bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final
from zlib import crc32

import msgspec

from asyncbus.errors import PayloadError
from asyncbus.events import NO_EXTRAS, Record, extras, json_decode, undecodable

json_encode = msgspec.json.Encoder().encode

_ALL_BUT_ONE: Final = len(NO_EXTRAS) - 1

_BINARY: Final = 0x5A5A_5A5A
"""Mixed into the checksum of a payload of bytes, so that text and bytes of the same content differ."""


def encode(data: Any) -> bytes:
    """The JSON of `data`.

    Raises:
        PayloadError: with the path of what msgspec refuses, or of a NaN or an infinity.
    """
    try:
        encoded = json_encode(data)
    except Exception as error:  # msgspec runs the properties and iterators of the user's own classes
        raise refusal(data, error) from error
    # msgspec writes NaN and infinity as null, so only a payload that has a null can hide one.
    if b"null" in encoded:
        refuse_non_finite(data)
    return encoded


def check_raw(data: msgspec.Raw) -> None:
    """Refuse JSON that was encoded elsewhere and is none; within other data its publisher answers for it.

    Raises:
        PayloadError: it is not JSON, or has a number that no float can hold.
    """
    try:
        value = json_decode(bytes(data).decode())
    except (UnicodeDecodeError, RecursionError, msgspec.DecodeError) as error:
        raise PayloadError("$", f"msgspec.Raw: {error}") from error
    refuse_non_finite(value)


def refusal(data: Any, error: Exception) -> PayloadError:
    """The error that says which part of `data` msgspec refused with `error`."""
    if isinstance(error, RecursionError):
        return PayloadError("$", "nested too deeply, or containing itself")
    return PayloadError(*_offender(data, "$", error))


def decode(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        PayloadError: it is not JSON, or nested deeper than the stack allows here.
    """
    try:
        return json_decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise undecodable("$", error) from error


def _offender(data: Any, path: str, error: Exception) -> tuple[str, str]:
    """Descend to the innermost part that cannot be encoded on its own."""
    try:
        parts = list(_parts(data))
    except Exception:  # noqa: BLE001  # it does not let itself be read: then it is the offender
        parts = []
    for step, part in parts:
        try:
            json_encode(part)
        except RecursionError:
            break
        except Exception as inner:  # noqa: BLE001  # whatever it is, the search goes on inside
            return _offender(part, path + step, inner)
    return path, f"{type(data).__name__}: {error}"


def _parts(data: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield f".{key}", value
    elif isinstance(data, list | tuple | set | frozenset):
        for index, value in enumerate(data):
            yield f"[{index}]", value
    elif isinstance(data, msgspec.Struct):
        for name in data.__struct_fields__:
            if hasattr(data, name):
                yield f".{name}", getattr(data, name)
    elif hasattr(data, "__dataclass_fields__") or hasattr(data, "__attrs_attrs__"):
        for name in getattr(data, "__dataclass_fields__", None) or [field.name for field in data.__attrs_attrs__]:
            yield f".{name}", getattr(data, name, None)


def refuse_non_finite(data: Any) -> None:
    """Raise `PayloadError` if `data`, which has been encoded, holds a NaN or an infinity."""
    try:
        waiting = [("$", msgspec.to_builtins(data, str_keys=True, enc_hook=_nothing_in_raw))]
    except RecursionError as error:
        raise refusal(data, error) from None
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise PayloadError(path, f"{value} has no place in JSON; publish None or a string")
        waiting.extend((path + step, part) for step, part in _parts(value))


def _nothing_in_raw(part: Any) -> None:
    """For `msgspec.Raw`, which is JSON: its nulls were never numbers."""
    if not isinstance(part, msgspec.Raw):
        raise NotImplementedError


def type_seed(type: str) -> int:
    """Where the checksum of an event of this type starts."""
    return crc32(type.encode())


def checksum(seed: int, payload: bytes, time: int, *, binary: bool = False) -> int:
    """The checksum of an event's content; `seed` is `type_seed(type)`, `time` in microseconds.

    CRC-32 finds every single flipped bit of type and payload, and every burst of up to 32; the time is XORed in, so
    that its bits count as well. A store XORs in what it adds, `recorded_at` and the sequence.
    """
    return crc32(payload, seed) ^ time ^ (_BINARY if binary else 0)


def extend_checksum(checksum: int, beside: tuple[object, ...]) -> int:
    """The checksum of an event that also has some of `events.extras`.

    Those that came with the third version of the schema count only where one is there: older events have none.
    """
    if beside[3] is not None and beside.count(None) == _ALL_BUT_ONE:
        return checksum ^ version_checksum(beside[3])
    counted = beside if beside[3:] != NO_EXTRAS[3:] else beside[:3]
    return checksum ^ _mixed(counted)


@lru_cache(maxsize=1024)
def version_checksum(version: object) -> int:
    """What a version alone adds to a checksum: most typed events have nothing else."""
    return _mixed((None, None, None, version, None, None))


def _mixed(beside: tuple[object, ...]) -> int:
    return crc32(repr(beside).encode("utf-8", "surrogatepass"))


def first_damaged(records: Iterable[Record]) -> Record | None:
    """The first of some records read back whose content does not have the checksum it was stored with.

    Their checksums must be as stored, with `recorded_at` and `sequence` in them.
    """
    seeds: dict[str, int] = {}
    for record in records:
        data = record.data
        seed = seeds.get(record.type)
        if seed is None:
            seed = seeds[record.type] = type_seed(record.type)
        # `checksum` written out, for this runs for every event of a replay (benchmarks/bench_replay.py).
        if data.__class__ is str:
            found = crc32(data.encode(), seed) ^ record.time
        elif data.__class__ is bytes:
            found = checksum(seed, data, record.time, binary=True)
        else:  # damage can make a number, or nothing, of it
            return record
        # As `extras(record) != NO_EXTRAS`, at a third of its cost.
        if (
            record.id is not None
            or record.key is not None
            or record.metadata is not None
            or record.version is not None
            or record.causation_id is not None
            or record.correlation_id is not None
        ):
            found = extend_checksum(found, extras(record))
        if found ^ record.recorded_at ^ record.sequence != record.checksum:
            return record
    return None
