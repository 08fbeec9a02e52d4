"""Tells what lives in this process when it finds itself in a forked child.

A child has copies of our objects but not the threads that serve them, so waiting for one would be waiting for ever; and
the locks and files it has copies of are its parent's.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """What is no good in a child."""

    def forked(self) -> None:
        """Be of no use from now on; called in the child, before anything else runs there."""
        ...


_watched: WeakSet[Forkable] = WeakSet()


def watch(what: Forkable) -> None:
    """Call `what.forked()` in every child that is forked from now on."""
    _watched.add(what)


def _tell() -> None:
    for what in tuple(_watched):
        what.forked()
    _watched.clear()


if hasattr(os, "register_at_fork"):  # where a process can fork
    os.register_at_fork(after_in_child=_tell)
