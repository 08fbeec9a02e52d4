"""Events of the page table."""

from typing import Literal, TypeAlias

from asyncbus import event
from examples.emulator.events.base import VmEvent

AccessType: TypeAlias = Literal["read", "write", "execute", "atomic"]


class PageTableEvent(VmEvent):
    """One of this family."""


@event("page_table.page_fault")
class PageFault(PageTableEvent):
    va: int
    access_type: AccessType


@event("page_table.access_violation")
class AccessViolation(PageTableEvent):
    va: int
    access_type: AccessType


@event("page_table.invalid_entry")
class InvalidEntry(PageTableEvent):
    va: int


@event("page_table.cache_invalidated")
class CacheInvalidated(PageTableEvent):
    va: int


@event("page_table.cache_flushed")
class CacheFlushed(PageTableEvent):
    count: int
