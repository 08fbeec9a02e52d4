"""Tells what lives in this process when it finds itself in a forked child.

A child has copies of our objects but not the threads that serve them, so waiting for one would be waiting for ever; and
the locks and files it has copies of are its parent's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

_watched: WeakKeyDictionary[object, Callable[[Any], None]] = WeakKeyDictionary()


def watch(what: object, become_forked: Callable[[Any], None]) -> None:
    """Call `become_forked(what)` in every child that is forked from now on, before anything else runs there.

    Args:
        what: is not kept alive by it.
        become_forked: keeps nothing of `what` alive either: a function of its class, say.
    """
    _watched[what] = become_forked


def _tell() -> None:
    for what, become_forked in tuple(_watched.items()):
        become_forked(what)
    _watched.clear()


if hasattr(os, "register_at_fork"):  # where a process can fork
    os.register_at_fork(after_in_child=_tell)
