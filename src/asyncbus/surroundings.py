"""What a bus gives its consumers to work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from asyncbus.clock import Clock
from asyncbus.delivery import Publish
from asyncbus.feed import Feed
from asyncbus.history import History
from asyncbus.saving import Saving
from asyncbus.store.consumers import ConsumerState, ConsumerStore
from asyncbus.subscription import Subscription


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a consumer needs of its bus.

    Attributes:
        store: where events are read back.
        history: the log as readers see it.
        saving: the way to the next commit.
        clock: the time.
        random: numbers from 0 to 1, for jitter.
        taken: gives what is stored of a consumer that takes its name, or None, and how many dead letters it has.
        attach: lets a feed take part, after a sequence.
        forget: called with a feed that has ended.
        publish: `EventBus.publish`.
    """

    store: ConsumerStore
    history: History
    saving: Saving
    clock: Clock
    random: Callable[[], float]
    taken: Callable[[str], Awaitable[tuple[ConsumerState | None, int]]]
    attach: Callable[[Feed, int], None]
    forget: Callable[[Subscription], None]
    publish: Publish
