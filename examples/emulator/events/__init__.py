"""The vocabulary of a cross-architecture virtual machine: a module a family, a class an event type.

A family is subscribed to by its base class (`OptimizationEvent`), all of them by `VmEvent`. Times are those of the
events themselves; a duration is in seconds, an address a number.
"""

from examples.emulator.events import execution, optimization, page_table, tlb, translation, vm_lifecycle
from examples.emulator.events.base import VmEvent
from examples.emulator.events.execution import ExecutionEvent
from examples.emulator.events.optimization import OptimizationEvent
from examples.emulator.events.page_table import PageTableEvent
from examples.emulator.events.tlb import TlbEvent
from examples.emulator.events.translation import TranslationEvent
from examples.emulator.events.vm_lifecycle import LifecycleEvent

__all__ = [
    "ExecutionEvent",
    "LifecycleEvent",
    "OptimizationEvent",
    "PageTableEvent",
    "TlbEvent",
    "TranslationEvent",
    "VmEvent",
    "execution",
    "optimization",
    "page_table",
    "tlb",
    "translation",
    "vm_lifecycle",
]
