"""The guest's memory: three regions of which nothing is mapped until the guest touches it."""

from dataclasses import dataclass
from pathlib import Path

from unicorn import UC_PROT_EXEC, UC_PROT_READ, UC_PROT_WRITE
from unicorn.unicorn_py3 import Uc

PAGE_SIZE = 4096
CODE = 0x40_0000
HEAP = 0x1000_0000
STACK_TOP = 0x7FFF_0000
STACK_SIZE = 16 * PAGE_SIZE


@dataclass(frozen=True)
class Region:
    """Addresses the guest may touch, from the page at `start` on, what it may do there, and what a fresh page holds."""

    start: int
    size: int
    permissions: int
    contents: bytes = b""

    def __contains__(self, address: int) -> bool:
        return self.start <= page_of(address) < self.start + self.size


class Memory:
    """Finds the region of an address and maps its pages, one at a time, when asked to."""

    def __init__(self, code: bytes, heap_size: int) -> None:
        self.regions = (
            Region(CODE, len(code), UC_PROT_READ | UC_PROT_EXEC, code),
            Region(HEAP, heap_size, UC_PROT_READ | UC_PROT_WRITE),
            Region(STACK_TOP - STACK_SIZE, STACK_SIZE, UC_PROT_READ | UC_PROT_WRITE),
        )

    @property
    def size(self) -> int:
        return sum(region.size for region in self.regions)

    def region_of(self, address: int) -> Region:
        """The region whose pages hold `address`; `LookupError` where the guest has no business."""
        for region in self.regions:
            if address in region:
                return region
        raise LookupError(address)

    def map_page(self, engine: Uc, address: int) -> None:
        """Map the page of `address`, filled as its region says; `LookupError` as above."""
        page = page_of(address)
        region = self.region_of(page)
        engine.mem_map(page, PAGE_SIZE, region.permissions)
        engine.mem_write(page, region.contents[page - region.start :][:PAGE_SIZE])


def page_of(address: int) -> int:
    """The address of the first byte of the page that holds `address`."""
    return address & -PAGE_SIZE


def load_code() -> bytes:
    """The machine code of sieve.c, from the listing beside it; what follows a ``#`` is for people."""
    listing = Path(__file__).with_name("sieve.hex").read_text(encoding="ascii")
    return b"".join(bytes.fromhex(line.partition("#")[0]) for line in listing.splitlines())
