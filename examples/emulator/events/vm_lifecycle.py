"""Events of the life of a virtual machine."""

import msgspec

from asyncbus import event
from examples.emulator.events.base import VmEvent


class LifecycleEvent(VmEvent):
    """One of this family."""


class Config(msgspec.Struct, gc=False):
    guest_arch: str
    memory_size: int
    vcpu_count: int
    exec_mode: str
    kernel_path: str | None


@event("vm_lifecycle.created")
class Created(LifecycleEvent):
    vm_id: str
    config: Config


@event("vm_lifecycle.started")
class Started(LifecycleEvent):
    vm_id: str


@event("vm_lifecycle.paused")
class Paused(LifecycleEvent):
    vm_id: str


@event("vm_lifecycle.resumed")
class Resumed(LifecycleEvent):
    vm_id: str


@event("vm_lifecycle.destroyed")
class Destroyed(LifecycleEvent):
    vm_id: str


@event("vm_lifecycle.stopped")
class Stopped(LifecycleEvent):
    vm_id: str
    reason: str


@event("vm_lifecycle.state_transition")
class StateTransition(LifecycleEvent):
    vm_id: str
    from_state: str
    to_state: str


@event("vm_lifecycle.state_changed")
class StateChanged(LifecycleEvent):
    vm_id: str
    to: str
