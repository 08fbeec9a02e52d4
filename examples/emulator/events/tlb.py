"""Events of the translation lookaside buffer."""

from asyncbus import event
from examples.emulator.events.base import VmEvent


class TlbEvent(VmEvent):
    """One of this family."""


@event("tlb.entry_inserted")
class EntryInserted(TlbEvent):
    level: str
    va: int
    asid: int


@event("tlb.entry_evicted")
class EntryEvicted(TlbEvent):
    level: str
    va: int
    asid: int


@event("tlb.entry_flushed")
class EntryFlushed(TlbEvent):
    level: str
    va: int
    asid: int


@event("tlb.flush_all")
class FlushAll(TlbEvent):
    level: str


@event("tlb.flush_asid")
class FlushAsid(TlbEvent):
    asid: int


@event("tlb.flush_range")
class FlushRange(TlbEvent):
    start_va: int
    end_va: int


@event("tlb.invalidate_pa")
class InvalidatePa(TlbEvent):
    pa: int
