"""The virtual machine: the sieve on the Unicorn engine, in slices, with hooks that tell what it does.

The machine knows no bus. It is handed a ``publish(event)`` and calls it on the thread that runs the guest, in the order
in which things happen; an error from it stops the guest and comes out of `Machine.run`. The events are those of
`examples.emulator.events`. Every figure is what the engine did, none is made up.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from unicorn import (
    UC_ARCH_X86,
    UC_CTL_IO_WRITE,
    UC_CTL_TLB_FLUSH,
    UC_HOOK_BLOCK,
    UC_HOOK_EDGE_GENERATED,
    UC_HOOK_MEM_UNMAPPED,
    UC_HOOK_TLB_FILL,
    UC_MEM_FETCH,
    UC_MEM_FETCH_UNMAPPED,
    UC_MEM_READ,
    UC_MEM_READ_UNMAPPED,
    UC_MEM_WRITE,
    UC_MEM_WRITE_UNMAPPED,
    UC_MODE_64,
    UC_TLB_VIRTUAL,
)
from unicorn.unicorn_py3 import Uc, UcError  # by its own name: a type checker takes `unicorn.Uc` for that of Python 2
from unicorn.x86_const import UC_X86_REG_RAX, UC_X86_REG_RDI, UC_X86_REG_RIP, UC_X86_REG_RSI, UC_X86_REG_RSP

from asyncbus import catalog
from examples.emulator.events import VmEvent, execution, optimization, page_table, tlb, translation, vm_lifecycle
from examples.emulator.events.page_table import AccessType
from examples.emulator.memory import CODE, HEAP, STACK_TOP, Memory, load_code

Publish = Callable[[VmEvent], object]

# A block is called hot when it has run 256 times, and again at each doubling, as a compiler with many tiers would.
HOT_THRESHOLDS = frozenset(2**power for power in range(8, 40))

CONTEXT = 1  # the one virtual processor
TLB_LEVEL, ASID = "softmmu", 0  # the engine has one level, and the guest one address space

ACCESS_TYPES: dict[int, AccessType] = {
    UC_MEM_READ: "read",
    UC_MEM_READ_UNMAPPED: "read",
    UC_MEM_WRITE: "write",
    UC_MEM_WRITE_UNMAPPED: "write",
    UC_MEM_FETCH: "execute",
    UC_MEM_FETCH_UNMAPPED: "execute",
}


def type_of(cls: type[VmEvent]) -> str:
    """The event type of a class, as the log has it."""
    return catalog().shape(cls).type


class Machine:
    """Runs the sieve up to `limit` once, `slice_blocks` basic blocks at a time.

    `blocks` may be read from any thread at any time; `executions` (address of a block → how often it ran),
    `instructions` and `published()` once `run` is over.
    """

    def __init__(self, publish: Publish, *, limit: int, slice_blocks: int = 8192, name: str = "vm-1") -> None:
        self.name = name
        self.blocks = 0
        self.executions: Counter[int] = Counter()
        self.instructions = 0
        self._publish = publish
        self._told: Counter[str] = Counter()
        self._slice_blocks = slice_blocks
        self._slice_end = slice_blocks
        self._preempted = False
        self._hot: Counter[int] = Counter()
        self._memory = Memory(load_code(), heap_size=limit + 1)
        self._engine = self._powered_up(limit)

    def run(self, on_slice: Callable[[], None] = lambda: None) -> int:
        """Run the guest until it halts and return the number of primes; `on_slice` is called after each slice.

        `UcError` where the guest does what it may not; whatever `publish` and `on_slice` raise.
        """
        self._create()
        started = time.perf_counter()
        self._tell(execution.ContextStarted(CONTEXT))
        try:
            self._run_slices(on_slice)
        except UcError as error:
            self._tell(execution.ContextFailed(CONTEXT, str(error)))
            self._destroy(reason="failed")
            raise
        seconds = time.perf_counter() - started
        self.instructions = self._count_instructions()
        self._tell(execution.ContextCompleted(CONTEXT, execution_time=seconds, instructions_executed=self.instructions))
        self._destroy(reason="halted")
        return int(self._engine.reg_read(UC_X86_REG_RAX))

    def published(self) -> Counter[str]:
        """How many events of each type were handed to `publish`."""
        return self._told + Counter({type_of(execution.BlockExecuted): self.blocks})

    # --- the life of the machine -------------------------------------------------------------------------------------

    def _powered_up(self, limit: int) -> Uc:
        engine = Uc(UC_ARCH_X86, UC_MODE_64)
        # So that a TLB miss of the guest asks us, and the guest needs no page tables of its own.
        engine.ctl_set_tlb_mode(UC_TLB_VIRTUAL)
        # The guest ends by HLT; an address to stop at would be looked up, and be seen as one more TLB fill.
        engine.ctl_exits_enabled(True)  # noqa: FBT003 - the engine's signature
        engine.hook_add(UC_HOOK_BLOCK, self._block_hook())
        engine.hook_add(UC_HOOK_EDGE_GENERATED, self._on_edge)
        engine.hook_add(UC_HOOK_MEM_UNMAPPED, self._on_unmapped)
        engine.hook_add(UC_HOOK_TLB_FILL, self._on_tlb_miss)
        engine.reg_write(UC_X86_REG_RSP, STACK_TOP)
        engine.reg_write(UC_X86_REG_RDI, HEAP)
        engine.reg_write(UC_X86_REG_RSI, limit)
        return engine

    def _create(self) -> None:
        config = vm_lifecycle.Config(
            guest_arch="x86_64",
            memory_size=self._memory.size,
            vcpu_count=1,
            exec_mode="jit",
            kernel_path="sieve.hex",
        )
        self._tell(vm_lifecycle.Created(self.name, config))
        self._tell(vm_lifecycle.StateTransition(self.name, from_state="created", to_state="running"))
        self._tell(vm_lifecycle.Started(self.name))
        self._tell(execution.ContextCreated(CONTEXT, pc=CODE, priority="normal"))

    def _run_slices(self, on_slice: Callable[[], None]) -> None:
        pc = CODE
        while True:
            self._preempted = False
            self._engine.emu_start(pc, 0)
            if not self._preempted:
                return
            self._tell(execution.ContextPaused(CONTEXT))
            # Whoever runs in between may have changed the memory: what an operating system does at a switch.
            self._engine.ctl(UC_CTL_TLB_FLUSH, UC_CTL_IO_WRITE)
            self._tell(tlb.FlushAll(TLB_LEVEL))
            on_slice()
            self._tell(execution.ContextResumed(CONTEXT))
            self._slice_end += self._slice_blocks
            pc = self._engine.reg_read(UC_X86_REG_RIP)

    def _count_instructions(self) -> int:
        # From the length of each block, as the engine translated it; a hook on each instruction would cost a second.
        return sum(times * self._engine.ctl_request_cache(pc)[1] for pc, times in self.executions.items())

    def _destroy(self, *, reason: str) -> None:
        self._tell(vm_lifecycle.Stopped(self.name, reason))
        self._tell(vm_lifecycle.StateTransition(self.name, from_state="running", to_state="stopped"))
        self._tell(vm_lifecycle.Destroyed(self.name))

    def _tell(self, event: VmEvent) -> None:
        self._publish(event)
        self._told[type_of(event.__class__)] += 1

    # --- the hooks ---------------------------------------------------------------------------------------------------

    def _block_hook(self) -> Callable[[Uc, int, int, object], None]:
        """The hook that runs half a million times; a closure, because it then looks up less."""
        publish, executions, executed = self._publish, self.executions, execution.BlockExecuted

        def on_block(engine: Uc, address: int, size: int, _: object) -> None:
            if self.blocks == self._slice_end:
                # The engine asks before it runs the block, so the block that ends a slice begins the next one.
                self._preempted = True
                engine.emu_stop()
                return
            publish(executed(address, size))
            self.blocks += 1
            executions[address] = times = executions[address] + 1
            if times in HOT_THRESHOLDS:
                self._tell_hot(times)

        return on_block

    def _tell_hot(self, threshold: int) -> None:
        self._hot[threshold] += 1
        self._tell(optimization.HotspotsDetected(count=self._hot[threshold], threshold=threshold))

    def _on_edge(self, _engine: Uc, block: Any, _before: Any, _: object) -> None:
        """The engine has translated a block, and links it to the one before: so it does not tell of the first."""
        self._tell(translation.BlockTranslated(block.pc, size=block.size, instructions=block.icount))

    def _on_tlb_miss(self, _engine: Uc, address: int, access: int, entry: Any, _: object) -> bool:
        """Give the engine the translation it misses: each page lies where it seems to lie.

        An entry for a page that is not mapped yet is inserted too: the access then faults, and `_on_unmapped` maps it.
        False, and with it `UcError`, where the guest has no business.
        """
        try:
            region = self._memory.region_of(address)
        except LookupError:
            self._tell(page_table.AccessViolation(address, ACCESS_TYPES[access]))
            return False
        entry.paddr = address
        entry.perms = region.permissions
        self._tell(tlb.EntryInserted(TLB_LEVEL, va=address, asid=ASID))
        return True

    def _on_unmapped(self, engine: Uc, access: int, address: int, *_: object) -> bool:
        """Map the page and let the guest go on."""
        self._memory.map_page(engine, address)
        self._tell(page_table.PageFault(address, ACCESS_TYPES[access]))
        return True
