"""Events of the contexts that are executed."""

from asyncbus import event
from examples.emulator.events.base import VmEvent


class ExecutionEvent(VmEvent):
    """One of this family."""


@event("execution.context_created")
class ContextCreated(ExecutionEvent):
    id: int
    pc: int
    priority: str


@event("execution.context_deleted")
class ContextDeleted(ExecutionEvent):
    id: int
    final_state: str
    execution_time: float
    instructions_executed: int


@event("execution.context_scheduled")
class ContextScheduled(ExecutionEvent):
    id: int
    priority: str


@event("execution.context_started")
class ContextStarted(ExecutionEvent):
    id: int


@event("execution.context_paused")
class ContextPaused(ExecutionEvent):
    id: int


@event("execution.context_resumed")
class ContextResumed(ExecutionEvent):
    id: int


@event("execution.context_completed")
class ContextCompleted(ExecutionEvent):
    id: int
    execution_time: float
    instructions_executed: int


@event("execution.context_failed")
class ContextFailed(ExecutionEvent):
    id: int
    error: str


@event("execution.block_executed")
class BlockExecuted(ExecutionEvent):
    """Beyond the catalogue: a basic block, each time it runs."""

    pc: int
    size: int
