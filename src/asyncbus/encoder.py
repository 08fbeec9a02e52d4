"""Turns what a publisher proposes into a record, at the caller, so that what is wrong with it fails there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zlib import crc32

from msgspec import Raw

from asyncbus.batch import Submission
from asyncbus.codec import (
    check_raw,
    checksum,
    encode,
    extend_checksum,
    json_encode,
    refusal,
    refuse_non_finite,
    type_seed,
)
from asyncbus.errors import InvalidOptionError, PayloadError, PayloadTooLargeError
from asyncbus.events import check_name, check_type, to_microseconds
from asyncbus.patterns import TYPE_CACHE_LIMIT


class Encoder:
    """Checks and encodes events.

    Args:
        max_payload: the most bytes that encoded data and encoded metadata may each have.
        now: gives the time of an event whose publisher does not.
    """

    def __init__(self, max_payload: int, now: Callable[[], int]) -> None:
        self._max_payload = max_payload
        self._now = now
        # Event type → where its checksum starts. A type in here has passed the grammar.
        self._seeds: dict[str, int] = {}

    def submission(  # noqa: PLR0917  # keywords would cost a tenth of a microsecond each, for every event
        self,
        type: str,
        data: Any,
        id: str | None = None,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        time: datetime | None = None,
    ) -> Submission:
        """One event ready for the inbox.

        Raises:
            InvalidTypeError, PayloadError, PayloadTooLargeError, InvalidOptionError: nothing else was touched.
        """
        # `encode` and `checksum` written out, for this runs for every event (benchmarks/bench_publish_to_handled.py).
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
                payload = json_encode(data)
                text = payload.decode()
            except Exception as error:  # msgspec runs the user's own classes
                raise refusal(data, error) from error
            if len(payload) > self._max_payload:
                raise PayloadTooLargeError(len(payload), self._max_payload)
            if "null" in text:
                refuse_non_finite(data)
            submission = Submission(0, 0, occurred, type, text, crc32(payload, seed) ^ occurred)
        if id is not None or key is not None or metadata is not None:
            self._extend(submission, id, key, metadata)
        return submission

    def _learn(self, type: object) -> tuple[str, int]:
        plain = check_type(type)
        if len(self._seeds) >= TYPE_CACHE_LIMIT:
            self._seeds.clear()  # types may be generated without end
        seed = self._seeds[plain] = type_seed(plain)
        return plain, seed

    def _extend(
        self, submission: Submission, id: str | None, key: str | None, metadata: Mapping[str, Any] | None
    ) -> None:
        if id is not None:
            submission.id = check_name("id", id)
        if key is not None:
            submission.key = check_name("key", key)
        if metadata is not None:
            submission.metadata = self._metadata(metadata)
        submission.checksum = extend_checksum(submission.checksum, submission.id, submission.key, submission.metadata)

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
