"""Tells what lives in this process when it finds itself in a forked child.

A child has copies of our objects but not the threads that serve them, so waiting for one would be waiting for ever; and
the locks and files it has copies of are its parent's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakMethod

_watched: set[WeakMethod[Callable[[], None]]] = set()


def watch(become_forked: Callable[[], None]) -> None:
    """Call a method in every child that is forked from now on, before anything else runs there.

    Args:
        become_forked: a bound method; its object is not kept alive.
    """
    _watched.add(WeakMethod(become_forked, _watched.discard))


def _tell() -> None:
    for reference in tuple(_watched):
        become_forked = reference()
        if become_forked is not None:
            become_forked()
    _watched.clear()


if hasattr(os, "register_at_fork"):  # where a process can fork
    os.register_at_fork(after_in_child=_tell)
