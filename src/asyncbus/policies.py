"""How often an event that failed is tried again, and when."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from asyncbus.errors import InvalidOptionError
from asyncbus.options import check_count, check_seconds

_LARGEST_FACTOR: Final = 1e9


class Retry(Struct, frozen=True, kw_only=True):
    """How often a consumer tries an event that failed, and how long it waits before each attempt.

    Attributes:
        attempts: how often the handler has an event at most, the first time included.
        backoff: seconds before the second attempt.
        factor: by which the delay grows from one attempt to the next; 1 or more.
        maximum: seconds that no delay is above.
        jitter: whether a delay is shortened by up to a half, at random, so that what failed together does not come
            again together.
        on: the exceptions after which an event is tried again, one class or several; after any other it is exhausted
            at once. An exception group is one exception: name `ExceptionGroup` if it is meant. What a handler raises
            that is no `Exception`, such as the `CancelledError` of what it awaits, is tried again whatever stands here.

    Raises:
        InvalidOptionError: one of them is outside what it may be.
    """

    attempts: int = 5
    backoff: float = 0.1
    factor: float = 2.0
    maximum: float = 30.0
    jitter: bool = True
    on: type[Exception] | tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        check_count("attempts", self.attempts)
        check_seconds("backoff", self.backoff)
        check_seconds("maximum", self.maximum)
        _check_factor(self.factor)
        if not isinstance(self.jitter, bool):
            raise InvalidOptionError("jitter", "True or False", self.jitter)
        _check_classes(self.on)

    def delay_before(self, attempt: int, random: float = 1.0) -> float:
        """How long to wait before an attempt, in seconds.

        Args:
            attempt: which; the second is the first that waits.
            random: a number in [0, 1) that places the delay between half and whole, where `jitter` is on.
        """
        if attempt <= 1:
            return 0.0
        try:
            delay = min(self.backoff * float(self.factor) ** (attempt - 2), self.maximum)
        except OverflowError:
            delay = self.maximum if self.backoff else 0.0
        return delay * (0.5 + random / 2) if self.jitter else float(delay)

    def retries(self, error: BaseException) -> bool:
        """Whether an event is tried again after this exception, if it has attempts left."""
        return isinstance(error, self.on)


def _check_factor(value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 1 <= value <= _LARGEST_FACTOR:
        raise InvalidOptionError("factor", f"a number of at least 1 and at most {_LARGEST_FACTOR:g}", value)


def _check_classes(value: object) -> None:
    classes = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(each, type) and issubclass(each, Exception) for each in classes):
        raise InvalidOptionError("on", "an exception class, or a tuple of them", value)
