"""Turns what a publisher proposes into a record, at the caller, so that what is wrong with it fails there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zlib import crc32

from msgspec import Raw

from asyncbus.batch import Submission
from asyncbus.catalog import CATALOG
from asyncbus.causes import Handled, handled
from asyncbus.codec import (
    check_raw,
    checksum,
    encode,
    extend_checksum,
    json_encode,
    refusal,
    refuse_non_finite,
    type_seed,
    version_checksum,
)
from asyncbus.errors import InvalidOptionError, PayloadError, PayloadTooLargeError
from asyncbus.events import (
    LAST_SEQUENCE,
    NO_EXTRAS,
    check_name,
    check_type,
    extras,
    to_microseconds,
)
from asyncbus.options import check_count, check_version
from asyncbus.patterns import TYPE_CACHE_LIMIT


class Encoder:
    """Checks and encodes events.

    Args:
        max_payload: the most bytes that encoded data and encoded metadata may each have.
        now: gives the time of an event whose publisher does not.
        being_handled: the event from which what is published follows.
        on_expected: called with each event that expects a sequence.
    """

    def __init__(
        self,
        max_payload: int,
        now: Callable[[], int],
        being_handled: Handled | None = None,
        on_expected: Callable[[], None] = lambda: None,
    ) -> None:
        self._max_payload = max_payload
        self._now = now
        self._handled = handled() if being_handled is None else being_handled
        self._on_expected = on_expected
        # Event type → where its checksum starts. A type in here has passed the grammar.
        self._seeds: dict[str, int] = {}

    def submission(  # noqa: C901, PLR0917  # calls would cost a tenth of a microsecond each, keywords too, for every event
        self,
        type: Any,
        data: Any = None,
        id: str | None = None,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        time: datetime | None = None,
        expected_sequence: int | None = None,
        version: int | None = None,
        causation_id: int | None = None,
        correlation_id: str | None = None,
    ) -> Submission:
        """One event ready for the inbox.

        Raises:
            InvalidTypeError, PayloadError, PayloadTooLargeError, InvalidOptionError: nothing else was touched.
        """
        # `encode` and `checksum` written out, for this runs for every event (benchmarks/bench_publish_to_handled.py).
        encode = json_encode
        if type.__class__ is not str and not isinstance(type, str):
            type, data, version, encode = _typed(type, data, version)
        seed = self._seeds.get(type) if type.__class__ is str else None
        if seed is None:
            type, seed = self._learn(type)
        occurred = self._now() if time is None else to_microseconds("time", time)
        if data.__class__ is bytes:
            if len(data) > self._max_payload:
                raise PayloadTooLargeError(len(data), self._max_payload)
            submission = Submission(0, 0, occurred, type, data, checksum(seed, data, occurred, binary=True))
        else:
            if data.__class__ is Raw:
                check_raw(data)
            try:
                payload = encode(data)
                text = payload.decode()
            except Exception as error:  # msgspec runs the user's own classes
                raise refusal(data, error) from error
            if len(payload) > self._max_payload:
                raise PayloadTooLargeError(len(payload), self._max_payload)
            if "null" in text:
                refuse_non_finite(data)
            submission = Submission(0, 0, occurred, type, text, crc32(payload, seed) ^ occurred)
        if (
            id is not None
            or key is not None
            or metadata is not None
            or expected_sequence is not None
            or causation_id is not None
            or correlation_id is not None
            or self._handled.get() is not None
        ):
            self._extend(submission, version, id, key, metadata, expected_sequence, causation_id, correlation_id)
        elif version is not None:  # as most typed events are (benchmarks/bench_typed_events.py)
            submission.version = version = check_version(version)
            submission.checksum ^= version_checksum(version)
        return submission

    def _learn(self, type: object) -> tuple[str, int]:
        plain = check_type(type)
        if len(self._seeds) >= TYPE_CACHE_LIMIT:
            self._seeds.clear()  # types may be generated without end
        seed = self._seeds[plain] = type_seed(plain)
        return plain, seed

    def _extend(  # noqa: PLR0917  # as `submission`
        self,
        submission: Submission,
        version: int | None,
        id: str | None,
        key: str | None,
        metadata: Mapping[str, Any] | None,
        expected_sequence: int | None,
        causation_id: int | None,
        correlation_id: str | None,
    ) -> None:
        if id is not None:
            submission.id = check_name("id", id)
        if key is not None:
            submission.key = check_name("key", key)
        if metadata is not None:
            submission.metadata = self._metadata(metadata)
        if version is not None:
            submission.version = check_version(version)
        self._follow(submission, causation_id, correlation_id)
        if (extra := extras(submission)) != NO_EXTRAS:
            submission.checksum = extend_checksum(submission.checksum, extra)
        if expected_sequence is not None:
            self._expect(submission, expected_sequence)

    def _follow(self, submission: Submission, causation_id: int | None, correlation_id: str | None) -> None:
        """It follows from the event being handled, unless its publisher says otherwise."""
        cause = self._handled.get()
        if causation_id is not None:
            # 0, the sequence of nothing: it follows from none.
            submission.causation_id = check_count("causation_id", causation_id, 0, LAST_SEQUENCE) or None
        elif cause is not None:
            submission.causation_id = cause.sequence
        if correlation_id is not None:
            submission.correlation_id = check_name("correlation_id", correlation_id)
        elif cause is not None and causation_id != 0:
            submission.correlation_id = cause.correlation_id

    def _expect(self, submission: Submission, expected_sequence: int) -> None:
        if submission.key is None:
            raise InvalidOptionError("expected_sequence", "None for an event without a key", expected_sequence)
        submission.expected_sequence = check_count("expected_sequence", expected_sequence, 0, LAST_SEQUENCE)
        self._on_expected()

    def _metadata(self, metadata: object) -> str:
        if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
            raise InvalidOptionError("metadata", "a mapping with string keys", metadata)
        try:
            encoded = encode(dict(metadata))
        except PayloadError as error:
            raise PayloadError(f"metadata{error.path[1:]}", error.reason) from error
        if len(encoded) > self._max_payload:
            raise PayloadTooLargeError(len(encoded), self._max_payload, "metadata")
        return encoded.decode()


def _typed(instance: object, data: object, version: object) -> tuple[str, object, int, Callable[[Any], bytes]]:
    """The type, data and version of a typed event, and what encodes it."""
    shape = CATALOG.shape_of(instance)
    if data is not None or version is not None:
        raise InvalidOptionError("data and version", "None beside a typed event, which has them", (data, version))
    return shape.type, instance, shape.version, shape.encode
